#!/usr/bin/env bash
# gpu_check.sh check     runs a first timing, each test in its own process, and a probe of cuDNN's graph interface [200 s]
# gpu_check.sh measure   compares the speed with PyTorch [420 s]
# gpu_check.sh study     trains PSPNet50 on CamVid with the paper's five methods; keeps results, not checkpoints [560 s]
#
# For a machine with an NVIDIA GPU and PyTorch that is available for a few minutes. Nothing is built or downloaded there.
# `scripts/cuda.sh build` makes the necessary files and prints the commands. Each call rewrites OUT/CALL.json after every
# part and leaves at most six files in OUT. A part that crashes, hangs or overruns does not affect the others, and SIGTERM
# ends the call properly.
#
#   --bring            binaries, a folder or packed [target/cuda/bring.tar.xz]
#   --brought-caches   the caches from `check` for `measure` and `study`, in pieces [target/cuda/caches.tar.xz]
#   --caches           folder for caches [/tmp/robustseg-caches]
#   --data             CamVid, packed [target/cuda/camvid.tar]
#   --goldens          golden cases [tests/goldens]
#   --out              folder for results [$OUT, else target/gpu_check]
#   --seconds          time limit of the call
#   --test-seconds     time limit of a test [20]
#   --device           device of robustseg [cuda]
#   --python           a Python with PyTorch [$ROBUSTSEG_PEER_PYTHON, else python3]
#   --rehearse         the same steps with tiny sizes, and PyTorch on the CPU
#
# Exit status: 0 success; 1 something failed, or there is no GPU; 143 after SIGTERM.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
exec python3 -B scripts/gpu_check "$@"
