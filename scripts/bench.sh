#!/usr/bin/env bash
# Runs the fair rig (dataplane/benches/rig.rs), on huge pages where it can get them. Arguments go to the rig.
# Prints what the rig wrote into target/bench/results.json.
set -euo pipefail
# shellcheck source=scripts/lib.sh
source "$(dirname "$0")/lib.sh"

PAGES=/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages
WANTED=512
RESULTS=target/bench/results.json

mounted=no
pages_before=""

set_pages() { echo "$1" | as_root tee "$PAGES" >/dev/null; }

get_huge_pages() {
  if [[ ! -e $PAGES ]]; then
    say "huge pages: this kernel has none of 2 MB; going on without"
    return
  fi
  local before
  before=$(<"$PAGES")
  if ((before < WANTED)); then
    pages_before=$before
    set_pages "$WANTED" 2>/dev/null || true
  fi
  if ! findmnt -t hugetlbfs /dev/hugepages >/dev/null; then
    as_root mkdir -p /dev/hugepages
    as_root mount -t hugetlbfs nodev /dev/hugepages 2>/dev/null && mounted=yes
  fi
  say "huge pages: $(<"$PAGES") of 2 MB (before: $before)"
}

restore() {
  [[ $mounted == no ]] || as_root umount /dev/hugepages || true
  [[ -z $pages_before ]] || set_pages "$pages_before" || true
}

trap restore EXIT
trap 'exit 130' INT TERM
if can_be_root; then
  get_huge_pages
  run_as_root
else
  say "huge pages: only root can get them; going on without"
fi
# Results of an earlier run must not pass for this one's.
mkdir -p "$(dirname "$RESULTS")"
rm -f "$RESULTS"
cargo bench --locked -p dataplane --bench rig -- "$@"
[[ -s $RESULTS ]] || die "the rig wrote no $RESULTS"
cat "$RESULTS"
