#!/usr/bin/env bash
# Explores what a worker and the control thread share in every order that the memory model allows, with loom: the models are
# in dataplane/src/*/loom_tests.rs, and run the code that ships.
#   --weaken [NAME...]  also shows that the models bite: takes away one ordering after the other, or the named ones, and
#                       expects the models listed with it to fail.
set -euo pipefail
# shellcheck source=scripts/lib.sh
source "$(dirname "$0")/lib.sh"

target=$PWD/target/loom
copy=$target/copy

# Name of a line (its comment `// loom: NAME`), how it is weakened, and which models must fail then (how their names begin).
weakenings=(
  "stamp-set relax differences_add_up a_touched_block what_a_head_tells"
  "stamp-seen relax differences_add_up a_touched_block what_a_head_tells"
  "group-set late what_a_head_tells"
  "stamp-exchanged store a_mark_and_a_stamp"
  "generation-read relax an_ipv6_slot a_reused_block_found_for_its_old"
  "reads-before-second-look drop an_ipv6_slot a_reused_block_found_for_its_old"
  "slot-odd-first drop an_ipv6_slot"
  "slot-even-last relax an_ipv6_slot"
  "block-odd-first drop a_reused_block_found_for_its_old"
  "block-even-last relax a_reused_block_found_for_its_old"
  "directory-published relax a_block_that_the_directory a_reused_block_found_for_its_new"
  "directory-read relax a_block_that_the_directory a_reused_block_found_for_its_new"
  "no-tag-first drop a_line_is_read"
  "tag-last relax a_line_is_read"
  "tag-read relax a_line_is_read"
  "registers-before-second-look drop a_line_is_read"
  "sample-published relax samples_come_out"
  "sample-seen relax samples_come_out"
  "place-given-back early samples_come_out"
)

# What sed does to the line. Loom lets no load happen after a later store of its thread, so that relaxing `place-given-back`,
# or the load that it pairs with, would show nothing: what it would allow is written out, the place given back before it is
# read. `late` moves a line to behind the one that publishes it. `store` writes what it read, and whatever came between is undone.
sed_script() {
  case $2 in
    relax) echo "/loom: $1\$/s/Ordering::[A-Z][a-z]*/Ordering::Relaxed/" ;;
    drop) echo "/loom: $1\$/d" ;;
    late) printf '%s\n' "/loom: $1\$/{h;d}" '/loom: stamp-set$/G' ;;
    early) printf '%s\n' "/loom: $1\$/d" '/let place = self.place(head);/a self.head.store(head.wrapping_add(1), Ordering::Release);' ;;
    store) printf '%s\n' "/loom: $1\$/s/fetch_xor(\\(.*\\), Ordering::Relaxed)/store(self.state() ^ (\\1), Ordering::Relaxed)/" ;;
    *) die "$1: no such way to weaken: $2" ;;
  esac
}

# Cargo's tests of the copy.
models() {
  RUSTFLAGS="--cfg loom" cargo test --manifest-path "$copy/Cargo.toml" --target-dir "$target" --profile loom --locked \
    --quiet -p dataplane --lib "$@"
}

# Every marked line must be weakened by the list, and nothing else.
check_marks() {
  diff <(grep -rhoP '// loom: \K\S+$' dataplane/src | sort) <(printf '%s\n' "${weakenings[@]}" | cut -d' ' -f1 | sort) ||
    die "marks in the sources (<) and the list of weakenings (>) differ"
}

# Cargo tells a changed source by its time alone: what it may have built from other text gets a new one.
fresh_copy() {
  rm -rf "$copy"
  mkdir -p "$copy"
  cp -a Cargo.toml Cargo.lock dataplane controlplane proto tests "$copy"
  find "$copy/dataplane/src" -name '*.rs' -exec touch {} +
}

# Weakens one line in the copy, sees its models fail by an assertion of theirs, and puts the line back.
weaken() {
  local name=$1 how=$2 file model output
  shift 2
  file=$(grep -rlE "// loom: $name\$" dataplane/src)
  sed "$(sed_script "$name" "$how")" "$file" >"$copy/$file"
  ! cmp -s "$file" "$copy/$file" || die "$name: nothing to weaken"
  models --no-run
  for model in "$@"; do
    if output=$(models "loom_tests::$model" -- --nocapture 2>&1); then
      die "$name weakened, and $model does not notice"
    fi
    grep -qE 'panicked at dataplane/src/.*loom_tests\.rs' <<<"$output" || die "$name weakened, $model failed otherwise: $output"
    say "$name: $model notices"
  done
  cp "$file" "$copy/$file"
}

check_marks
fresh_copy
say "models"
models loom_tests
[[ ${1:-} == --weaken ]] || exit 0
shift
count=0
for weakening in "${weakenings[@]}"; do
  read -ra words <<<"$weakening"
  if (($# == 0)) || [[ " $* " == *" ${words[0]} "* ]]; then
    weaken "${words[@]}"
    count=$((count + 1))
  fi
done
(($# == 0 || $# == count)) || die "no such weakening among: $*"
say "noticed: $count of $count weakenings"
