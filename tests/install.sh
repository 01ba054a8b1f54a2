#!/usr/bin/env bash
# scripts/install.sh into a folder of its own: what it puts there, that it keeps a changed configuration, that it does nothing
# twice, that systemd understands the unit, and that nothing but configuration remains after --uninstall.
#   tests/install.sh [FOLDER]     where leveed and leveectl are; default target/debug
set -euo pipefail
# shellcheck source=scripts/lib.sh
source "$(dirname "$0")/../scripts/lib.sh"

from=${1:-${CARGO_TARGET_DIR:-target}/debug}
root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT

run() { DESTDIR=$root scripts/install.sh --from "$from" "$@"; }
files() { (cd "$root" && find . -type f | sort | xargs); }

# expect WHAT FOUND RIGHT
expect() { [[ $2 == "$3" ]] || die "$1: found \"$2\", not \"$3\""; }

run >/dev/null
installed="./etc/levee/levee.toml ./usr/local/bin/leveectl ./usr/local/bin/leveed ./usr/local/lib/systemd/system/levee.service"
expect "files" "$(files)" "$installed"
expect "the version" "$("$root/usr/local/bin/leveed" --version)" "$("$from/leveed" --version)"
if command -v systemd-analyze >/dev/null; then
  # Some of what the unit stands after is not in this folder, which is no fault of the unit's. Its commands must be there: one
  # is the system's.
  install -D "$(type -P true)" "$root/bin/kill"
  found=$(systemd-analyze --root="$root" --man=no --recursive-errors=no verify levee.service 2>&1) || die "the unit: $found"
  expect "what systemd says of the unit" "$(grep -F levee.service <<<"$found" || true)" ""
  rm -r "${root:?}/bin"
else
  say "no systemd-analyze here: the unit stays unchecked"
fi

echo "# mine" >>"$root/etc/levee/levee.toml"
expect "a second run" "$(run | grep -cE ': (unchanged|kept)$')" 4
expect "the configuration's last line" "$(tail -n 1 "$root/etc/levee/levee.toml")" "# mine"
run --uninstall >/dev/null
expect "what remains" "$(files)" "./etc/levee/levee.toml"
run --uninstall >/dev/null
if run --frob >/dev/null 2>&1; then die "an unknown argument is accepted"; fi
say "good"
