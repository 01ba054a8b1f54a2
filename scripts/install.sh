#!/usr/bin/env bash
# Installs the release build on this machine, or takes it away again. Changes only what differs; does not start anything.
#   scripts/install.sh [--from FOLDER] [--uninstall]
#     --from FOLDER  where leveed and leveectl are; default target/release
#     --uninstall    stop and remove, but for the configuration and the state
# With DESTDIR set everything goes into that folder instead, without root and without systemd.
set -euo pipefail
# shellcheck source=scripts/lib.sh
source "$(dirname "$0")/lib.sh"

BIN=/usr/local/bin
UNIT=/usr/local/lib/systemd/system/levee.service
CONFIG=/etc/levee/levee.toml
STATE=/var/lib/levee
destdir=${DESTDIR:-}

from=${CARGO_TARGET_DIR:-target}/release uninstall=no
while (($#)); do
  case $1 in
    --from)
      (($# > 1)) || die "--from needs a folder"
      from=$2
      shift
      ;;
    --uninstall) uninstall=yes ;;
    *) die "unknown argument $1 (known: --from FOLDER, --uninstall)" ;;
  esac
  shift
done

into_place() { if [[ -n $destdir ]]; then "$@"; else as_root "$@"; fi; }

# put MODE SOURCE TARGET
put() {
  local target=$destdir$3
  if cmp -s "$2" "$target"; then
    say "$target: unchanged"
  else
    into_place install -D -m "$1" "$2" "$target"
    say "$target: installed"
  fi
}

has_systemd() { [[ -z $destdir && -d /run/systemd/system ]]; }

install_all() {
  local program
  for program in leveed leveectl; do
    [[ -x $from/$program ]] || die "no $from/$program here: build it first, with scripts/setup.sh"
  done
  for program in leveed leveectl; do
    put 755 "$from/$program" "$BIN/$program"
  done
  put 644 scripts/levee.service "$UNIT"
  if [[ -e $destdir$CONFIG ]]; then
    say "$destdir$CONFIG: kept"
  else
    put 640 controlplane/levee.toml "$CONFIG"
  fi
  if ldd "$from/leveed" | grep -q 'not found'; then
    say "leveed needs DPDK's libraries: apt-get install dpdk"
  fi
  if has_systemd; then
    as_root systemctl daemon-reload
    if systemctl -q is-active levee; then
      say "levee runs: systemctl restart levee takes over what is new"
      return
    fi
  fi
  say "next: edit $CONFIG, leveed check, systemctl enable --now levee"
}

uninstall_all() {
  if has_systemd && systemctl -q cat levee >/dev/null 2>&1; then
    as_root systemctl disable --now levee
  fi
  local file
  for file in "$BIN/leveed" "$BIN/leveectl" "$UNIT"; do
    if [[ -e $destdir$file ]]; then
      into_place rm "$destdir$file"
      say "$destdir$file: removed"
    fi
  done
  if has_systemd; then
    as_root systemctl daemon-reload
  fi
  say "kept, if there: $destdir$CONFIG and $destdir$STATE"
}

if [[ $uninstall == yes ]]; then uninstall_all; else install_all; fi
