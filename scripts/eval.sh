#!/usr/bin/env bash
# How good mined rules are: generated attacks and real captures, mixed with legitimate traffic, go through `leveed mine`, and a judge of its own holds
# the rules against fresh traffic. Prints a table, writes target/eval/results.json, and fails when a bar is missed, saying which.
#
# Time has bars too (500 packets 5 ms, 5,000 packets 30 ms), but in the quick run, which mines with the debug build.
#
# eval.sh [--seeds N] [--first-seed N] [--only NAME] [--quick] [--json] [--debug|--release|--bin FOLDER] [--miner leveed|ideal|destination]
#   --quick: one seed, no other sizes of samples and shares of legitimate traffic than the usual ones, and the debug build
#   --debug, --release: which build mines; without: release, whose milliseconds are those that the product takes
#   --bin: where leveed and scenarios are; nothing is built then
set -euo pipefail
# shellcheck source=scripts/lib.sh
source "$(dirname "$0")/lib.sh"

arguments=()
program=true
profile=
bin=
seeds=()
built=()
while (($#)); do
  case $1 in
  --quick)
    arguments+=(--quick)
    profile=${profile:-debug}
    seeds=(--seeds 1)
    ;;
  --miner)
    [[ ${2:-} == leveed || ${2:-} == ideal || ${2:-} == destination ]] || die "--miner leveed, ideal or destination"
    if [[ $2 != leveed ]]; then
      program=false
      arguments+=(--miner "$2")
    fi
    shift
    ;;
  --debug | --release) profile=${1#--} ;;
  --bin)
    bin=${2:?--bin needs a folder}
    shift
    ;;
  --json) arguments+=(--json) ;;
  --seeds | --first-seed | --only)
    (($# > 1)) || die "$1 needs a value"
    arguments+=("$1" "$2")
    [[ $1 != --seeds ]] || seeds=()
    shift
    ;;
  *) die "unknown: $1 (see the head of $0)" ;;
  esac
  shift
done

profile=${profile:-release}
if [[ -z $bin ]]; then
  [[ $profile == debug ]] || built=(--release)
  ! $program || cargo build --locked --quiet -p controlplane --bin leveed "${built[@]}"
  cargo build --locked --quiet -p scenarios
fi
! $program || arguments+=(--miner "${bin:-target/$profile}/leveed")
"${bin:-target/debug}/scenarios" eval "${arguments[@]}" "${seeds[@]}"
