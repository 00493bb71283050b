fail() { echo "$1"; exit 1; }
own() { if [ -n "$o" ]; then chown -hR "$o" "$1"; fi; }
inside() {
  at=$root rest=${1#$root} links=0
  while [ -n "$rest" ]; do
    rest=${rest#/}
    part=${rest%%/*}
    case $rest in */*) rest=/${rest#*/} ;; *) rest= ;; esac
    case $part in
      '' | .) continue ;;
      ..) if [ "$at" != "$root" ]; then at=${at%/*}; fi; continue ;;
    esac
    if [ -L "$at/$part" ]; then
      links=$((links + 1))
      if [ $links -gt 40 ]; then echo "${1#$root} has links without end" >&2; exit 1; fi
      link=$(readlink "$at/$part")
      case $link in /*) at=$root ;; esac
      rest=/$link$rest
    else
      at=$at/$part
    fi
  done
  echo "$at"
}
make() {
  if [ -d "$1" ]; then return; fi
  if [ -e "$1" ] || [ -L "$1" ]; then fail "${1#$root} is no directory"; fi
  make "$(dirname "$1")"
  mkdir "$1"
  own "$1"
}
put() (
  from=$1 to=$2
  shift 2
  for x in "$from"/* "$from"/.[!.]* "$from"/..?*; do
    [ -e "$x" ] || [ -L "$x" ] || continue
    y=$to/${x##*/}
    if [ -n "$root" ] && [ -d "$x" ] && [ ! -L "$x" ] && [ -L "$y" ]; then y=$(inside "$y"); fi
    if [ -d "$x" ] && [ ! -L "$x" ]; then
      if [ -d "$y" ]; then put "$x" "$y"; continue; fi
      if [ -e "$y" ] || [ -L "$y" ]; then fail "${y#$root} is no directory"; fi
    else
      if [ -d "$y" ] && [ ! -L "$y" ]; then fail "${y#$root} is a directory"; fi
      if [ -e "$y" ] || [ -L "$y" ]; then rm -f "$y"; fi
    fi
    set -- "$@" "$x"
    if [ $# -ge 200 ]; then cp -a "$@" "$to/"; set --; fi
  done
  if [ $# -gt 0 ]; then cp -a "$@" "$to/"; fi
)
copy() {
  if [ ! -e "$1" ] && [ ! -L "$1" ]; then fail "there is no $3"; fi
  own "$1"
  if [ -n "$m" ] && [ ! -L "$1" ]; then chmod -R "$m" "$1"; fi
  if [ -d "$1" ]; then
    if [ -n "$4" ] && [ ! -e "$2" ] && [ ! -L "$2" ]; then
      make "$(dirname "$2")"
      cp -a "$1" "$2"
      return
    fi
    make "$2"
    put "$1" "$2"
    return
  fi
  y=$2
  if [ -n "$i" ]; then make "$y"; fi
  if [ -d "$y" ]; then y=$y/${1##*/}; else make "$(dirname "$y")"; fi
  if [ -d "$y" ] && [ ! -L "$y" ]; then fail "${y#$root} is a directory"; fi
  rm -f "$y"
  cp -aH "$1" "$y"
}
