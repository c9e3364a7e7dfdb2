"""Times SegFormer-B0 and UPerNet-ConvNeXt-T of robustseg and of PyTorch in turn, and prints the ratios.

    python bench_transformers.py BINARY [ROUNDS [SIZE [BATCH]]]

BINARY is the benchmark `network` of robustseg-models (`just bench-transformers` builds it), this Python has torch and
transformers. In every round: ours, PyTorch channels first, PyTorch channels last, on the same threads (OMP_NUM_THREADS and
RAYON_NUM_THREADS, by default all cores). Of the rounds the median counts, of PyTorch's formats, row by row, the faster one.
"""

import json
import os
import re
import statistics
import subprocess
import sys

PEER = os.path.join(os.path.dirname(os.path.abspath(__file__)), "peer", "bench_transformers.py")
STEPS = 3
ROW = re.compile(r"^ *([a-z ]+?) +([0-9.]+) s ", re.MULTILINE)


def ours(binary, network, size, batch):
    command = [binary, str(size), str(batch), str(STEPS), network]
    text = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    return {name: float(seconds) for name, seconds in ROW.findall(text)}


def peer(network, size, batch, *more):
    command = [sys.executable, PEER, network, "--size", str(size), "--batch", str(batch), "--rounds", str(STEPS), *more]
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)


def main():
    binary = sys.argv[1]
    rounds, size, batch = (int(text) for text in (sys.argv[2:] + ["3", "512", "2"][len(sys.argv) - 2 :]))
    for network in ("segformer", "upernet"):
        runs = [
            (ours(binary, network, size, batch), peer(network, size, batch), peer(network, size, batch, "--channels-last"))
            for _ in range(rounds)
        ]
        print(f"{network + ', seconds':22} {'ours':>8} {'PyTorch':>8} {'ch. last':>8} {'PyTorch/ours':>12}")
        for row in runs[0][0]:
            own, first, last = (statistics.median(run[column][row] for run in runs) for column in range(3))
            print(f"{row:22} {own:8.3f} {first:8.3f} {last:8.3f} {min(first, last) / own:12.2f}")


if __name__ == "__main__":
    main()
