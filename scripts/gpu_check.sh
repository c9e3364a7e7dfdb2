#!/usr/bin/env bash
# gpu_check.sh check     does it run: first figure, each test in a process of its own, a probe of cuDNN's graph interface [200 s]
# gpu_check.sh measure   how fast is it, beside PyTorch [420 s]
# gpu_check.sh study     PSPNet50 on CamVid by the paper's five methods; results come back, no checkpoints [560 s]
#
# For a machine with an NVIDIA GPU and PyTorch that is at hand for minutes. Nothing is built or fetched there.
# `scripts/cuda.sh build` makes what has to be brought, and prints the commands to give. Each call rewrites OUT/CALL.json after
# every part and leaves at most six files in OUT; a part that crashes, hangs or overruns costs no other one, and SIGTERM ends
# the call in order.
#
#   --bring            binaries, a folder or packed [target/cuda/bring.tar.xz]
#   --brought-caches   what `check` brought back for `measure` and `study`, in pieces [target/cuda/caches.tar.xz]
#   --caches           folder for caches [/tmp/robustseg-caches]
#   --data             CamVid, packed [target/cuda/camvid.tar]
#   --goldens          golden cases [tests/goldens]
#   --out              folder for results [$OUT, else target/gpu_check]
#   --seconds          what the call may take
#   --test-seconds     what a test may take [20]
#   --device           where robustseg computes [cuda]
#   --python           a Python with PyTorch [$ROBUSTSEG_PEER_PYTHON, else python3]
#   --rehearse         the same way with tiny sizes, and PyTorch on the CPU
#
# Exit status: 0 all well; 1 something failed, or there is no GPU; 143 after SIGTERM.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
exec python3 -B scripts/gpu_check "$@"
