"""Seconds of SegFormer-B0 and UPerNet-ConvNeXt-T in PyTorch, as the library transformers has them.

    python bench_transformers.py segformer|upernet [--size N] [--batch N] [--rounds N] [--channels-last]

Prints JSON with the median seconds of the forward pass to small logits, of the gradient of the image (an attack's, without
those of the weights), and of forward and backward pass of a training step. f32 on the CPU, random weights.
"""

import argparse
import json
import statistics
import time

import torch
import torch.nn.functional as F
from transformers import (
    ConvNextConfig,
    SegformerConfig,
    SegformerForSemanticSegmentation,
    UperNetConfig,
    UperNetForSemanticSegmentation,
)

CLASSES = 21
STAGES = ["stage1", "stage2", "stage3", "stage4"]


def segformer():
    network = SegformerForSemanticSegmentation(SegformerConfig(num_labels=CLASSES))
    return network, lambda x: network(pixel_values=x).logits


def upernet():
    # The library's own default for the widths is a tuple, to which its backbone cannot append.
    backbone = ConvNextConfig(hidden_sizes=[96, 192, 384, 768], out_features=STAGES, drop_path_rate=0.4)
    config = UperNetConfig(backbone_config=backbone, use_auxiliary_head=False, num_labels=CLASSES)
    network = UperNetForSemanticSegmentation(config)
    # The network's own forward pass also upsamples the logits.
    return network, lambda x: network.decode_head(network.backbone.forward_with_filtered_kwargs(x).feature_maps)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("network", choices=["segformer", "upernet"])
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--channels-last", action="store_true")
    arguments = parser.parse_args()
    torch.manual_seed(0)
    network, small_logits = {"segformer": segformer, "upernet": upernet}[arguments.network]()
    image = torch.rand(arguments.batch, 3, arguments.size, arguments.size)
    label = torch.randint(0, CLASSES, (arguments.batch, arguments.size, arguments.size))
    if arguments.channels_last:
        network, image = network.to(memory_format=torch.channels_last), image.to(memory_format=torch.channels_last)
    normalised = lambda x: (x - 0.5) / 0.5

    def loss(x):
        full = F.interpolate(small_logits(normalised(x)), size=label.shape[1:], mode="bilinear", align_corners=False)
        return F.cross_entropy(full, label)

    def forward():
        network.eval()
        with torch.no_grad():
            small_logits(normalised(image))

    def attack_gradient():
        network.eval().requires_grad_(False)
        x = image.clone().requires_grad_()
        torch.autograd.grad(loss(x), x)

    def training_step():
        network.train().requires_grad_(True)
        network.zero_grad()
        loss(image).backward()

    works = {"forward": forward, "attack gradient": attack_gradient, "training step": training_step}
    seconds = {name: [] for name in works}
    for _ in range(arguments.rounds + 1):
        for name, work in works.items():
            start = time.perf_counter()
            work()
            seconds[name].append(time.perf_counter() - start)
    # The first round warms up.
    print(json.dumps({name: statistics.median(times[1:]) for name, times in seconds.items()}))


if __name__ == "__main__":
    main()
