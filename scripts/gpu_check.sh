#!/usr/bin/env bash
# gpu_check.sh [--bring DIR] [--peer DIR] [--goldens DIR] [--out DIR] [--rehearse]
#
# On a machine with an NVIDIA GPU and PyTorch, in under ten minutes, building nothing: the operations against the CPU, the golden
# cases, what reduced precision changes, and training steps of robustseg in turn with the same network in PyTorch. Writes
# OUT/gpu_check.json and prints a table; each part's output is in OUT too. Ends with 1 if a test failed.
#
# What to bring, besides this repository: target/cuda/bring.tar.xz (made by `scripts/cuda.sh build`), and the folder of
# bench_torch.py.
#
#   --bring     binary and tests, a folder or packed [target/cuda/bring.tar.xz]
#   --peer      folder of bench_torch.py [../shared/peer]
#   --goldens   golden cases [tests/goldens]
#   --out       folder for results [$OUT, else target/gpu_check]
#   --rehearse  the same way with tiny sizes, on whatever there is: a CPU build, the emulated GPU
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
exec python3 scripts/gpu_check.py "$@"
