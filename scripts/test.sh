#!/usr/bin/env bash
# Everything that must hold before a change goes in: format, lints, scripts, tests. Arguments go to cargo nextest.
set -euo pipefail
# shellcheck source=scripts/lib.sh
source "$(dirname "$0")/lib.sh"

# Doc tests cost a build of their own: only where there are any.
has_doc_tests() {
  grep -rqE --include='*.rs' '^\s*//[/!] ```rust' dataplane controlplane proto
}

scripts/setup.sh --no-build
profile=default
[[ ${CI:-} != true ]] || profile=ci

say "format"
cargo fmt --all --check
cargo fmt --manifest-path tests/fuzz/Cargo.toml --check
say "shellcheck"
shellcheck --external-sources scripts/*.sh tests/*.sh .ci/run
say "clippy"
cargo clippy --workspace --all-targets --locked --quiet -- -D warnings
say "models"
scripts/loom.sh --weaken slot-odd-first sample-published
say "fuzzing, half a minute each"
scripts/fuzz.sh --seconds 30
if has_miri; then
  say "miri"
  scripts/miri.sh
else
  say "miri: left out, since rustup could not install $MIRI_TOOLCHAIN here; the pure part ran under AddressSanitizer above"
fi
run_as_root
say "benchmark, short"
scripts/bench.sh --quick --case hosts_64k
say "install"
cargo build --workspace --locked --quiet
tests/install.sh
say "docs/mitigator.md, command by command"
tests/mitigator-howto.sh "${CARGO_TARGET_DIR:-target}/debug"
say "mined rules"
scripts/eval.sh --quick
say "speed of detection, short"
scripts/latency.sh --quick --bin "${CARGO_TARGET_DIR:-target}/debug"
if has_doc_tests; then
  say "doc tests"
  cargo test --doc --workspace --locked --quiet
fi
say "tests"
cargo nextest run --workspace --locked --profile "$profile" "$@"
