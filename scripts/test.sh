#!/usr/bin/env bash
# Everything that must hold before a change goes in: format, lints, scripts, tests. Arguments go to cargo nextest.
set -euo pipefail
# shellcheck source=scripts/lib.sh
source "$(dirname "$0")/lib.sh"

# Doc tests cost a build of their own: only where there are any.
has_doc_tests() {
  grep -rqE --include='*.rs' '^\s*//[/!] ```rust' dataplane controlplane proto
}

# A step begins: which, and after how long.
step() { say "$*, after $SECONDS s"; }

scripts/setup.sh --no-build
profile=default
[[ ${CI:-} != true ]] || profile=ci

step "format"
cargo fmt --all --check
cargo fmt --manifest-path tests/fuzz/Cargo.toml --check
step "shellcheck"
shellcheck --external-sources scripts/*.sh tests/*.sh .ci/run
step "clippy"
cargo clippy --workspace --all-targets --locked --quiet -- -D warnings
# All that is tested and run below, built once: each other choice of packages would have other features, and be built again.
step "build"
cargo build --workspace --bins --tests --locked --quiet
built=${CARGO_TARGET_DIR:-target}/debug
step "models"
scripts/loom.sh --weaken slot-odd-first sample-published
step "fuzzing, half a minute each"
scripts/fuzz.sh --seconds 30
if has_miri; then
  step "miri"
  scripts/miri.sh
else
  say "miri: left out, since rustup could not install $MIRI_TOOLCHAIN here; the pure part ran under AddressSanitizer above"
fi
run_as_root
step "benchmark, short"
scripts/bench.sh --quick --case hosts_64k
step "install"
tests/install.sh
step "docs/mitigator.md, command by command"
tests/mitigator-howto.sh "$built"
step "mined rules"
scripts/eval.sh --quick --bin "$built"
step "speed of detection, short"
scripts/latency.sh --quick --bin "$built"
if has_doc_tests; then
  step "doc tests"
  cargo test --doc --workspace --locked --quiet
fi
step "tests"
cargo nextest run --workspace --locked --profile "$profile" "$@"
