#!/usr/bin/env bash
# The main job, live, in about half a minute: a real attack capture is played to a protected host; Levee finds it, mines a rule,
# and a router gets the rule over BGP and loses it again when the attack is over.
#   scripts/demo.sh [CAPTURE]     one of tests/data/*.pcap; default amp.UDP.isakmp.pcap
# Everything lives in three network namespaces and one temporary folder (scripts/live.sh), and is gone afterwards. Exits 0 only if
# the router really held the rule and lost it again.
set -euo pipefail
# shellcheck source=scripts/lib.sh
source "$(dirname "$0")/lib.sh"

ORDINARY_PPS=2000
ATTACK_PPS=30000
ATTACK_S=8
BAN_S=5

if [[ ${1:-} != --built ]]; then
  capture=$(realpath "${1:-tests/data/amp.UDP.isakmp.pcap}")
  [[ -r $capture ]] || die "cannot read $capture"
  scripts/setup.sh --no-tests
  bin=$(realpath "${CARGO_TARGET_DIR:-target}/release")
  ((EUID == 0)) || exec sudo "$PWD/scripts/demo.sh" --built "$capture" "$bin"
else
  capture=$2 bin=$3
fi

# shellcheck source=scripts/live.sh
source "$(dirname "$0")/live.sh"

note() { printf '%s  %s\n' "$(date +%T.%3N)" "$*"; }
show() { "$@" 2>&1 | sed 's/^/    /' || fail "this did not work: $*"; }

heading "Setting up: three namespaces, gobgpd as Levee's engine, BIRD as the router"
make_topology
prepare_traffic "$capture"
write_configurations "
[groups.default.incoming]
total_pps = 20000
udp_pps = 5000
[detection]
ban_time_s = $BAN_S
capture_packets = 500"
start_all
"$bin/leveectl" --socket "$run/levee.sock" events >"$run/events.out" 2>"$run/events.log" &
helpers+=($!)
note "leveed answers, and the router's BGP session is up"
show ctl status

heading "Peace: ordinary traffic, $ORDINARY_PPS packets a second to and from a few protected hosts"
play ordinary $ORDINARY_PPS 60
await 10 "leveed sees the ordinary traffic" ctl_shows hosts $VICTIM
sleep 2 # a rate is a mean over a second: let it fill
show ctl hosts
router_empty >/dev/null || fail "the router holds a rule before there is an attack"

heading "Attack: $(basename "$capture") at $ATTACK_PPS packets a second to $VICTIM, for $ATTACK_S s"
attack_start=${EPOCHREALTIME/./}
play attack $ATTACK_PPS $ATTACK_S
attack=$!
await $ATTACK_S "the router holds a rule for $VICTIM" router_holds
note "the router holds a rule, $(((${EPOCHREALTIME/./} - attack_start) / 1000)) ms after the player was started"
sleep 2 # let the rule match for a while
heading "Rates now"
show ctl hosts
heading "The attack"
show ctl attacks
heading "The rule, and why"
show ctl rules
heading "The router's own view (BIRD, table flowtab4)"
show router_rules
await $((ATTACK_S + 5)) "the attack's player ends" ended $attack
router_holds >/dev/null || fail "the router lost the rule while the attack went on"
grep -E '^Actual' "$run/play-attack.log" | sed 's/^Actual/    played/'

heading "Over: the rule goes after $BAN_S s of quiet"
await $((BAN_S + 10)) "the router has lost the rule" router_empty
note "the router's table is empty again"
show ctl attacks
heading "Totals: every packet counted once"
show ctl totals

heading "What the daemon told (leveectl events)"
show cat "$run/events.out"

kill -TERM "$leveed"
wait "$leveed" || fail "leveed did not stop cleanly"
heading "Done: the router held the rule, and lost it again"
