"""Times adversarial training steps in PyTorch, and with --evaluation a forward pass and robustness curves, as `robustseg bench` does.

    python bench_torch.py --batch 2 --size 129 --steps 5
    python bench_torch.py --device cuda --batch 16 --size 472 --precision bf16 --channels-last --compile

Half of a batch is attacked, with running statistics and the image's gradient alone; the mixed batch then trains the
network by SGD. The methods take turns, so that all of them feel a machine that drifts. Seconds are medians. The JSON is
printed, and with --json also written after every round, for whoever cannot wait for the last one.
"""
import argparse
import json
import os
import statistics
import sys
import time

import torch
import torch.nn.functional as F
from network import IGNORE, Network, twin_for_attacks

EPSILONS = [step * 0.005 for step in range(1, 9)]
STARTED = time.monotonic()


def arguments():
    parser = argparse.ArgumentParser()
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--size", type=int, default=472)
    parser.add_argument("--classes", type=int, default=21)
    parser.add_argument("--layers", default="3,4,6,3")
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--precision", default="fp32", choices=["fp32", "tf32", "bf16"])
    parser.add_argument("--channels-last", action="store_true")
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--methods", default="basic,fgsm,random_fgsm,fast_newton,bim")
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--warmup", type=int, default=1)
    parser.add_argument("--evaluation", action="store_true")
    parser.add_argument("--curve-batch", type=int, default=1)
    parser.add_argument("--json")
    return parser.parse_args()


options = arguments()
on_gpu = options.device != "cpu"
layout = torch.channels_last if options.channels_last else torch.contiguous_format


def progress(text):
    print(f"{time.monotonic() - STARTED:.1f} s: {text}", file=sys.stderr, flush=True)


def synchronize():
    if on_gpu:
        torch.cuda.synchronize()


# ------------------------------------------------------------------------------------------- objectives, one value per image
def labelled_mean(values, label):
    known = label != IGNORE
    return (values * known).sum((1, 2)) / known.sum((1, 2)).clamp(min=1)


def loss_of_images(scores, label):
    return labelled_mean(F.cross_entropy(scores, label, ignore_index=IGNORE, reduction="none"), label)


def gain_of_images(scores, label):
    """The label's score above the best other one."""
    index = label.where(label != IGNORE, 0).unsqueeze(1)
    others = scores.scatter(1, index, -torch.inf).amax(1)
    return labelled_mean(scores.gather(1, index).squeeze(1) - others, label)


class Bench:
    def __init__(self):
        torch.manual_seed(0)
        torch.backends.cudnn.benchmark = True
        reduced = options.precision != "fp32"
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = reduced
        layers = [int(count) for count in options.layers.split(",")]

        def make():
            network = Network(options.classes, layers, options.width)
            return network.to(options.device, memory_format=layout)

        self.network = make().train()
        self.target = twin_for_attacks(self.network, make)
        # One graph per shape, because a common one would be slower.
        compiled = (lambda network: torch.compile(network, dynamic=False)) if options.compile else (lambda network: network)
        self.scores, self.attacked = compiled(self.network), compiled(self.target)
        self.optimiser = torch.optim.SGD(
            self.network.parameters(), lr=1e-6, momentum=0.9, weight_decay=1e-4, fused=True if on_gpu else None
        )
        shape = (options.batch, options.size, options.size)
        image = torch.rand(options.batch, 3, options.size, options.size, device=options.device)
        self.image = image.contiguous(memory_format=layout)
        self.label = torch.randint(0, options.classes, shape, device=options.device)
        self.label[:, :2] = IGNORE

    def rounding(self):
        return torch.autocast(options.device.split(":")[0], torch.bfloat16, enabled=options.precision == "bf16")

    # --------------------------------------------------------------------------------------------------------- attacks
    def slope(self, image, label, objective):
        """The objective's values, and its gradient by the image."""
        variable = image.detach().requires_grad_()
        with self.rounding():
            scores = self.attacked(variable)
        values = objective(scores.float(), label)
        return values.detach(), torch.autograd.grad(values.sum(), variable)[0]

    def fgsm(self, image, label, epsilon=0.03):
        return (image + epsilon * self.slope(image, label, loss_of_images)[1].sign()).clamp(0, 1)

    def random_fgsm(self, image, label):
        return self.fgsm(image, label, 0.03 * torch.rand(len(image), 1, 1, 1, device=image.device))

    def fast_newton(self, image, label):
        gain, gradient = self.slope(image, label, gain_of_images)
        epsilon = gain / gradient.abs().sum((1, 2, 3))
        return (image - epsilon.view(-1, 1, 1, 1) * gradient.sign()).clamp(0, 1)

    def bim(self, image, label, epsilon=0.03, alpha=0.01, steps=3):
        low, high = (image - epsilon).clamp(0, 1), (image + epsilon).clamp(0, 1)
        example = image
        for _ in range(steps):
            example = example + alpha * self.slope(example, label, loss_of_images)[1].sign()
            example = example.clamp(low, high)
        return example

    # ------------------------------------------------------------------------------------------------------------ work
    def step(self, method):
        image, half = self.image, max(1, options.batch // 2)
        if method != "basic":
            examples = getattr(self, method)(image[:half].contiguous(memory_format=layout), self.label[:half])
            image = torch.cat([examples, image[half:]]).contiguous(memory_format=layout)
        with self.rounding():
            scores = self.scores(image)
        loss = F.cross_entropy(scores.float(), self.label, ignore_index=IGNORE)
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        self.optimiser.step()
        return loss.item()

    def classes(self, image):
        with torch.no_grad(), self.rounding():
            return self.attacked(image).argmax(1).to(torch.uint8)

    def forward(self):
        self.classes(self.image)
        synchronize()

    def curves(self):
        """FGSM's curve, whose points share a gradient, and BIM's of ten steps, with every point's prediction fetched."""
        image, label = self.image[: options.curve_batch], self.label[: options.curve_batch]
        image = image.contiguous(memory_format=layout)
        self.classes(image).cpu()
        direction = self.slope(image, label, loss_of_images)[1].sign()
        for epsilon in EPSILONS:
            self.classes((image + epsilon * direction).clamp(0, 1)).cpu()
        for epsilon in EPSILONS:
            self.classes(self.bim(image, label, epsilon, 0.004, 10)).cpu()


def seconds_of(work, *given):
    synchronize()
    start = time.perf_counter()
    work(*given)
    synchronize()
    return time.perf_counter() - start


def peak():
    return torch.cuda.max_memory_allocated() if on_gpu else None


def results(times, extra):
    step = {method: statistics.median(all_of) for method, all_of in times.items() if all_of}
    basic = step.get("basic")
    found = {
        "torch": torch.__version__,
        "device": torch.cuda.get_device_name() if on_gpu else f"cpu x {torch.get_num_threads()}",
        "config": vars(options),
        "rounds": min(map(len, times.values()), default=0),
        "step_s": step,
        "images_per_s": {method: options.batch / value for method, value in step.items()},
        "additional_time_percent": {method: 100 * (value / basic - 1) for method, value in step.items()} if basic else None,
        **extra,
    }
    if options.json:
        with open(options.json + ".half", "w") as file:
            json.dump(found, file, indent=1)
        os.replace(options.json + ".half", options.json)
    return found


def main():
    bench = Bench()
    progress(f"{sum(variable.numel() for variable in bench.network.parameters())} parameters")
    methods = [method for method in options.methods.split(",") if method]
    for method in methods:
        for round in range(options.warmup):
            progress(f"{method}, before the clock, round {round + 1}: {seconds_of(bench.step, method):.2f} s")
    if on_gpu:
        torch.cuda.reset_peak_memory_stats()
    times = {method: [] for method in methods}
    extra = {"peak_bytes": None}
    for _ in range(options.steps):
        for method in methods:
            times[method].append(seconds_of(bench.step, method))
        extra["peak_bytes"] = peak()
        results(times, extra)
    if options.evaluation:
        rounds = max(options.steps, 1)
        for round in range(options.warmup):
            progress(f"forward, before the clock, round {round + 1}: {seconds_of(bench.forward):.2f} s")
        forward = statistics.median(seconds_of(bench.forward) for _ in range(rounds))
        # One round prepares the curves' graph. It does not count if there is something to compile or to choose.
        if on_gpu:
            progress(f"curves, before the clock: {seconds_of(bench.curves):.2f} s")
        curves = statistics.median(seconds_of(bench.curves) for _ in range((rounds + 1) // 2))
        extra["evaluation_s"] = {"forward": forward, "curves": curves / options.curve_batch}
    print(json.dumps(results(times, extra), indent=1))


main()
