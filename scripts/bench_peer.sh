#!/usr/bin/env bash
# bench_peer.sh [--steps-only] [--compile] [--batch N] [--size N] [--layers L] [--width N] [--methods M] [--steps N] [--warmup N]
#
# Times training steps, and without --steps-only forward passes and robustness curves, of robustseg and of the same network
# in PyTorch, each in f32 and bf16, PyTorch in both of its memory formats and with --compile compiled as well. They run in
# turn on this machine's CPU. Prints the ratios and the peak memory.
#
#   ROBUSTSEG_PEER_PYTHON   a Python with torch; if unset, peer/setup.sh creates an environment, which is deleted
#                           afterwards
#   ROBUSTSEG_PEER_ROUNDS   number of rounds [2]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
python=${ROBUSTSEG_PEER_PYTHON:-}
if [ -z "$python" ]; then
    echo "preparing PyTorch in a throw-away environment" >&2
    bash scripts/peer/setup.sh "$out/environment" torch >&2
    python=$out/environment/bin/python
fi

cargo build --release --quiet --package robustseg-driver --bin robustseg
binary=$(cargo metadata --no-deps --format-version 1 |
    python3 -c 'import json, sys; print(json.load(sys.stdin)["target_directory"])')/release/robustseg
flags=() given=()
for argument in "$@"; do
    case $argument in
    --steps-only | --compile) flags+=("$argument") ;;
    *) given+=("$argument") ;;
    esac
done
arguments=(--batch 2 --size 472 --steps 3 --warmup 1 "${given[@]}")
# The peer uses the last value of a repeated argument. robustseg accepts each argument once.
declare -A last=()
for ((i = 0; i + 1 < ${#arguments[@]}; i += 2)); do
    last[${arguments[i]}]=${arguments[i + 1]}
done
arguments=()
for name in "${!last[@]}"; do
    arguments+=("$name" "${last[$name]}")
done

"$python" scripts/bench_peer.py "$binary" "${ROBUSTSEG_PEER_ROUNDS:-2}" "${flags[@]}" "${arguments[@]}"
