#!/usr/bin/env bash
# Fuzzes all that decodes what others send, under AddressSanitizer, with overflow checks and assertions. The targets are in tests/fuzz/targets,
# what they start from in tests/fuzz/corpus; what they learn stays in target/fuzz/corpus.
#   scripts/fuzz.sh [--seconds N] [TARGET...]
#     --seconds N   how long for each target (60); as many run side by side as there are cores
#     TARGET        only these; `config` and `capture_file` run only when they are named, since they need the control plane built
set -euo pipefail
# shellcheck source=scripts/lib.sh
source "$(dirname "$0")/lib.sh"

build=$PWD/target/fuzz
seconds=60 targets=()
while (($#)); do
  case $1 in
    --seconds)
      seconds=${2-}
      [[ $seconds =~ ^[1-9][0-9]*$ ]] || die "--seconds takes a whole number above 0"
      shift 2
      ;;
    -*) die "unknown argument $1 (known: --seconds N, and targets)" ;;
    *)
      targets+=("$1")
      shift
      ;;
  esac
done

cargo fuzz --version >/dev/null 2>&1 || die "no cargo fuzz here: scripts/setup.sh --no-build installs it"
mapfile -t known < <(cargo fuzz list --fuzz-dir tests/fuzz)
for target in "${targets[@]}"; do
  [[ " ${known[*]} " == *" $target "* ]] || die "no target $target (there are: ${known[*]})"
done
((${#targets[@]})) || mapfile -t targets < <(printf '%s\n' "${known[@]}" | grep -vxE 'config|capture_file')
features=()
[[ " ${targets[*]} " != *" config "* && " ${targets[*]} " != *" capture_file "* ]] || features=(--features controlplane)

# Runs one target. Fails if it found something, and then says which bytes.
fuzz() {
  local target=$1 log=$build/$1.log
  local learned=$build/corpus/$target found=$build/found/$target
  rm -rf "$found"
  mkdir -p "$learned" "$found"
  if "$binaries/$target" -max_total_time="$seconds" -timeout=10 -rss_limit_mb=2048 -print_final_stats=1 \
    -artifact_prefix="$found/" "$learned" "tests/fuzz/corpus/$target" >"$log" 2>&1; then
    say "$target: $(sed -n 's/^stat::number_of_executed_units: *//p' "$log") runs, nothing found"
    return
  fi
  grep -E -m 1 -A 3 'panicked at|ERROR: ' "$log" || tail -n 20 "$log"
  local input
  for input in "$found"/*; do
    [[ -e $input ]] || continue
    say "$target fails on $input: $(od -An -v -tx1 "$input" | tr -d ' \n')"
  done
  say "$target: all of it is in $log; make the input a vector beside the code, and a file in tests/fuzz/corpus/$target"
  return 1
}

say "building"
# Sanitizers are still for nightly compilers; a release takes their flags when told so.
RUSTC_BOOTSTRAP=1 cargo fuzz build --fuzz-dir tests/fuzz --target-dir "$build" --codegen-units 16 "${features[@]}"
triple=$(rustc -vV | sed -n 's/^host: //p')
binaries=$build/$triple/release

say "${targets[*]}: $seconds s each"
running=0 failed=0
for target in "${targets[@]}"; do
  if ((running == $(nproc))); then
    wait -n || failed=1
    running=$((running - 1))
  fi
  fuzz "$target" &
  running=$((running + 1))
done
while ((running)); do
  wait -n || failed=1
  running=$((running - 1))
done
exit "$failed"
