# shellcheck shell=bash
# A small live world for demo.sh and latency.sh: three network namespaces, paced players, leveed with gobgpd as its engine, and BIRD
# as the router. Source it behind lib.sh, as root, with `bin` (where the executables are) set. It does nothing by itself but
# promise that at the end, however it comes, all of it is gone.
#
#   outside ── out0 ═══ tap0 ── levee (leveed, gobgpd) ── bgp0 ═══ bgp0 ── router (BIRD)
#              traffic, paced                              192.0.2.1    192.0.2.2

# The captures' victim, 10.10.10.10, becomes this one: its octets add up to the same, so every checksum stays right.
VICTIM=198.18.78.1
# Ordinary traffic is known by this address; attack captures have others.
OUTSIDE_MAC=02:00:00:00:00:01
TAP_MAC=02:00:00:00:00:02

name=levee-$(basename "$0" .sh)-$$
run=$(mktemp -d "/tmp/$name.XXXXXX")
outside=$name-outside levee=$name-levee router=$name-router
# Processes of the caller's that run in no namespace.
helpers=()

# --- what people see ---------------------------------------------------------------------------------------------------

if [[ -t 1 ]]; then bold=$'\e[1m' plain=$'\e[0m'; else bold="" plain=""; fi
heading() { printf '\n%s%s  %s%s\n' "$bold" "$(date +%T.%3N)" "$*" "$plain"; }

fail() {
  heading "FAILED: $*"
  local log
  for log in "$run"/*.log; do
    [[ -s $log ]] || continue
    printf '\n--- the end of %s\n' "$(basename "$log")"
    tail -n 25 "$log"
  done
  exit 1
}

# await SECONDS WHAT COMMAND...: until COMMAND succeeds.
await() {
  local deadline=$((${EPOCHREALTIME/./} + $1 * 1000000)) what=$2
  shift 2
  until "$@" >/dev/null 2>&1; do
    ((${EPOCHREALTIME/./} < deadline)) || fail "waited in vain until $what"
    sleep 0.05
  done
}

# --- processes and namespaces ------------------------------------------------------------------------------------------

# start NAMESPACE NAME COMMAND...: in the background, logging to NAME.log. Its process id is in $!.
start() {
  local namespace=$1 name=$2
  shift 2
  ip netns exec "$namespace" "$@" </dev/null >"$run/$name.log" 2>&1 &
}

signal_all() {
  local namespace pid
  for namespace in "$outside" "$levee" "$router"; do
    for pid in $(ip netns pids "$namespace" 2>/dev/null); do kill "-$1" "$pid" 2>/dev/null || true; done
  done
}
all_gone() { [[ -z $(for n in "$outside" "$levee" "$router"; do ip netns pids "$n" 2>/dev/null; done) ]]; }

cleanup() {
  trap - EXIT
  trap '' INT TERM HUP
  ((${#helpers[@]} == 0)) || kill "${helpers[@]}" 2>/dev/null || true
  signal_all TERM
  for _ in {1..50}; do
    all_gone && break
    sleep 0.1
  done
  signal_all KILL
  local namespace
  for namespace in "$outside" "$levee" "$router"; do ip netns del "$namespace" 2>/dev/null || true; done
  rm -rf "$run"
}
trap cleanup EXIT
trap 'exit 130' INT TERM HUP

make_namespace() {
  ip netns add "$1" || die "cannot make a network namespace here"
  # No neighbour discovery of the kernel's own: what is counted is what is played.
  ip netns exec "$1" sysctl -qew net.ipv6.conf.all.disable_ipv6=1 net.ipv6.conf.default.disable_ipv6=1
  ip -n "$1" link set lo up
}

make_topology() {
  make_namespace "$outside"
  make_namespace "$levee"
  make_namespace "$router"
  ip link add out0 netns "$outside" address $OUTSIDE_MAC type veth peer name tap0 netns "$levee" address $TAP_MAC
  ip link add bgp0 netns "$levee" type veth peer name bgp0 netns "$router"
  ip netns exec "$outside" ethtool -K out0 tx off rx off tso off gso off gro off >/dev/null
  ip netns exec "$levee" ethtool -K tap0 tx off rx off tso off gso off gro off >/dev/null
  ip -n "$levee" address add 192.0.2.1/30 dev bgp0
  ip -n "$router" address add 192.0.2.2/30 dev bgp0
  ip -n "$outside" link set out0 up
  ip -n "$levee" link set tap0 up
  ip -n "$levee" link set bgp0 up
  ip -n "$router" link set bgp0 up
}

# --- traffic -----------------------------------------------------------------------------------------------------------

# A mirror port shows both directions, so both are played. One line a packet: what a web host, a resolver and others live on.
ordinary_packets() {
  local eth="eth(da=$TAP_MAC, sa=$OUTSIDE_MAC)" eth6="eth(da=$TAP_MAC, sa=$OUTSIDE_MAC, type=0x86dd)"
  cat <<EOF
{ $eth, ipv4(ttl=57, sa=203.0.113.5, da=$VICTIM), tcp(sp=40112, dp=443, ack), fill('i', 120) }
{ $eth, ipv4(ttl=64, sa=$VICTIM, da=203.0.113.5), tcp(sp=443, dp=40112, ack), fill('o', 900) }
{ $eth, ipv4(ttl=57, sa=203.0.113.77, da=$VICTIM), tcp(sp=51230, dp=443, ack), fill('i', 60) }
{ $eth, ipv4(ttl=64, sa=$VICTIM, da=203.0.113.77), tcp(sp=443, dp=51230, ack), fill('o', 1400) }
{ $eth, ipv4(ttl=60, sa=192.0.2.53, da=$VICTIM), udp(sp=53, dp=42001), fill('d', 80) }
{ $eth, ipv4(ttl=59, sa=203.0.113.9, da=198.18.78.20), udp(sp=53021, dp=53), fill('q', 34) }
{ $eth, ipv4(ttl=64, sa=198.18.78.20, da=203.0.113.9), udp(sp=53, dp=53021), fill('a', 90) }
{ $eth, ipv4(ttl=55, sa=203.0.113.40, da=198.18.78.30), icmp4(echorequest), fill('p', 56) }
{ $eth6, ipv6(hl=57, nh=17, sa=2001:db8:ffff::5, da=2001:db8::10), udp(sp=443, dp=50001), fill('i', 300) }
{ $eth6, ipv6(hl=64, nh=17, sa=2001:db8::10, da=2001:db8:ffff::5), udp(sp=50001, dp=443), fill('o', 60) }
EOF
}

# prepare_traffic CAPTURE: what there is to play, ordinary and attack.
prepare_traffic() {
  ordinary_packets >"$run/ordinary.cfg"
  trafgen --conf "$run/ordinary.cfg" --out "$run/ordinary.pcap" --num 1000 --cpus 1 >"$run/trafgen.log" 2>&1 ||
    fail "trafgen could not write the ordinary traffic"
  # Destination of each IPv4 header behind Ethernet. Not tcprewrite: Debian 12's counts Ethernet's padding into the IP length.
  perl -0777 -pe 's/(\x08\x00[\x45-\x4f].{15})\x0a{4}/$1\xc6\x12\x4e\x01/gs' "$1" >"$run/attack.pcap"
}

# play NAME PPS SECONDS: in the background.
play() {
  start "$outside" "play-$1" tcpreplay --intf1=out0 --preload-pcap --loop=0 --timer=nano --pps="$2" --duration="$3" "$run/$1.pcap"
}

# --- Levee, its engine, the router -------------------------------------------------------------------------------------

# write_configurations MORE: for all three; MORE is the rest of leveed's, host groups and [detection].
write_configurations() {
  # The last core we may use: players and routers then mostly run beside it, not on it.
  local core
  core=$(taskset -cp $$ | sed 's/.*[ ,-]//')
  cat >"$run/levee.toml" <<EOF
networks = ["198.18.78.0/24", "2001:db8::/48"]
[daemon]
socket = "$run/levee.sock"
state = "$run/levee.db"
[dpdk]
huge_pages = "never"
memory_mb = 256
file_prefix = "$name"
mbufs = 4096
[[ports]]
device = "net_af_packet0,iface=tap0,blocksz=65536,framesz=2048,framecnt=8192"
cores = [$core]
[bgp]
mark = "64512:7653:1"
[[bgp.engines]]
name = "gobgp"
address = "unix://$run/gobgp.sock"
$1
EOF
  cat >"$run/gobgpd.toml" <<EOF
[global.config]
as = 64512
router-id = "192.0.2.1"
local-address-list = ["192.0.2.1"]
[[neighbors]]
[neighbors.config]
neighbor-address = "192.0.2.2"
peer-as = 64513
[neighbors.transport.config]
passive-mode = true
[[neighbors.afi-safis]]
[neighbors.afi-safis.config]
afi-safi-name = "ipv4-flowspec"
[[neighbors.afi-safis]]
[neighbors.afi-safis.config]
afi-safi-name = "ipv6-flowspec"
EOF
  cat >"$run/bird.conf" <<EOF
log stderr all;
router id 192.0.2.2;
timeformat route iso long ms;
flow4 table flowtab4;
flow6 table flowtab6;
protocol device { }
protocol bgp levee {
  local 192.0.2.2 as 64513;
  neighbor 192.0.2.1 as 64512;
  connect delay time 1; connect retry time 2; error wait time 1, 2;
  flow4 { table flowtab4; import all; export none; };
  flow6 { table flowtab6; import all; export none; };
}
EOF
}

ctl() { "${bin:?}/leveectl" --socket "$run/levee.sock" "$@"; }
birdc() { command birdc -s "$run/bird.ctl" "$@"; }
ctl_shows() { ctl "$1" | grep -F "$2"; }
session_up() { birdc show protocols levee | grep Established; }
router_rules() { birdc show route all table flowtab4 | tail -n +3; }
router_holds() { router_rules | grep "flow4.*dst $VICTIM/32"; }
router_empty() { birdc show route table flowtab4 | grep '^Table flowtab4' && [[ -z $(router_rules) ]]; }
ended() { ! kill -0 "$1"; }

# start_all: engine, router and leveed, with a session between the first two. leveed's process id is in $leveed.
start_all() {
  ip netns exec "$levee" "$bin/leveed" check "$run/levee.toml" >"$run/check.log" 2>&1 || fail "leveed does not like this configuration"
  start "$levee" gobgpd gobgpd --api-hosts="unix://$run/gobgp.sock" --pprof-disable -t toml -f "$run/gobgpd.toml"
  start "$router" bird bird -f -c "$run/bird.conf" -s "$run/bird.ctl" -P "$run/bird.pid"
  start "$levee" leveed "$bin/leveed" run "$run/levee.toml"
  # shellcheck disable=SC2034
  leveed=$!
  await 15 "leveed answers" ctl status
  await 15 "the router's BGP session is up" session_up
}
