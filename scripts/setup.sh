#!/usr/bin/env bash
# Makes a fresh Debian 12 with a Rust toolchain ready for Levee: packages, what tests run with, release build. Does nothing twice.
#   scripts/setup.sh [--no-build] [--no-tests] [--bench]
#     --no-build   leave out the release build
#     --no-tests   leave out what only scripts/test.sh needs beside packages
#     --bench      also what scripts/bench.sh needs: FastNetMon to compare with, and valgrind
set -euo pipefail
# shellcheck source=scripts/lib.sh
source "$(dirname "$0")/lib.sh"

BUILD=(build-essential pkg-config libdpdk-dev dpdk libclang-dev clang)
ROUTERS=(gobgpd bird2 frr exabgp)
TRAFFIC=(dpdk-dev tshark tcpreplay netsniff-ng hping3 iproute2 ethtool procps jq)
CHECKS=(shellcheck)
BENCH=(fastnetmon valgrind bsdextrautils)
POLICY=/usr/sbin/policy-rc.d

build=yes tests=yes bench=()
for argument in "$@"; do
  case $argument in
    --no-build) build=no ;;
    --no-tests) tests=no ;;
    --bench) bench=("${BENCH[@]}") ;;
    *) die "unknown argument $argument (known: --no-build, --no-tests, --bench)" ;;
  esac
done

missing_packages() {
  local package
  for package in "$@"; do
    [[ $(dpkg-query -W -f='${db:Status-Status}' "$package" 2>/dev/null) == installed ]] || echo "$package"
  done
}

# Routing daemons are wanted as programs, not as services: a policy of ours stands while packages install.
forbid_services() {
  [[ -e $POLICY ]] && return
  # shellcheck disable=SC2064
  trap "as_root rm -f '$POLICY'" EXIT
  trap 'exit 130' INT TERM
  printf '#!/bin/sh\nexit 101\n' | as_root tee "$POLICY" >/dev/null
  as_root chmod 755 "$POLICY"
}

install_packages() {
  command -v apt-get >/dev/null ||
    die "no apt-get here: this is for Debian 12; elsewhere install by hand: ${BUILD[*]} ${ROUTERS[*]} ${TRAFFIC[*]}"
  local missing
  mapfile -t missing < <(missing_packages "${BUILD[@]}" "${ROUTERS[@]}" "${TRAFFIC[@]}" "${CHECKS[@]}" "${bench[@]}")
  if ((${#missing[@]} == 0)); then
    say "packages: all there"
    return
  fi
  say "packages: installing ${missing[*]}"
  forbid_services
  as_root apt-get -qq update
  as_root env DEBIAN_FRONTEND=noninteractive apt-get -qq -y --no-install-recommends install "${missing[@]}" >/dev/null
}

check_toolchain() {
  command -v cargo >/dev/null ||
    die "no cargo here: install Rust (https://rustup.rs), and run this as the user who has it; it calls sudo by itself"
  [[ $tests == no ]] && return
  local tool
  for tool in fmt clippy; do
    cargo "$tool" --version >/dev/null 2>&1 || die "no cargo $tool here: rustup component add rustfmt clippy"
  done
}

# Builds a command of cargo's, if it is not there.
install_cargo_command() {
  local command=$1
  if cargo "$command" --version >/dev/null 2>&1; then
    say "cargo-$command: there"
  else
    say "cargo-$command: building it (a minute or some, once)"
    cargo install --quiet --locked "cargo-$command"
  fi
}

# Miri comes with nightly toolchains alone, and from rustup alone. Where that has none, scripts/miri.sh says so and is left out.
install_miri() {
  if has_miri; then
    say "miri: there"
    return
  fi
  say "miri: installing $MIRI_TOOLCHAIN"
  local parts=(--profile minimal --component miri --component rust-src)
  if ! rustup toolchain install "$MIRI_TOOLCHAIN" "${parts[@]}" --no-self-update >/dev/null; then
    say "miri: rustup cannot install it here, so scripts/miri.sh will be left out"
  fi
}

check_toolchain
install_packages
if [[ $tests == yes ]]; then
  install_cargo_command nextest
  install_cargo_command fuzz
  install_miri
fi
if [[ $build == yes ]]; then
  say "leveed and leveectl, and a stub for latency.sh: release build"
  cargo build --release --locked --bin leveed --bin leveectl --bin mitigator-stub
fi
