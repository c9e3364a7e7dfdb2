#!/usr/bin/env bash
# bench_transformers.sh [ROUNDS [SIZE [BATCH]]]
#
# Times SegFormer-B0 and UPerNet-ConvNeXt-T of robustseg and of PyTorch's library transformers, in both memory formats of
# PyTorch. They run in turn on this machine's CPU. Prints the ratios. By default 3 rounds on two images of 512x512.
#
#   ROBUSTSEG_PEER_PYTHON   a Python with torch and transformers [python3]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
binary=$(cargo bench --workspace --bench network --no-run --quiet --message-format json |
    python3 -c 'import json, sys; print(*filter(None, (json.loads(line).get("executable") for line in sys.stdin)))')
"${ROBUSTSEG_PEER_PYTHON:-python3}" scripts/bench_transformers.py "$binary" "$@"
