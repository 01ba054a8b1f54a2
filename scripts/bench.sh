#!/usr/bin/env bash
# The whole report of Levee's speed, into target/bench/results.json: the fair rig, the meter, instructions a packet, the way of a
# rule to a router, and FastNetMon beside it; on huge pages where it can get them. Prints it as a table, with the bars that it is held against.
#   scripts/bench.sh [--quick] [options of the rig: dataplane/benches/rig]
#     --quick      short, the rig built as the tests are: proves that everything runs and touches what it says. Figures mean little, so
#                  they are in quick.json alone, and not printed
#     --case NAME  only this case of the rig, and nothing else
set -euo pipefail
# shellcheck source=scripts/lib.sh
source "$(dirname "$0")/lib.sh"

PAGES=/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages
WANTED=512
OUT=target/bench

results=$OUT/results.json
rig=(-p dataplane)
rig_options=()
meter_options=()
peer_options=()
router_options=()
only_rig=no
while (($#)); do
  case $1 in
    --quick)
      results=$OUT/quick.json
      # As the tests are built: so nothing is built for it but itself.
      rig=(--workspace --profile dev)
      rig_options+=(--pairs 1 --millions 2)
      meter_options+=(--ticks 2 --pairs 1 --millions 2)
      peer_options+=(--packets 300000)
      router_options+=(--quick)
      ;;
    --case | --only-bare | --only-levee)
      only_rig=yes
      rig_options+=("$1")
      ;;
    *) rig_options+=("$1") ;;
  esac
  shift
done

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

# Instructions that so many passes of the pure pipeline take.
instructions() { # binary passes
  valgrind --tool=callgrind --callgrind-out-file="$OUT/callgrind.out" "$1" --passes "$2" >"$OUT/pure.out" 2>&1 ||
    die "callgrind failed: $(tail -n 3 "$OUT/pure.out")"
  awk '$1 == "summary:" { print $2 }' "$OUT/callgrind.out"
}

# The difference of two runs: what it costs to start is in both.
instructions_per_packet() {
  local binary few many
  binary=$(cargo bench --locked --quiet -p dataplane --bench pure --no-run --message-format json |
    jq -r 'select(.target.name? == "pure") | .executable // empty')
  few=$(instructions "$binary" 1)
  many=$(instructions "$binary" 3)
  jq -n --argjson few "$few" --argjson many "$many" \
    '{instructions_per_packet: (($many - $few) / (2 * 65536) * 100 | round / 100)}' >"$OUT/pure.json"
}

print_table() {
  jq -r '
    def verdict(value; bar; aim; higher):
      if value == null then "not measured"
      elif (if higher then value >= aim else value <= aim end) then "aim"
      elif (if higher then value >= bar else value <= bar end) then "bar"
      else "below" end;
    def line(name; value; bar; aim; higher; also):
      [name, value // "-", bar, aim, verdict(value; bar; aim; higher), also // "-"];
    def ratio(name; bar; aim):
      .[name] as $case | line(name; $case.ratio; bar; aim; true;
        if $case == null then null
        elif $case.added_ns then "\($case.levee_mpps) of \($case.bare_mpps) Mpps, \($case.added_ns) ns added, \($case.ratio_min) to \($case.ratio_max)"
        else "\($case.two_mpps) to \($case.one_mpps) Mpps, \($case.ratio_min) to \($case.ratio_max)" end);
    def tick(name; bar; aim):
      .[name] as $case | line(name; $case.tick_ms; bar; aim; false;
        if $case then "ms, \($case.tick_ms_min) to \($case.tick_ms_max)" else null end);
    ["figure", "value", "bar", "aim", "met", "more"],
    ratio("hosts_64k"; 0.65; 0.8),
    ratio("hosts_1m"; 0.55; 0.7),
    ratio("hosts_v6"; 0.5; 0.65),
    ratio("flows"; 0.5; 0.65),
    ratio("attack_10_rules"; 0.5; 0.7),
    ratio("two_workers"; 1.8; 1.95),
    tick("meter_1m_active"; 100; 40),
    tick("meter_10k_of_1m"; 10; 3),
    (.rule_to_router | line("rule_to_router"; .median_ms; 50; 10; false;
      if . then "ms, median of \(.rules); the worst \(.worst_ms)" else null end)),
    (.rules_in_and_out | line("rules_in"; .there_ms; 2000; 500; false; if . then "ms until a router has all \(.rules)" else null end),
      line("rules_out"; .gone_ms; 2000; 500; false; if . then "ms until it has none" else null end)),
    (.fastnetmon as $peer |
      line("fastnetmon"; $peer.ratio; 12; 30; true;
        if $peer then "\($peer.ns_per_packet) ns to \($peer.levee_ns_per_packet) ns" else null end),
      line("fastnetmon, flows"; $peer.ratio_tracking; 12; 30; true;
        if $peer then "\($peer.ns_per_packet_tracking) ns to \($peer.levee_ns_per_packet_flows // "?") ns" else null end)),
    (("meter_1m_active_v6", "meter_10k_of_1m_v6", "meter_1m_active_flows", "meter_10k_of_1m_flows",
        "meter_1m_active_v6_flows") as $name | .[$name] as $case | select($case) |
      [$name, $case.tick_ms, "-", "-", "-", "ms, \($case.tick_ms_min) to \($case.tick_ms_max)"]),
    (.mixed | if . then ["mixed", .ratio, "-", "-", "-", "\(.levee_mpps) of \(.bare_mpps) Mpps, \(.added_ns) ns added; tags, fragments, tunnels, IPv6"] else empty end),
    (.slow_down | if . then ["slow_down", .ratio, "-", "-", "-", "\(.ratio_min) to \(.ratio_max) while the meter looks"] else empty end),
    (if .instructions_per_packet then ["instructions", .instructions_per_packet, "-", "-", "-", "a packet, pure pipeline"] else empty end)
    | @tsv' "$1" | column -t -s $'\t'
}

[[ $only_rig == yes ]] || scripts/setup.sh --no-build --no-tests --bench
trap restore EXIT
trap 'exit 130' INT TERM
if can_be_root; then
  get_huge_pages
  run_as_root
else
  say "huge pages: only root can get them; going on without"
fi
# Results of an earlier run must not pass for this one's.
mkdir -p "$OUT"
rm -f "$OUT"/{rig,meter,pure,routers,fastnetmon}.json "$results"
say "rig"
cargo bench --locked --quiet "${rig[@]}" --bench rig -- "${rig_options[@]}" >/dev/null
if [[ $only_rig == no ]]; then
  say "instructions a packet"
  instructions_per_packet
  say "meter"
  cargo bench --locked --quiet -p controlplane --bench meter -- "${meter_options[@]}" >/dev/null
  say "rules to a router"
  cargo bench --locked --quiet -p controlplane --bench routers -- "${router_options[@]}" >/dev/null
  scripts/bench-fastnetmon.sh "${peer_options[@]}" >/dev/null
fi
if [[ ! -s $OUT/rig.json ]]; then
  say "one side alone: nothing to report"
  exit
fi
parts=()
for part in meter pure routers; do
  [[ ! -s $OUT/$part.json ]] || parts+=("$OUT/$part.json")
done
peer='{}'
[[ ! -s $OUT/fastnetmon.json ]] || peer=$(jq '{fastnetmon: .}' "$OUT/fastnetmon.json")
jq -s --argjson peer "$peer" '(.[0] | del(.cases)) + .[0].cases + (.[1:] | add // {}) + $peer' \
  "$OUT/rig.json" "${parts[@]}" >"$results"
# Held against a bar, quick figures would only mislead.
[[ $results == *quick.json ]] || print_table "$results"
say "all of it: $results"
