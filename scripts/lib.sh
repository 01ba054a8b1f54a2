# shellcheck shell=bash
# What the scripts share. Source it; it does nothing by itself.

# One spelling of numbers and messages. Daemons live in sbin, which an ordinary Debian user does not search; rustup's tools may be new in this shell.
export LC_ALL=C
PATH="$PATH:/usr/local/sbin:/usr/sbin:/sbin:${CARGO_HOME:-$HOME/.cargo}/bin"
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit

say() { printf '%s: %s\n' "$(basename "$0" .sh)" "$*"; }
die() {
  say "$*" >&2
  exit 1
}

can_be_root() { ((EUID == 0)) || command -v sudo >/dev/null; }

# Runs a command as root, through sudo if need be.
as_root() {
  if ((EUID == 0)); then
    "$@"
  else
    can_be_root || die "needs root for: $*"
    sudo "$@"
  fi
}

# Tests and benchmarks make namespaces and map huge pages: cargo builds as the user, what it runs is run as root.
run_as_root() {
  ((EUID == 0)) && return
  can_be_root || die "needs root or sudo"
  local triple
  triple=$(rustc -vV | sed -n 's/^host: //p' | tr 'a-z-' 'A-Z_')
  export "CARGO_TARGET_${triple}_RUNNER=sudo -E"
}

# Pinned: each nightly may know other warnings and other errors.
MIRI_TOOLCHAIN=nightly-2026-10-30

has_miri() { RUSTUP_AUTO_INSTALL=0 cargo "+$MIRI_TOOLCHAIN" miri --version >/dev/null 2>&1; }
