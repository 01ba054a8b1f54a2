#!/usr/bin/env bash
# Runs the tests of the packet path's pure part under Miri, which sees each read outside, each misuse of memory and each undefined result.
# Properties run with few cases.
set -euo pipefail
# shellcheck source=scripts/lib.sh
source "$(dirname "$0")/lib.sh"

has_miri || die "no Miri here: scripts/setup.sh --no-build installs it, where rustup can"
# Proptest asks for its folder, which the closed world of Miri does not have.
export MIRIFLAGS=-Zmiri-disable-isolation PROPTEST_CASES=2
run() { cargo "+$MIRI_TOOLCHAIN" miri test --locked --quiet -p dataplane --lib "$@"; }

# Miri takes one core, and a second or two to begin: two processes, not one for each test.
run --no-run
run -- packet:: rule:: &
other=$!
failed=0
run -- networks:: flows:: || failed=1
wait $other || failed=1
exit $failed
