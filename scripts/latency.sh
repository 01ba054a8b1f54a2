#!/usr/bin/env bash
# How fast is an attack found and a router told? Plays a real attack capture, live and paced, to a protected host that has ordinary
# traffic of its own, at 1.25, 2 and 10 times its threshold; and takes the time from the attack's first packet on the wire until
# it is detected, until a rule is wanted, until a BGP router has the rule in its table, and until the last switch of a MITIGATOR (a stub)
# is on.
#   scripts/latency.sh [--runs N] [--times K]... [--quick] [--bin FOLDER]
#     --runs N    so often at each multiple; default 10
#     --times K   only this multiple of the threshold: 1.25, 2 or 10
#     --quick     once each, and only the order of events counts, not the time; nothing is written
#     --bin       where leveed, leveectl and mitigator-stub are; without it, a release build is made
# Prints a table, writes target/latency/results.json, and exits 0 only if each run was in order and each median is within its bar.
#
# All clocks are one: the kernel's stamp of the first packet as it leaves the sender, leveed's own record of the attack, the time
# that BIRD notes with the route when it takes it in, and that of the stub when it has switched, each to the millisecond.
set -euo pipefail
# shellcheck source=scripts/lib.sh
source "$(dirname "$0")/lib.sh"

THRESHOLD_PPS=5000
ORDINARY_PPS=2000
# Of ten ordinary packets three are for the attacked host: they are a part of what is held against the threshold.
OWN_PPS=$((ORDINARY_PPS * 3 / 10))
ATTACK_MAX_S=10
RESULTS=target/latency/results.json
# Milliseconds, median, to the router's table.
declare -A BARS=([1.25]=1200 [2]=800 [10]=350)
# The same to the last switch.
declare -A SWITCH_BARS=([10]=500)

runs=10 timed=true multiples=() arguments=("$@")
while (($#)); do
  case $1 in
    --bin) bin=$(realpath "${2:?--bin needs a folder}") && shift 2 ;;
    --runs) runs=${2:?--runs needs a number} && shift 2 ;;
    --times)
      [[ -n ${BARS[${2:-none}]:-} ]] || die "--times needs one of 1.25, 2, 10"
      multiples+=("$2") && shift 2
      ;;
    --quick) runs=1 timed=false && shift ;;
    *) die "unknown argument $1 (known: --runs, --times, --quick, --bin)" ;;
  esac
done
((${#multiples[@]})) || multiples=(1.25 2 10)
if [[ -z ${bin:-} ]]; then
  scripts/setup.sh --no-tests
  bin=$(realpath "${CARGO_TARGET_DIR:-target}/release")
fi
mkdir -p "$(dirname $RESULTS)"
((EUID == 0)) || exec sudo "$PWD/scripts/latency.sh" "${arguments[@]}" --bin "$bin"

# shellcheck source=scripts/live.sh
source "$(dirname "$0")/live.sh"

# --- one run -----------------------------------------------------------------------------------------------------------

recording() { grep '^File: ' "$run/first.log"; }

# The kernel's time of the first packet in first.pcap, in milliseconds: the second and microsecond of its record header.
first_packet_ms() {
  local second microsecond
  read -r second microsecond < <(od -An -tu4 -j24 -N8 "$run/first.pcap")
  echo $((second * 1000 + microsecond / 1000))
}

# BIRD's own time of the rule, as `[levee 2026-11-21 21:48:24.416 from …`.
router_ms() { date -d "$(router_rules | grep -Po -m1 "dst $VICTIM/32.*\[levee \K[-0-9]+ [:.0-9]+")" +%s%3N; }

# What the stub switched on so far: milliseconds, a line each; and whether all is off again.
switched_on() { jq -r 'select(.method == "PUT" and .status == 200 and .body == "{\"switch\":1}") | .time_ms' "$run/stub.log"; }
has_switched() { (($(switched_on | wc -l) >= $1)); }
all_off() { (($(switched_on | wc -l) * 2 == $(grep -c '"PUT"' "$run/stub.log"))); }

stop() {
  kill -TERM "$1" 2>/dev/null || true
  wait "$1" 2>/dev/null || true
}

# The rule has to come within the attack: it is asked for without a pause.
await_rule() {
  local deadline=$((${EPOCHREALTIME/./} + ATTACK_MAX_S * 1000000))
  until router_holds >/dev/null; do
    ((${EPOCHREALTIME/./} < deadline)) || fail "no rule in the router's table"
    sleep 0.01
  done
}

# An attack, from peace to peace: a line of runs.json.
measure() { # times
  local attack_pps player recorder packets seconds switches
  switches=$(($(switched_on | wc -l) + 2))
  attack_pps=$(jq -n "$1 * $THRESHOLD_PPS - $OWN_PPS")
  rm -f "$run/first.pcap"
  start "$outside" first dumpcap -P -q -i out0 -c 1 -f "not ether src $OUTSIDE_MAC" -w "$run/first.pcap"
  recorder=$!
  await 5 "the recorder listens" recording
  # At any moment between two looks at the thresholds.
  sleep "0.$((RANDOM % 900 + 100))"
  play attack "$attack_pps" $ATTACK_MAX_S
  player=$!
  await_rule
  local seen_ms=$((${EPOCHREALTIME/./} / 1000))
  await 5 "MITIGATOR's switches are on" has_switched $switches
  kill -INT $player
  wait $player || true
  wait $recorder || fail "no first packet on record"
  read -r packets seconds < <(sed -nE 's/^Actual: ([0-9]+) packets .* sent in ([0-9.]+) seconds.*/\1 \2/p' "$run/play-attack.log")
  ctl attacks show "$(ctl attacks --alive --json | jq --raw-output '.attacks[0].id')" --json | jq --compact-output \
    --argjson times "$1" --argjson attack_pps "$attack_pps" --argjson packets "$packets" --argjson seconds "$seconds" \
    --argjson first "$(first_packet_ms)" --argjson router "$(router_ms)" --argjson seen "$seen_ms" \
    --argjson switched "$(switched_on | tail -n 1)" '
    def at(kind): (map(select(.kind == kind))[0].time_ms // error("no \(kind)")) - $first;
    .journal |
    { times: $times, attack_pps: $attack_pps, sent_pps: ($packets / $seconds | round),
      detected_ms: at("detected"), captured_ms: at("captured"), wanted_ms: at("rule_wanted"), held_ms: at("rule_held"),
      router_ms: ($router - $first), seen_ms: ($seen - $first), switched_ms: ($switched - $first) }' >>"$run/runs.json" || fail "no record of the attack"
  ctl unban $VICTIM >"$run/unban.log" 2>&1 || fail "no unban"
  await 5 "the router has lost the rule" router_empty
  await 5 "MITIGATOR's switches are off" all_off
  sleep 1.2 # longer than the window
}

# --- what comes of it --------------------------------------------------------------------------------------------------

# Of all runs: medians and worst for each multiple.
summarize() {
  local bars switch_bars
  bars=$(for times in "${!BARS[@]}"; do jq -n --arg times "$times" --argjson bar "${BARS[$times]}" '{($times): $bar}'; done | jq -s add)
  switch_bars=$(for times in "${!SWITCH_BARS[@]}"; do jq -n --arg times "$times" --argjson bar "${SWITCH_BARS[$times]}" '{($times): $bar}'; done | jq -s add)
  jq --slurp --argjson bars "$bars" --argjson switch_bars "$switch_bars" --argjson threshold "$THRESHOLD_PPS" --argjson ordinary "$ORDINARY_PPS" --argjson own "$OWN_PPS" '
    def median: sort | (.[(length - 1) / 2 | floor] + .[length / 2 | floor]) / 2;
    def figures: { median_ms: median, worst_ms: max };
    . as $runs | {
      threshold_pps: $threshold, ordinary_pps: $ordinary, own_pps: $own,
      multiples: (group_by(.times) | map({
        times: .[0].times, bar_ms: $bars[.[0].times | tostring], switch_bar_ms: $switch_bars[.[0].times | tostring],
        detected: (map(.detected_ms) | figures), rule_wanted: (map(.wanted_ms) | figures), router: (map(.router_ms) | figures),
        switched: (map(.switched_ms) | figures),
        sent_pps: (map(.sent_pps) | median), runs: .
      }))
    }' "$run/runs.json"
}

table() {
  printf '%-6s %5s  %-16s  %-16s  %-16s  %7s  %-16s  %s\n' "" "" DETECTED "RULE WANTED" "ROUTER'S TABLE" BAR "LAST SWITCH" BAR
  printf '%-6s %5s  %7s %8s  %7s %8s  %7s %8s  %7s  %7s %8s  %7s\n' TIMES RUNS median worst median worst median worst median median worst median
  jq -r '.multiples[] | [.times, (.runs | length), (.detected, .rule_wanted, .router | .median_ms, .worst_ms), .bar_ms,
    .switched.median_ms, .switched.worst_ms, .switch_bar_ms // "-"] | @tsv' "$1" |
    while read -r times count detected detected_worst wanted wanted_worst router router_worst bar switched switched_worst switch_bar; do
      printf '%-6s %5d  %4.0f ms %5.0f ms  %4.0f ms %5.0f ms  %4.0f ms %5.0f ms  %4.0f ms  %4.0f ms %5.0f ms  %4s ms\n' "$times" "$count" \
        "$detected" "$detected_worst" "$wanted" "$wanted_worst" "$router" "$router_worst" "$bar" "$switched" "$switched_worst" "$switch_bar"
    done
}

# Nothing is told before it happened; what BIRD says of itself is no later than we saw it.
in_order() {
  jq -e '([.multiples[].runs[]] | length) == '$((runs * ${#multiples[@]}))' and all(.multiples[].runs[];
    0 < .detected_ms and .detected_ms <= .captured_ms and .captured_ms <= .wanted_ms and .wanted_ms <= .held_ms
    and .wanted_ms <= .router_ms and .router_ms <= .seen_ms and .detected_ms <= .switched_ms)' "$1" >/dev/null
}
# A player that was held up did not send what its row says.
paced() { jq -e 'all(.multiples[]; (.sent_pps / .runs[0].attack_pps - 1 | fabs) < 0.05)' "$1" >/dev/null; }
within_bars() {
  jq -e 'all(.multiples[]; .router.median_ms <= .bar_ms and .switched.median_ms <= (.switch_bar_ms // infinite))' "$1" >/dev/null
}

make_topology
prepare_traffic tests/data/amp.UDP.isakmp.pcap
write_configurations "
[groups.default.incoming]
total_pps = $THRESHOLD_PPS
[mitigator]
addresses = [\"https://127.0.0.1:8443\"]
user = \"levee\"
password_file = \"$run/mitigator.password\"
ca_file = \"$run/mitigator.pem\"
default_policy = 1"
start "$levee" stub "$bin/mitigator-stub" --certificate "$run/mitigator.pem" --password "$run/mitigator.password"
await 5 "the stub listens" test -s "$run/mitigator.pem"
start_all
play ordinary $ORDINARY_PPS 3600
await 10 "leveed sees the ordinary traffic" ctl_shows hosts $VICTIM
sleep 2
for times in "${multiples[@]}"; do
  say "$times times a threshold of $THRESHOLD_PPS packets a second, $runs of $runs runs to come"
  for ((i = 0; i < runs; i++)); do measure "$times"; done
done
summarize >"$run/results.json"
table "$run/results.json"
in_order "$run/results.json" || fail "events out of order: $(cat "$run/runs.json")"
if [[ $timed == true ]]; then
  cp "$run/results.json" "$RESULTS"
  paced "$run/results.json" || fail "the player did not keep its pace: $(jq -c '.multiples[] | [.times, .sent_pps]' "$RESULTS")"
  within_bars "$run/results.json" || fail "a median is above its bar"
fi
