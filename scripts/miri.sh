#!/usr/bin/env bash
# Runs the tests of the packet path's pure part under Miri, which sees each read outside, each misuse of memory and each undefined result.
# Properties run with few cases.
set -euo pipefail
# shellcheck source=scripts/lib.sh
source "$(dirname "$0")/lib.sh"

has_miri || die "no Miri here: scripts/setup.sh --no-build installs it, where rustup can"
# Proptest asks for its folder, which the closed world of Miri does not have.
export MIRIFLAGS=-Zmiri-disable-isolation PROPTEST_CASES=2
cargo "+$MIRI_TOOLCHAIN" miri nextest run --locked -p dataplane --lib -E 'test(/^(packet|rule|networks|flows)::/)' "$@"
