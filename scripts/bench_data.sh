#!/usr/bin/env bash
# bench_data.sh [ROUNDS]
#
# Compares this program's loader with torchvision.transforms.v2 and albumentations (OpenCV) on a DataLoader with two
# workers. All use the same files, the same pipeline (decode, flip, scale 0.5 to 2, rotate by up to 10 degrees, blur,
# crop, f32 batch) and the same two cores, and run in turn ROUNDS times [3]. Prints images per second and the medians of
# the rounds' ratios.
#
#   ROBUSTSEG_DATA          folder of voc_sample and camvid [../shared/data]
#   ROBUSTSEG_PEER_PYTHON   a Python with torch, torchvision, albumentations and OpenCV; if unset, an environment is
#                           created and deleted afterwards
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
data=${ROBUSTSEG_DATA:-../shared/data}
for name in voc_sample camvid; do
    if [ ! -d "$data/$name" ]; then
        echo "bench_data.sh: no folder $name in $data; set ROBUSTSEG_DATA to its parent" >&2
        exit 3
    fi
done

out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
python=${ROBUSTSEG_PEER_PYTHON:-}
if [ -z "$python" ]; then
    echo "preparing the peers in a throw-away environment" >&2
    bash scripts/peer/setup.sh "$out/environment" torch torchvision albumentations opencv-python-headless >&2
    python=$out/environment/bin/python
fi
export NO_ALBUMENTATIONS_UPDATE=1

cargo build --release --quiet --package robustseg-datasets --example throughput
target=$(cargo metadata --no-deps --format-version 1 |
    python3 -c 'import json, sys; print(json.load(sys.stdin)["target_directory"])')
mkdir "$out/pictures"
RAYON_NUM_THREADS=2 taskset -c 0,1 \
    "$python" scripts/bench_data.py "$target/release" "$data" "$out/pictures" "${1:-3}"
