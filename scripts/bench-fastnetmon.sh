#!/usr/bin/env bash
# Head to head with FastNetMon 1.2.4: its own user CPU for a packet over AF_PACKET, in namespaces of its own, over 65,536
# hosts, without and with connection tracking; against the busy time for a packet that the rig measured of Levee.
#   scripts/bench-fastnetmon.sh [--packets N]
# Reads target/bench/rig.json, writes target/bench/fastnetmon.json.
set -euo pipefail
# shellcheck source=scripts/lib.sh
source "$(dirname "$0")/lib.sh"

RIG=target/bench/rig.json
RESULTS=target/bench/fastnetmon.json
RATE=300000 # packets a second: it loses none of them

packets=3000000
while (($#)); do
  case $1 in
    --packets) packets=${2:?--packets needs a number} && shift 2 ;;
    *) die "unknown argument $1 (known: --packets)" ;;
  esac
done
for tool in fastnetmon trafgen jq; do
  command -v "$tool" >/dev/null || die "no $tool here: scripts/setup.sh --bench installs it"
done
[[ -s $RIG ]] || die "no $RIG to compare with: scripts/bench.sh makes it"

work=$(mktemp -d)
sender=levee-tx-$$ receiver=levee-rx-$$
pid=""

stop() {
  [[ -n $pid ]] || return 0
  as_root kill "$pid" 2>/dev/null || true
  # It is a child of this shell, by way of ip and maybe sudo.
  wait "$job" 2>/dev/null || true
  pid=""
}

clean_up() {
  stop
  local name
  for name in "$sender" "$receiver"; do
    as_root ip netns delete "$name" 2>/dev/null || true
  done
  as_root rm -rf "$work"
}
trap clean_up EXIT
trap 'exit 130' INT TERM

inside() { as_root ip netns exec "$@"; }

# A link between two namespaces in which nobody speaks by himself.
make_link() {
  local name
  for name in "$sender" "$receiver"; do
    as_root ip netns add "$name"
    inside "$name" sysctl -qw net.ipv6.conf.all.disable_ipv6=1 net.ipv6.conf.default.disable_ipv6=1
    inside "$name" ip link set dev lo up
  done
  inside "$sender" ip link add name tx0 type veth peer name rx0 netns "$receiver"
  inside "$sender" ip link set dev tx0 up
  inside "$receiver" ip link set dev rx0 up
}

# Minimum-size UDP: random sources and source ports, 65,536 destinations at random.
write_packet() {
  cat >"$work/packet.cfg" <<'PACKET'
{
  0x02,0,0,0,0,2, 0x02,0,0,0,0,1, 0x08,0x00,
  0x45,0, const16(46), const16(0), const16(0), 64, 17, csumip(14,33),
  198,51,100,drnd(1), 198,18,drnd(2),
  drnd(2), const16(5000), const16(26), const16(0), fill(0,18)
}
PACKET
}

write_configuration() { # on|off
  echo 198.18.0.0/16 >"$work/networks"
  : >"$work/whitelist"
  cat >"$work/fastnetmon.conf" <<CONFIGURATION
logging_level = info
disable_usage_report = on
enable_ban = off
enable_ban_ipv6 = off
process_incoming_traffic = on
process_outgoing_traffic = on
networks_list_path = $work/networks
white_list_path = $work/whitelist
monitor_local_ip_addresses = off
enable_connection_tracking = $1
ban_for_flows = $1
threshold_flows = 1000000
mirror_afpacket = on
interfaces = rx0
average_calculation_time = 5
speed_calculation_delay = 1
pid_path = $work/pid
cli_stats_file_path = $work/stats
cli_stats_ipv6_file_path = $work/stats6
enable_api = off
prometheus = on
prometheus_port = 9209
prometheus_host = 127.0.0.1
CONFIGURATION
}

start() {
  inside "$receiver" fastnetmon --configuration_file="$work/fastnetmon.conf" --log_file "$work/log" \
    --disable_pid_logic >"$work/out" 2>&1 &
  job=$!
  local try
  for try in {1..50}; do
    sleep 0.2
    # The only process of its name in a namespace that is ours.
    pid=$(as_root ip netns pids "$receiver" | while read -r candidate; do
      [[ $(cat "/proc/$candidate/comm" 2>/dev/null) != fastnetmon ]] || echo "$candidate"
    done | head -n 1)
    if [[ -n $pid ]] && received >/dev/null 2>&1; then
      return
    fi
  done
  tail -n 5 "$work/log" "$work/out" >&2 || true
  die "fastnetmon did not start (tried $try times)"
}

# Packets that it took in, by its own count.
received() {
  # shellcheck disable=SC2016
  inside "$receiver" bash -c \
    'exec 3<>/dev/tcp/127.0.0.1/9209 && printf "GET /metrics HTTP/1.0\r\n\r\n" >&3 && cat <&3' |
    awk '$1 == "fastnetmon_total_simple_packets_processed" { print $2; found = 1 } END { exit !found }'
}

# User time so far, in clock ticks: the 14th field, counted behind the name.
user_ticks() { sed 's/.*) //' "/proc/$pid/stat" | cut -d' ' -f12; }

# Nanoseconds of user time for a packet.
measure() { # on|off
  write_configuration "$1"
  start
  sleep 2
  local before after packets_before packets_after
  packets_before=$(received) before=$(user_ticks)
  inside "$sender" timeout 120 trafgen -i "$work/packet.cfg" -o tx0 -n "$packets" -P 1 -b "${RATE}pps" -q --no-sock-mem \
    >"$work/trafgen" 2>&1 || die "trafgen failed: $(tail -n 3 "$work/trafgen")"
  sleep 1
  after=$(user_ticks) packets_after=$(received)
  stop
  local taken=$((packets_after - packets_before))
  ((taken * 100 >= packets * 95)) || die "fastnetmon took only $taken of $packets packets: lower the rate"
  awk -v ticks=$((after - before)) -v hz="$(getconf CLK_TCK)" -v packets="$taken" \
    'BEGIN { printf "%.0f\n", ticks / hz * 1e9 / packets }'
}

write_packet
make_link
say "fastnetmon: $packets packets at $RATE a second, without connection tracking and with it"
plain=$(measure off)
tracking=$(measure on)
jq -n --argjson plain "$plain" --argjson tracking "$tracking" --argjson packets "$packets" --slurpfile rig "$RIG" '
  def ratio(ns; levee): if levee then (ns / levee * 100 | round) / 100 else null end;
  $rig[0].cases as $cases | {
    packets: $packets,
    ns_per_packet: $plain,
    ns_per_packet_tracking: $tracking,
    levee_ns_per_packet: $cases.hosts_64k.levee_busy_ns,
    levee_ns_per_packet_flows: $cases.flows.levee_busy_ns,
    ratio: ratio($plain; $cases.hosts_64k.levee_busy_ns),
    ratio_tracking: ratio($tracking; $cases.flows.levee_busy_ns)
  }' >"$RESULTS"
cat "$RESULTS"
