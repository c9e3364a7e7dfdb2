"""Makes the golden case beside this file: APGD, and SEA's objectives and examples, in PyTorch's f64.

Needs torch, timm and safetensors. Two models: the network of ../../goldens/positive_gain, whose objectives and gradients
are kept, and a small smooth one, on which whole climbs are. Rounding sends an iterated attack on a network with ReLUs
elsewhere after a few steps, f32's in PyTorch too; on the smooth one a difference is a mistake.
"""

import json
import math
import os

import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from timm.layers import BatchNormAct2d, create_conv2d
from timm.models.resnetv2 import ResNetV2
from torch import nn

HERE = os.path.dirname(os.path.abspath(__file__))
NETWORK = os.path.join(HERE, "../../goldens/positive_gain")
IGNORE = 255


# ---------------------------------------------------------------- models
def upsample(x, size):
    return F.interpolate(x, size=size, mode="bilinear", align_corners=False)


class Unit(nn.Module):
    def __init__(self, inputs, outputs, kernel):
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, bias=False)
        self.norm = nn.BatchNorm2d(outputs)

    def forward(self, x):
        return F.relu(self.norm(self.conv(x)))


class Network(nn.Module):
    """The PSPNet that a checkpoint of robustseg holds, by its names."""

    def __init__(self, layers, width, num_classes, **_):
        super().__init__()
        w = width
        self.backbone = ResNetV2(
            layers=layers, channels=(4 * w, 8 * w, 16 * w, 32 * w), stem_chs=w, num_classes=0, global_pool="",
            output_stride=8, preact=True, conv_layer=create_conv2d, norm_layer=BatchNormAct2d,
        )
        self.bins = (1, 2, 3, 6)
        self.psp = nn.Module()
        self.psp.branches = nn.ModuleList(Unit(32 * w, 8 * w, 1) for _ in self.bins)
        self.head = Unit(64 * w, 8 * w, 3)
        self.classifier = nn.Conv2d(8 * w, num_classes, 1)

    def forward(self, x):
        x = self.backbone.forward_features((x - 0.5) / 0.5)
        pooled = [branch(F.adaptive_avg_pool2d(x, size)) for size, branch in zip(self.bins, self.psp.branches)]
        return self.classifier(self.head(torch.cat([x] + [upsample(part, x.shape[2:]) for part in pooled], 1)))


def smooth(first, second):
    """Logits at half the size: a tanh layer on means of 2x2 pixels."""

    def logits(x):
        x = F.avg_pool2d(x, 2).permute(0, 2, 3, 1) - 0.5
        return (torch.tanh(x @ first.to(x)) @ second.to(x)).permute(0, 3, 1, 2)

    return logits


# ---------------------------------------------------------------- objectives, one value an image
def mean_over_labelled(values, y):
    labelled = y != IGNORE
    return (values * labelled).sum((1, 2)) / labelled.sum((1, 2)).clamp(min=1)


def entropy_map(z, y):
    return F.cross_entropy(z, y, ignore_index=IGNORE, reduction="none")


def right_map(z, y):
    return z.detach().argmax(1) == y


def cross_entropy(z, y):
    return mean_over_labelled(entropy_map(z, y), y)


def masked_cross_entropy(z, y):
    return mean_over_labelled(entropy_map(z, y) * right_map(z, y), y)


def balanced_masked_cross_entropy(z, y):
    weights = torch.zeros(y.shape, dtype=z.dtype)
    for image in range(len(y)):
        classes, counts = y[image][y[image] != IGNORE].unique(return_counts=True)
        for label, count in zip(classes, counts):
            weights[image][y[image] == label] = counts.sum() / (len(classes) * count)
    return mean_over_labelled(weights * entropy_map(z, y) * right_map(z, y), y)


def jensen_shannon(z, y):
    log_p = z.log_softmax(1)
    label = y.masked_fill(y == IGNORE, 0)
    q = F.one_hot(label, z.shape[1]).permute(0, 3, 1, 2).to(z)
    log_m = ((log_p.exp() + q) / 2).log()
    of_q = -log_m.gather(1, label.unsqueeze(1)).squeeze(1)
    return mean_over_labelled(((log_p.exp() * (log_p - log_m)).sum(1) + of_q) / 2, y)


SEA = [masked_cross_entropy, balanced_masked_cross_entropy, jensen_shannon]


# ---------------------------------------------------------------- APGD, algorithm 1 of Croce & Hein 2020
def look(model, x, y, objective):
    x = x.detach().requires_grad_(True)
    z = upsample(model(x), y.shape[1:])
    value = objective(z, y)
    (gradient,) = torch.autograd.grad(value.sum(), x)
    return value.detach(), gradient, cross_entropy(z, y).detach(), right_map(z, y).sum((1, 2))


def checkpoints(steps):
    shares = [0.0, 0.22]
    while shares[-1] + max(shares[-1] - shares[-2] - 0.03, 0.06) <= 1.0 + 1e-9:
        shares.append(shares[-1] + max(shares[-1] - shares[-2] - 0.03, 0.06))
    return {math.ceil(round(share * steps, 9)) for share in shares[1:]}


def project(z, x, epsilon):
    return torch.clamp(torch.minimum(torch.maximum(z, x - epsilon), x + epsilon), 0, 1)


def each(mask, a, b):
    return torch.where(mask.view(-1, 1, 1, 1), a, b)


def apgd(model, x, y, epsilon, steps, objective, start):
    """The points of the largest cross-entropy and of the fewest right pixels."""
    _, gradient, value, right = look(model, start, y, objective)
    now, before = start, start
    best, best_gradient, best_value = start, gradient, value
    fewest, fewest_right = start, right
    size = torch.full((len(x), 1, 1, 1), 2 * epsilon, dtype=x.dtype)
    rises, halved, known, last = torch.zeros(len(x)), torch.zeros(len(x), dtype=torch.bool), value, 0
    for step in range(1, steps + 1):
        z = project(now + size * gradient.sign(), x, epsilon)
        if step > 1:
            z = project(now + 0.75 * (z - now) + 0.25 * (now - before), x, epsilon)
        before, now, former = now, z, value
        _, gradient, value, right = look(model, now, y, objective)
        rises += value > former
        fewer, higher = right <= fewest_right, value > best_value
        fewest, fewest_right = each(fewer, now, fewest), torch.minimum(right, fewest_right)
        best, best_gradient = each(higher, now, best), each(higher, gradient, best_gradient)
        best_value = torch.maximum(best_value, value)
        if step in checkpoints(steps) and step < steps:
            halved = (rises < 0.75 * (step - last)) | (~halved & (best_value == known))
            size = each(halved, size / 2, size)
            now, gradient = each(halved, best, now), each(halved, best_gradient, gradient)
            value = torch.where(halved, best_value, value)
            rises, known, last = torch.zeros(len(x)), best_value, step
    return best, fewest


def sea(model, x, y, epsilon, steps, objective):
    parts = [int(0.3 * steps), int(0.3 * steps)]
    point = x
    for times, part in zip([2, 1.5, 1], parts + [steps - sum(parts)]):
        start = project(point, x, times * epsilon)
        _, point = apgd(model, x, y, times * epsilon, part, objective, start)
    return point


# ---------------------------------------------------------------- the case
def network():
    from safetensors import safe_open

    path = os.path.join(NETWORK, "model.safetensors")
    with safe_open(path, "pt") as file:
        net = Network(**json.loads(file.metadata()["model"]))
    missing, unexpected = net.load_state_dict(load_file(path), strict=False)
    assert not unexpected and all(name.endswith("num_batches_tracked") for name in missing), (missing, unexpected)
    return net.eval()


def scene():
    random = torch.Generator().manual_seed(2024)
    first = 3 * torch.randn(3, 16, generator=random)
    second = torch.randn(16, 5, generator=random)
    x = torch.rand(3, 3, 12, 15, generator=random).repeat_interleave(2, 2).repeat_interleave(2, 3)
    x = (x + 0.1 * torch.rand(x.shape, generator=random)).clamp(0, 1)
    y = upsample(smooth(first, second)(x), x.shape[2:]).argmax(1)
    other = torch.randint(0, 5, y.shape, generator=random)
    draw = torch.rand(y.shape, generator=random)
    y = torch.where(draw < 0.15, other, y).masked_fill(draw > 0.9, IGNORE)
    return first, second, x, y


def golden(dtype):
    found = {}
    case = load_file(os.path.join(NETWORK, "case.safetensors"))
    net, x, y = network().to(dtype), case["image"].to(dtype), case["label"].long()
    for objective in SEA:
        value, gradient, _, _ = look(net, x, y, objective)
        found[objective.__name__] = value
        found[f"{objective.__name__}_input_gradient"] = gradient[:2]
    first, second, x, y = scene()
    model, x = smooth(first, second), x.to(dtype)
    found["apgd_0.03_20"] = apgd(model, x, y, 0.03, 20, cross_entropy, x)[0]
    for objective in SEA:
        found[f"sea_{objective.__name__}_0.03_30"] = sea(model, x, y, 0.03, 30, objective)
    return found


def relative_l2(a, b):
    return ((a.double() - b).norm() / b.norm().clamp(min=1e-30)).item()


wanted, single = golden(torch.float64), golden(torch.float32)
errors = {}
for name, tensor in wanted.items():
    if "_0.03_" in name:
        errors[name] = {"differing_fraction": ((single[name] - tensor).abs() > 1e-4).double().mean().item()}
    else:
        errors[name] = {"relative_l2": relative_l2(single[name], tensor)}
first, second, x, y = scene()
tensors = {name: tensor.float().contiguous() for name, tensor in wanted.items()}
tensors |= {"first": first, "second": second, "image": x.contiguous(), "label": y.to(torch.uint8)}
save_file(tensors, os.path.join(HERE, "golden.safetensors"))
with open(os.path.join(HERE, "f32_error.json"), "w") as file:
    json.dump(errors, file, indent=1)
    file.write("\n")
for name, tensor in wanted.items():
    if "_0.03_" in name:
        right = look(smooth(first, second), tensor.to(torch.float64), y, cross_entropy)[3].tolist()
        print(name, "right pixels", right, errors[name])
    else:
        print(name, errors[name])
