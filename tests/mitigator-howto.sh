#!/usr/bin/env bash
# docs/mitigator.md, from nothing to the checked flood: runs every command of it, word by word, in namespaces of its own (network and
# mounts), with the stub in MITIGATOR's place.
#   tests/mitigator-howto.sh [FOLDER]     where leveed, leveectl and mitigator-stub are; default target/debug
set -euo pipefail
# shellcheck source=scripts/lib.sh
source "$(dirname "$0")/../scripts/lib.sh"

from=$(realpath "${1:-${CARGO_TARGET_DIR:-target}/debug}")
((EUID == 0)) || exec sudo "$PWD/tests/mitigator-howto.sh" "$from"
if [[ -z ${LEVEE_HOWTO:-} ]]; then
  # Folders of this machine's Levee, if it has one, are out of sight; if it has none, it has none afterwards.
  made=()
  for folder in /etc/levee /var/lib/levee /run/levee; do [[ -d $folder ]] || made+=("$folder"); done
  ((${#made[@]} == 0)) || mkdir -p "${made[@]}"
  status=0
  LEVEE_HOWTO=1 unshare --mount --net -- "$0" "$from" || status=$?
  ((${#made[@]} == 0)) || rmdir "${made[@]}"
  exit $status
fi

guide=docs/mitigator.md run=$(mktemp -d) outside=levee-howto-$$
PATH="$from:$PATH"
jobs=()
cleanup() {
  ((${#jobs[@]} == 0)) || kill "${jobs[@]}" 2>/dev/null || true
  ip netns delete "$outside" 2>/dev/null || true
  rm -rf "$run"
}
trap cleanup EXIT

fail() {
  tail -n 20 "$run"/*.log >&2 || true
  die "$*"
}
await() { # SECONDS WHAT COMMAND...
  local deadline=$((SECONDS + $1)) what=$2
  shift 2
  until "$@" >/dev/null 2>&1; do
    ((SECONDS < deadline)) || fail "waited in vain until $what"
    sleep 0.1
  done
}
# A block of the guide, by its kind and a word that only it has.
block() { # KIND WORD
  awk -v kind="\`\`\`$1" -v word="$2" '
    $0 == kind { text = ""; inside = 1; next }
    $0 == "```" && inside { inside = 0; if (index(text, word)) { printf "%s", text; exit } }
    inside { text = text $0 "\n" }' "$guide"
}
# As often as it is called below: see the end.
command_of() { # WORD
  local text
  text=$(block sh "$1")
  [[ -n $text ]] || fail "no command with $1 in $guide"
  printf '%s\n' "$text"
}

for folder in /etc/levee /var/lib/levee /run/levee; do mount -t tmpfs tmpfs "$folder"; done
mount -t sysfs sysfs /sys

# The network: the flood comes in at span0, MITIGATOR is at its name.
ip link set lo up
sysctl -qw net.ipv6.conf.all.disable_ipv6=1 net.ipv6.conf.default.disable_ipv6=1
ip netns add "$outside"
ip link add span0 type veth peer name out0 netns "$outside"
ip link set span0 up
ip -n "$outside" link set out0 up
ip -n "$outside" address add 198.18.79.1/24 dev out0
ip -n "$outside" route add 198.18.78.0/24 dev out0
ip -n "$outside" neighbour add 198.18.78.1 lladdr "$(cat /sys/class/net/span0/address)" dev out0
cp /etc/hosts "$run/hosts"
echo "127.0.0.1 mitigator.example" >>"$run/hosts"
mount --bind "$run/hosts" /etc/hosts

# 1. MITIGATOR
mitigator-stub --listen 127.0.0.1:443 --certificate "$run/mitigator.pem" --password "$run/password" >"$run/stub.log" 2>&1 &
jobs+=($!)
await 10 "the stub listens" test -s "$run/mitigator.pem"
puts() { jq -r 'select(.method == "PUT" and .status == 200) | "\(.path) \(.body)"' "$run/stub.log"; }

# 2. The password
bash -c "$(command_of 'read -rsp')" <"$run/password" 2>/dev/null
[[ $(stat -c %a /etc/levee/mitigator.password) == 600 ]] || fail "others may read the password"
cmp -s /etc/levee/mitigator.password "$run/password" || fail "another password"

# 3. The certificate
cp "$run/mitigator.pem" /etc/levee/mitigator.pem
bash -c "$(command_of 'openssl x509')" | grep -q "sha256 Fingerprint=" || fail "no fingerprint"

# 4. The configuration. This machine may have one core and no huge pages; its threshold is what a slow one can flood in namespaces.
block toml 'networks = ["198.18.78.0/24"]' >/etc/levee/levee.toml
sed -i -e 's/^cores = .*/cores = [0]/' -e 's/^total_pps = .*/total_pps = 2000/' -e 's/^ban_time_s = .*/ban_time_s = 3/' /etc/levee/levee.toml
printf '[dpdk]\nhuge_pages = "never"\nmemory_mb = 128\nmbufs = 4096\nfile_prefix = "%s"\n' "$outside" >>/etc/levee/levee.toml
bash -c "$(command_of 'leveed check')" >"$run/check.log" 2>&1 || fail "the configuration is not good"

# 5. The doctor
bash -c "$(command_of 'leveectl doctor')" >"$run/doctor.log" 2>&1 || fail "the doctor is not content"
said=$(sed -E 's/ +/ /g' "$run/doctor.log")
while read -r line; do
  line=$(sed -E -e 's/ +/ /g' -e 's/ 3B:0C:….*//' <<<"$line")
  grep -qF "$line" <<<"$said" || fail "the doctor does not say: $line"
done < <(block text 'by default_policy')
[[ -z $(puts) ]] || fail "the doctor switched something"

# 6. Run it
bash -c "exec $(command_of 'leveed run')" >"$run/leveed.log" 2>&1 &
jobs+=($!)
await 30 "leveed is connected" bash -c "leveectl status --json | jq -e .mitigator.connected"

# 7. The flood
ip netns exec "$outside" bash -c "exec $(command_of 'hping3')" >"$run/hping3.log" 2>&1 &
flood=$!
jobs+=("$flood")
switched() { [[ $(puts | wc -l) -ge $1 ]]; }
await 20 "the switches are on" switched 2
bash -c "$(command_of 'leveectl status')" >"$run/shown.log" 2>&1 || fail "what is shown"
grep -qE "^ +1 +acl +" "$run/shown.log" || fail "no switch is shown"
# A flood that is over before its sample is full may have been none.
sampled() { leveectl attacks --json | jq -e '.attacks[0] | (.captured | tonumber) >= (.capture_wanted | tonumber)'; }
await 20 "the sample is full" sampled
kill "$flood"
await 30 "the switches are off again" switched 4
expected='/api/v4/toggle/switch?policy=1 {"switch":1}
/api/v4/acl/switch?policy=1 {"switch":1}
/api/v4/acl/switch?policy=1 {"switch":0}
/api/v4/toggle/switch?policy=1 {"switch":0}'
[[ $(puts) == "$expected" ]] || fail "other switches: $(puts)"
all=$(grep -c '^```sh$' "$guide") run_here=$(grep -c '[$](command_of ' "$0")
((all == run_here)) || fail "$guide has $all commands, and $run_here were run"
say "good"
