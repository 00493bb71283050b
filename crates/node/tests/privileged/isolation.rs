//! What an application can and cannot reach.

use crate::machine::{Outcome, address, line, on_a_machine, run, run_to_end};
use apron_compute::{Compute, InstanceClass};
use apron_node::Node;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use serde_json::json;
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Prints `<name> open` or `<name> closed` for a TCP address.
fn try_connect(name: &str, address: &str, port: u16) -> String {
    format!(
        "if nc -w 1 {address} {port} </dev/null >/dev/null 2>&1; then echo {name} open; else echo {name} closed; fi\n"
    )
}

/// Prints `<what> worked` or `<what> refused` for a command.
fn refused(what: &str, command: &str) -> String {
    format!("if {command} >/dev/null 2>&1; then echo {what} worked; else echo {what} refused; fi\n")
}

/// Another network behind the machine, in place of the internet.
struct Internet(Arc<AtomicBool>);

/// Who answers there, and on which port.
const ANSWERING: [(&str, u16); 4] = [
    ("198.51.100.1", 80),
    ("192.0.2.53", 53),
    ("169.254.169.254", 80),
    ("203.0.113.1", 80),
];

impl Internet {
    fn connect() -> Internet {
        let ended = Arc::new(AtomicBool::new(false));
        let (sender, receiver) = std::sync::mpsc::channel();
        let (connected, wait) = std::sync::mpsc::channel::<()>();
        let end = ended.clone();
        std::thread::spawn(move || {
            crate::machine::leave_network();
            sender
                .send(rustix::thread::gettid().as_raw_nonzero().to_string())
                .unwrap();
            wait.recv().unwrap();
            run(&["ip", "addr", "add", "10.255.0.2/30", "dev", "up1"]);
            run(&["ip", "link", "set", "up1", "up"]);
            run(&["ip", "route", "add", "default", "via", "10.255.0.1"]);
            let listeners = ANSWERING.map(|(address, port)| {
                run(&["ip", "addr", "add", &format!("{address}/32"), "dev", "lo"]);
                let listener = TcpListener::bind((address, port)).unwrap();
                listener.set_nonblocking(true).unwrap();
                listener
            });
            sender.send(String::new()).unwrap();
            let pause = Timespec {
                tv_sec: 0,
                tv_nsec: 5_000_000,
            };
            while !end.load(Ordering::Relaxed) {
                let mut ready = listeners
                    .each_ref()
                    .map(|listener| PollFd::new(listener, PollFlags::IN));
                poll(&mut ready, Some(&pause)).unwrap();
                for listener in &listeners {
                    drop(listener.accept());
                }
            }
        });
        let peer = receiver.recv().unwrap();
        run(&[
            "ip", "link", "add", "up0", "type", "veth", "peer", "name", "up1", "netns", &peer,
        ]);
        run(&["ip", "addr", "add", "10.255.0.1/30", "dev", "up0"]);
        run(&["ip", "link", "set", "up0", "up"]);
        connected.send(()).unwrap();
        receiver.recv().unwrap();
        for (address, _) in ANSWERING {
            run(&[
                "ip",
                "route",
                "add",
                &format!("{address}/32"),
                "via",
                "10.255.0.2",
            ]);
        }
        Internet(ended)
    }
}

impl Drop for Internet {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn privileged_the_network_leads_out_and_nowhere_else() {
    on_a_machine(async |machine| {
        let _internet = Internet::connect();
        let mut config = machine.config.clone();
        config.blocked_destinations = vec!["203.0.113.0/24".parse().unwrap()];
        let node = Node::start(config, machine.store.clone(), crate::machine::clock())
            .await
            .unwrap();
        let mut events = node.subscribe();
        let host = TcpListener::bind("0.0.0.0:7777").unwrap();
        let other = machine.server();
        node.create(&other).await.unwrap();
        let other_address = address(&node, &other.id).await.to_string();
        let gateway = machine.config.instance_network.gateway().to_string();

        let script = [
            try_connect("internet", "198.51.100.1", 80),
            try_connect("resolver", "192.0.2.53", 53),
            try_connect("metadata", "169.254.169.254", 80),
            try_connect("blocked", "203.0.113.1", 80),
            try_connect("host-gateway", &gateway, 7777),
            try_connect("host-uplink", "10.255.0.1", 7777),
            try_connect("other-instance", &other_address, 8080),
            try_connect("itself", "127.0.0.1", 9),
            "cat /etc/resolv.conf; ip addr add 10.9.9.9/32 dev eth0 2>&1 && echo changed"
                .to_owned(),
        ]
        .concat();
        let outcome = run_to_end(&node, &mut events, &machine.script(&script)).await;
        for expected in [
            "internet open",
            "resolver open",
            "metadata closed",
            "blocked closed",
            "host-gateway closed",
            "host-uplink closed",
            "other-instance closed",
            "nameserver 192.0.2.53",
        ] {
            assert!(
                outcome.lines.iter().any(|line| line == expected),
                "not `{expected}`: {outcome:#?}"
            );
        }
        assert!(
            !outcome.text().contains("changed"),
            "it changed its network: {outcome:#?}"
        );
        // The machine itself does reach instances, and what it listens on does work.
        std::net::TcpStream::connect((other_address.as_str(), 8080)).unwrap();
        std::net::TcpStream::connect(("10.255.0.1", 7777)).unwrap();
        drop(host);
    });
}

#[test]
fn privileged_dangerous_calls_fail_and_normal_programs_work() {
    on_a_machine(async |machine| {
        let node = machine.node().await;
        let mut events = node.subscribe();
        let script = [
            refused("mount", "mount -t tmpfs none /tmp"),
            refused("unshare", "unshare -U true"),
            refused("unshare-net", "unshare -n true"),
            refused("mknod", "mknod /tmp/disk b 254 0"),
            refused("raw-disk", "head -c 1 /dev/vda"),
            refused("sysrq", "sh -c 'echo b > /proc/sysrq-trigger'"),
            refused("sysctl", "sh -c 'echo 1 > /proc/sys/kernel/panic'"),
            refused("cgroup", "mkdir /sys/fs/cgroup/memory/x"),
            refused("hostname", "hostname other"),
            refused("ping-raw", "ping -c 1 -W 1 198.51.100.9"),
            refused("init", "ls /proc/1/fd/ /proc/1/root/"),
            "echo status $(grep -E 'Cap(Eff|Prm|Bnd|Amb|Inh)|NoNewPrivs|Seccomp:' /proc/self/status)\n".to_owned(),
            "echo kcore=$(head -c 10 /proc/kcore | wc -c 2>/dev/null)$(cat /proc/keys)$(ls /sys/firmware)\n".to_owned(),
            "echo devices $(ls /dev)\necho mounts $(awk '{print $2}' /proc/mounts)\nsleep 9 & echo descriptors $(ls /proc/$!/fd)\n".to_owned(),
            "seq 1 1000 | tail -1; sh -c 'exit 0' & wait; date >/dev/null && echo normal".to_owned(),
        ]
        .concat();
        let outcome = run_to_end(&node, &mut events, &machine.script(&script)).await;
        assert!(!outcome.text().contains("worked"), "{outcome:#?}");
        check_status(&outcome);
        assert!(
            outcome.lines.contains(&"normal".to_owned())
                && outcome.lines.contains(&"1000".to_owned()),
            "{outcome:#?}"
        );
        let devices =
            "devices fd full mqueue null ptmx pts random shm stderr stdin stdout tty urandom zero";
        assert!(outcome.lines.contains(&devices.to_owned()), "{outcome:#?}");
        let mounts = outcome
            .lines
            .iter()
            .find(|line| line.starts_with("mounts "))
            .unwrap();
        assert!(
            !mounts.contains("apron") && mounts.starts_with("mounts / /proc "),
            "{mounts}"
        );
        assert!(
            outcome.lines.contains(&"descriptors 0 1 2".to_owned()),
            "{outcome:#?}"
        );
    });
}

fn check_status(outcome: &Outcome) {
    let status = outcome
        .lines
        .iter()
        .find(|line| line.starts_with("status "))
        .unwrap();
    let words: Vec<&str> = status.split_whitespace().collect();
    let value = |name: &str| words[words.iter().position(|word| *word == name).unwrap() + 1];
    let capability = |name: &str| u64::from_str_radix(value(name), 16).unwrap();
    // chown, dac_override, fowner, fsetid, kill, setgid, setuid, net_bind_service, sys_chroot (linux/capability.h)
    let kept: u64 = [0, 1, 3, 4, 5, 6, 7, 10, 18]
        .iter()
        .map(|bit| 1 << bit)
        .sum();
    assert_eq!(
        (
            capability("CapBnd:"),
            capability("CapEff:"),
            capability("CapPrm:")
        ),
        (kept, kept, kept),
        "{status}"
    );
    assert_eq!(
        (capability("CapInh:"), capability("CapAmb:")),
        (0, 0),
        "{status}"
    );
    assert_eq!(
        (value("NoNewPrivs:"), value("Seccomp:")),
        ("1", "2"),
        "{status}"
    );
}

/// Beside the firewall, whose own test forges addresses (`doors`).
#[test]
fn privileged_an_instances_interface_takes_packets_of_its_own_address_alone() {
    on_a_machine(async |machine| {
        let node = machine.node().await;
        let mut events = node.subscribe();
        let spec = machine.script("echo ready; sleep 60");
        node.create(&spec).await.unwrap();
        assert_eq!(line(&mut events, &spec.id).await, "ready");
        // The interface of this instance and no other: those made ahead of time come and go.
        let address = address(&node, &spec.id).await.to_string();
        let route = run(&["ip", "route", "get", &address]);
        let mut words = route.split_whitespace();
        let name = words.find(|word| *word == "dev").and(words.next()).unwrap();
        assert!(
            name.starts_with(&machine.config.interface_prefix()),
            "{route}"
        );
        for (setting, value) in [("rp_filter", "1"), ("accept_redirects", "0")] {
            let path = format!("/proc/sys/net/ipv4/conf/{name}/{setting}");
            let found = std::fs::read_to_string(&path).unwrap();
            assert_eq!(found.trim(), value, "{path}");
        }
    });
}

/// What an attacker tries who has root in its container.
fn attack(neighbour: &str, gateway: &str) -> String {
    [
        try_connect("neighbour", neighbour, 8080),
        try_connect("host", gateway, 7777),
        // Frames of its own making: forged ARP, and reading what others send.
        refused(
            "arp-forging",
            &format!("arping -U -c 1 -w 1 -I eth0 {neighbour}"),
        ),
        refused("arp-asking", &format!("arping -c 1 -w 1 -I eth0 {gateway}")),
        refused(
            "other-address",
            &format!("ip addr add {neighbour}/32 dev eth0"),
        ),
        refused("other-route", "ip route add 169.254.169.254/32 dev eth0"),
        // The kernel.
        refused("module-in", "insmod /bin/busybox"),
        refused("module-out", "rmmod veth"),
        refused("kernel-log", "dmesg"),
        refused(
            "clock",
            "sh -c 'date -s 2001-01-01; test $(date +%Y) = 2001'",
        ),
        refused("swap", "swapon /bin/busybox"),
        refused("character-device", "mknod /tmp/mem c 1 1"),
        refused("loop-device", "losetup -f /bin/busybox"),
        refused(
            "core-pattern",
            "sh -c 'echo x > /proc/sys/kernel/core_pattern'",
        ),
        refused(
            "uevent-helper",
            "sh -c 'echo x > /sys/kernel/uevent_helper'",
        ),
        // Other namespaces and groups.
        refused("namespace-of-init", "nsenter -t 1 -m true"),
        refused("new-root", "pivot_root / /tmp"),
        refused(
            "release-agent",
            "sh -c 'echo x > /sys/fs/cgroup/memory/release_agent'",
        ),
        refused(
            "own-limit",
            "sh -c 'echo 999999999 > /sys/fs/cgroup/memory/memory.limit_in_bytes'",
        ),
        refused("no-limit", "sh -c 'echo max > /sys/fs/cgroup/memory.max'"),
        // A program with another user's rights.
        "cp /bin/busybox /tmp/id && chmod 4755 /tmp/id && setuidgid 1000 /tmp/id -u\n".to_owned(),
        "echo processes $(ls /proc | grep -c '^[0-9]')\n".to_owned(),
    ]
    .concat()
}

#[test]
fn privileged_an_attacker_gets_no_further_than_its_own_container() {
    on_a_machine(async |machine| {
        let node = machine.node().await;
        let mut events = node.subscribe();
        let victim = machine.script("echo ready; sleep 60");
        node.create(&victim).await.unwrap();
        assert_eq!(line(&mut events, &victim.id).await, "ready");
        let neighbour = address(&node, &victim.id).await.to_string();
        let gateway = machine.config.instance_network.gateway().to_string();
        let _host = TcpListener::bind("0.0.0.0:7777").unwrap();
        let script = attack(&neighbour, &gateway);
        for class in [InstanceClass::Service, InstanceClass::Build] {
            let mut attacker = machine.script(&script);
            attacker.class = class;
            let outcome = run_to_end(&node, &mut events, &attacker).await;
            let text = outcome.text();
            let open = text.contains(" open") || text.contains("worked");
            assert!(!open, "{class:?}: {outcome:#?}");
            let refusals = outcome.lines.iter().filter(|l| l.ends_with("refused"));
            assert_eq!(refusals.count(), 18, "{class:?}: {outcome:#?}");
            let closed = outcome.lines.iter().filter(|l| l.ends_with(" closed"));
            assert_eq!(closed.count(), 2, "{class:?}: {outcome:#?}");
            let processes = outcome.lines.iter().find(|l| l.starts_with("processes "));
            let count: u32 = processes.unwrap()["processes ".len()..].parse().unwrap();
            assert!(count < 8, "it sees more than its own: {outcome:#?}");
        }
    });
}

#[test]
fn privileged_a_program_with_anothers_rights_has_those_of_its_caller() {
    on_a_machine(async |machine| {
        let node = machine.node().await;
        let mut events = node.subscribe();
        let program = std::fs::read(crate::image::busybox()).unwrap();
        let layer = crate::image::Layer::new().file("suid/busybox", 0o4755, &program);
        let config = json!({
            "Cmd": ["/bin/sh", "-c", "ls -l /suid/busybox | cut -c1-10; /suid/busybox id -u"],
            "Env": ["PATH=/bin"], "User": "web",
        });
        let mut spec = machine.server();
        spec.image = machine.image(vec![layer], config);
        let outcome = run_to_end(&node, &mut events, &spec).await;
        assert_eq!(outcome.lines, ["-rwsr-xr-x", "101"], "{outcome:#?}");
    });
}
