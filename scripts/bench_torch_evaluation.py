"""Times evaluation in PyTorch on the CPU: the forward pass of a batch, and the FGSM and BIM curves of one image.

    python bench_torch_evaluation.py PEER_FOLDER [--batch N] [--size N] [--layers L] [--width N] [--steps N] [--warmup N] [--channels-last]

PEER_FOLDER has reference.py, the network. The curves are 9 epsilons from 0 to 0.04, BIM with 10 steps of 0.004, done as a
loop over epsilons does them: an attack and a prediction for each. Prints one JSON object of median seconds.
"""
import argparse
import json
import statistics
import sys
import time

import torch

p = argparse.ArgumentParser()
p.add_argument("peer")
p.add_argument("--batch", type=int, default=2)
p.add_argument("--size", type=int, default=472)
p.add_argument("--layers", default="3,4,6,3")
p.add_argument("--width", type=int, default=64)
p.add_argument("--methods")
p.add_argument("--steps", type=int, default=3)
p.add_argument("--warmup", type=int, default=1)
p.add_argument("--channels-last", action="store_true")
a = p.parse_args()
sys.path.insert(0, a.peer)

from reference import IGNORE, PSPNet, cross_entropy  # noqa: E402

CLASSES = 21
EPSILONS = [point / 200 for point in range(9)]

torch.manual_seed(0)
net = PSPNet(CLASSES, tuple(map(int, a.layers.split(","))), a.width)
x = torch.rand(a.batch, 3, a.size, a.size)
y = torch.randint(0, CLASSES, (1, a.size, a.size))
y[:, :2] = IGNORE
if a.channels_last:
    net = net.to(memory_format=torch.channels_last)
    x = x.contiguous(memory_format=torch.channels_last)
with torch.no_grad():
    net.train()(x)  # running statistics worth the name
net.eval().requires_grad_(False)


def predict(q):
    with torch.no_grad():
        return net(q).argmax(1)


def gradient(q):
    q = q.detach().requires_grad_(True)
    return torch.autograd.grad(cross_entropy(net(q), y).sum(), q)[0]


def curves(q):
    for epsilon in EPSILONS:
        predict((q + epsilon * gradient(q).sign()).clamp(0, 1) if epsilon > 0 else q)
    for epsilon in EPSILONS:
        adversarial = q
        for _ in range(10 if epsilon > 0 else 0):
            adversarial = adversarial + 0.004 * gradient(adversarial).sign()
            adversarial = torch.min(torch.max(adversarial, q - epsilon), q + epsilon).clamp(0, 1)
        predict(adversarial)


def seconds(warmup, rounds, work, q):
    times = []
    for _ in range(warmup + rounds):
        start = time.perf_counter()
        work(q)
        times.append(time.perf_counter() - start)
    return statistics.median(times[warmup:])


print(json.dumps({"forward": seconds(a.warmup, a.steps, predict, x), "curves": seconds(0, 1, curves, x[:1])}))
