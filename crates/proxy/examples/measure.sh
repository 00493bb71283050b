#!/bin/sh
# Processor time and, where the machine counts them, user instructions per request: apron-proxy beside nginx, same application, same client, same run.
# usage: measure.sh <apron-proxy> <bench_rig> [seconds] [connections] [workers]
# Needs nginx, wrk and perf. The application is another nginx that answers 198 bytes.
set -eu
proxy=$1 rig=$2 seconds=${3:-5} connections=${4:-64} workers=${5:-2}
directory=$(mktemp -d)
body=$(printf '%0198d' 0)
cat >"$directory/application.conf" <<CONF
worker_processes 1; daemon on; pid $directory/application.pid; error_log $directory/application.log;
events { worker_connections 4096; }
http { access_log off; keepalive_requests 100000000; client_body_temp_path $directory/a1; proxy_temp_path $directory/a2;
  fastcgi_temp_path $directory/a3; uwsgi_temp_path $directory/a4; scgi_temp_path $directory/a5;
  server { listen 127.0.0.1:18901; default_type application/json; location / { return 200 "$body"; } } }
CONF
nginx -c "$directory/application.conf"
mkfifo "$directory/until"
"$rig" "$proxy" 127.0.0.1:18901 "$directory" "$workers" <"$directory/until" >"$directory/ports" 2>"$directory/proxy.log" &
exec 9>"$directory/until"
while ! grep -q https= "$directory/ports"; do sleep 0.1; done
https=$(sed 's/.*https=\([0-9]*\).*/\1/' "$directory/ports")
plain=$(sed 's/.*plain=\([0-9]*\).*/\1/' "$directory/ports")
pid=$(sed 's/.*pid=\([0-9]*\).*/\1/' "$directory/ports")
cat >"$directory/peer.conf" <<CONF
worker_processes $workers; daemon on; pid $directory/peer.pid; error_log $directory/peer.log;
events { worker_connections 8192; }
http { access_log off; keepalive_requests 100000000; client_body_temp_path $directory/p1; proxy_temp_path $directory/p2;
  fastcgi_temp_path $directory/p3; uwsgi_temp_path $directory/p4; scgi_temp_path $directory/p5;
  upstream application { server 127.0.0.1:18901; keepalive 1024; keepalive_requests 100000000; }
  server { listen 127.0.0.1:18902 reuseport; listen 127.0.0.1:18903 ssl reuseport; ssl_certificate $directory/chain.pem;
    ssl_certificate_key $directory/key.pem;
    location / { proxy_pass http://application; proxy_http_version 1.1; proxy_set_header Connection ""; proxy_set_header Host \$host;
      proxy_set_header X-Forwarded-For \$proxy_add_x_forwarded_for; proxy_set_header X-Forwarded-Proto \$scheme; } } }
CONF
nginx -c "$directory/peer.conf"
sleep 1
peer=$(pgrep -P "$(cat "$directory/peer.pid")" | paste -sd,)
cpu_ns() { # pids separated by commas: processor time of all their threads
  for id in $(echo "$1" | tr , ' '); do cat /proc/"$id"/task/*/schedstat; done | awk '{n += $1} END {printf "%.0f\n", n}'
}
measure() { # name, pids, url
  before=$(cpu_ns "$2")
  perf stat -x, -e instructions:u -o "$directory/perf" -p "$2" -- \
    wrk -t2 -c"$connections" -d"${seconds}s" --latency "$3" >"$directory/wrk"
  after=$(cpu_ns "$2")
  requests=$(awk '/requests in/ {print $1}' "$directory/wrk")
  rate=$(awk '/Requests\/sec/ {print $2}' "$directory/wrk")
  tail=$(awk '/99%/ {print $2}' "$directory/wrk")
  errors=$(grep -E 'Socket errors|Non-2xx' "$directory/wrk" || true)
  awk -F, -v n="$requests" -v ns="$((after - before))" -v name="$1" -v rate="$rate" -v tail="$tail" -v errors="$errors" \
    '/instructions:u/ {u = $1 + 0 > 0 ? sprintf("%.0f", $1 / n) : "unknown"}
    END {printf "%-12s %6.1f us CPU/request  %s instructions/request  %8s requests/s  p99 %s %s\n", name, ns/n/1000, u, rate, tail, errors}' "$directory/perf"
}
for round in 1 2 3; do
  measure "apron plain" "$pid" "http://localhost:$plain/"
  measure "nginx plain" "$peer" "http://localhost:18902/"
  measure "apron tls" "$pid" "https://localhost:$https/"
  measure "nginx tls" "$peer" "https://localhost:18903/"
done
grep -E 'VmRSS|VmHWM' "/proc/$pid/status"
exec 9>&-
kill "$(cat "$directory/peer.pid")" "$(cat "$directory/application.pid")"
wait
rm -r "$directory"
