"""Makes the golden cases beside this file: evaluation protocols in plain PyTorch, in f64, and Pillow's resampling.

Needs torch, Pillow and safetensors. The model is a small smooth one whose logits have a third of the image's size, as a
network's are smaller. It is attacked and scored through semseg's test, through crops as in DDC-AT's test, and at several
scales. OpenCV's INTER_LINEAR on floats is PyTorch's bilinear interpolation without aligned corners.
"""

import json
import math
import os

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from safetensors.torch import save_file

HERE = os.path.dirname(os.path.abspath(__file__))
CLASSES, IGNORE = 3, 255
MEAN = torch.tensor([0.485, 0.456, 0.406], dtype=torch.float64).view(1, 3, 1, 1)
STD = torch.tensor([0.229, 0.224, 0.225], dtype=torch.float64).view(1, 3, 1, 1)

torch.manual_seed(5)
FIRST = (torch.randn(6, 3, 3, 3) * 0.25).float()
SECOND = (torch.randn(CLASSES, 6, 3, 3) * 0.5).float()


def model(x):
    """Logits (N, K, h, w) of images (N, 3, H, W) in [0, 1]."""
    x = torch.tanh(F.conv2d((x - MEAN) / STD, FIRST.double(), stride=3, padding=1))
    return F.conv2d(x, SECOND.double(), padding=1)


def probabilities(x, size, flip):
    both = torch.cat([x, x.flip(3)]) if flip else x
    p = F.softmax(F.interpolate(model(both), size=size, mode="bilinear", align_corners=True), dim=1)
    return (p[: len(x)] + p[len(x):].flip(3)) / 2 if flip else p


def scale(x, size):
    return F.interpolate(x, size=size, mode="bilinear", align_corners=False)


def scaled_size(h, w, long):
    return (long, round(long / float(h) * w)) if h > w else (round(long / float(w) * h), long)


def pad(x, crop, value):
    h, w = x.shape[2:]
    down, right = max(crop - h, 0), max(crop - w, 0)
    top, left = down // 2, right // 2
    out = (torch.zeros(len(x), x.shape[1], h + down, w + right, dtype=x.dtype) + value).clone()
    out[:, :, top:top + h, left:left + w] = x
    return out, top, left


def positions(size, crop):
    stride = int(math.ceil(crop * (2 / 3)))
    count = int(math.ceil(float(size - crop) / stride) + 1)
    return [min(i * stride + crop, size) - crop for i in range(count)]


def one_scale(image, long, crop, flip, label=None, epsilon=0.0):
    """The probabilities of semseg's test at one scale; with a label, each crop is attacked by FGSM first."""
    h, w = image.shape[2:]
    size = scaled_size(h, w, long)
    x, top, left = pad(scale(image, size), crop, MEAN)
    if label is not None:
        rows = (np.arange(size[0]) * (h / size[0])).astype(int).clip(0, h - 1)
        columns = (np.arange(size[1]) * (w / size[1])).astype(int).clip(0, w - 1)
        target, _, _ = pad(label[None][:, :, rows][:, :, :, columns], crop, IGNORE)
    H, W = x.shape[2:]
    total, count = torch.zeros(1, CLASSES, H, W, dtype=torch.float64), torch.zeros(1, 1, H, W, dtype=torch.float64)
    for t in positions(H, crop):
        for l in positions(W, crop):
            part = x[:, :, t:t + crop, l:l + crop]
            if label is not None:
                variable = part.detach().clone().requires_grad_()
                scores = probabilities(variable, (crop, crop), flip).log()
                loss = F.nll_loss(scores, target[:, 0, t:t + crop, l:l + crop].long(), ignore_index=IGNORE)
                part = (variable + epsilon * torch.autograd.grad(loss, variable)[0].sign()).clamp(0, 1).detach()
            total = total + F.pad(probabilities(part, (crop, crop), flip), (l, W - l - crop, t, H - t - crop))
            count[:, :, t:t + crop, l:l + crop] += 1
    mean = (total / count)[:, :, top:top + size[0], left:left + size[1]]
    return scale(mean, (h, w))


def semseg(image, long_side, crop, scales=(1.0,), flip=False, **attack):
    return sum(one_scale(image, round(s * long_side), crop, flip, **attack) for s in scales) / len(scales)


def multi_scale(image, scales, flip):
    h, w = image.shape[2:]
    sizes = [(int(h * s + 0.5), int(w * s + 0.5)) for s in scales]
    return sum(probabilities(scale(image, size), (h, w), flip) for size in sizes) / len(scales)


CASES = {
    "crops": ((15, 24), {"semseg": {"long_side": 26, "crop": 11}}),
    "padded": ((15, 12), {"semseg": {"long_side": 14, "crop": 21, "flip": True}}),
    "scales": ((24, 15), {"semseg": {"long_side": 20, "crop": 13, "flip": True, "scales": [0.75, 1.25]}}),
    "multi_scale": ((14, 19), {"multi_scale": {"scales": [0.5, 1.0, 1.5], "flip": True}}),
}


def main():
    tensors, settings, numbers = {"first": FIRST, "second": SECOND}, {}, {}
    for name, ((h, w), protocol) in CASES.items():
        ramp = torch.linspace(0, 1, w).view(1, 1, 1, w) * torch.tensor([1.0, 0.2, 0.6]).view(1, 3, 1, 1)
        image = (0.1 + 0.5 * ramp + 0.3 * torch.rand(1, 3, h, w)).float()
        label = torch.randint(0, CLASSES, (1, h, w), dtype=torch.uint8)
        label[torch.rand(1, h, w) < 0.1] = IGNORE
        variable = image.double().requires_grad_()
        ((kind, options),) = protocol.items()
        p = {"semseg": semseg, "multi_scale": multi_scale}[kind](variable, **options)
        loss = F.nll_loss(p.log(), label.long(), ignore_index=IGNORE)
        gradient = torch.autograd.grad(loss, variable)[0]
        settings[name] = protocol
        for key, value in [("image", image), ("label", label), ("probabilities", p), ("gradient", gradient)]:
            tensors[f"{name}.{key}"] = value.detach().float() if value.is_floating_point() else value
        if kind == "semseg" and len(options.get("scales", (1.0,))) == 1:
            attacked = semseg(image.double(), **options, label=label, epsilon=0.02)
            loss = F.nll_loss(attacked.log(), label.long(), ignore_index=IGNORE).item()
            known = label != IGNORE
            right = ((attacked.argmax(1) == label) & known).sum().item() / known.sum().item()
            numbers[name] = {"attacked_loss": loss, "attacked_accuracy": right}
    rng = np.random.default_rng(3)
    for name, (h, w), size in [("larger", (20, 27), 23), ("smaller", (41, 33), 23), ("square", (29, 29), 21)]:
        pixels = rng.integers(0, 256, (h, w, 3), dtype=np.uint8)
        mask = rng.choice(np.array([0, 1, 2, IGNORE], dtype=np.uint8), (h, w))
        image, label = Image.fromarray(pixels), Image.fromarray(mask)
        if w > h:
            shape = (int(1.0 * w * size / h), size)
        else:
            shape = (size, int(1.0 * h * size / w))
        image, label = image.resize(shape, Image.BILINEAR), label.resize(shape, Image.NEAREST)
        left, top = (int(round((side - size) / 2.0)) for side in shape)
        box = (left, top, left + size, top + size)
        for key, value in [("image", pixels), ("label", mask), ("cut", np.array(image.crop(box))),
                           ("cut_label", np.array(label.crop(box)))]:
            tensors[f"{name}.{key}"] = torch.from_numpy(value.copy())
    tensors = {name: value.contiguous() for name, value in tensors.items()}
    save_file(tensors, os.path.join(HERE, "golden.safetensors"))
    with open(os.path.join(HERE, "golden.json"), "w") as file:
        json.dump({"protocols": settings, "attacked_in_crops": numbers}, file, indent=1)
        file.write("\n")


main()
