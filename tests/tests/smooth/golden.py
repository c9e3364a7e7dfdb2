"""Makes the golden case beside this file: attacks of 2022 to 2026 in PyTorch's f64, on a small smooth model.

Needs torch and safetensors. Model, image and label are those of ../sea/golden.safetensors, of which the first image is
attacked. On a smooth model rounding sends no attack elsewhere: a difference is a mistake.
"""

import json
import math
import os

import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file

HERE = os.path.dirname(os.path.abspath(__file__))
SCENE = load_file(os.path.join(HERE, "../sea/golden.safetensors"))
IGNORE = 255


def logits(x):
    """At half the size: a tanh layer on means of 2x2 pixels; then upsampled."""
    means = F.avg_pool2d(x, 2).permute(0, 2, 3, 1) - 0.5
    z = torch.tanh(means @ SCENE["first"].to(x)) @ SCENE["second"].to(x)
    return F.interpolate(z.permute(0, 3, 1, 2), size=x.shape[2:], mode="bilinear", align_corners=False)


# ---------------------------------------------------------------- objectives, one value an image
def mean(values, y):
    labelled = y != IGNORE
    return (values * labelled).sum((1, 2)) / labelled.sum((1, 2))


def entropy_map(z, y):
    return F.cross_entropy(z, y, ignore_index=IGNORE, reduction="none")


def cross_entropy(z, y):
    return mean(entropy_map(z, y), y)


def tsallis(q):
    def objective(z, y):
        p = z.softmax(1).gather(1, y.masked_fill(y == IGNORE, 0).unsqueeze(1)).squeeze(1)
        return cross_entropy(z, y) if q == 1 else mean((1 - p ** (1 - q)) / (1 - q), y)

    return objective


def right_pixels_only(z, y):
    return mean(entropy_map(z, y) * (z.detach().argmax(1) == y), y)


def cospgd(z, y):
    one_hot = F.one_hot(y.masked_fill(y == IGNORE, 0), z.shape[1]).permute(0, 3, 1, 2).to(z)
    cosine = F.cosine_similarity(z.detach().softmax(1), one_hot, dim=1)
    return mean(cosine * entropy_map(z, y), y)


# ---------------------------------------------------------------- attacks
def look(x, y, objective):
    x = x.detach().requires_grad_(True)
    z = logits(x)
    value = objective(z, y)
    (gradient,) = torch.autograd.grad(value.sum(), x)
    return value.detach(), gradient, cross_entropy(z, y).detach()


def project(z, x, epsilon):
    return torch.clamp(torch.minimum(torch.maximum(z, x - epsilon), x + epsilon), 0, 1)


def segfgsm(x, y, epsilon):
    return (x + epsilon * look(x, y, right_pixels_only)[1].sign()).clamp(0, 1)


def order(step, steps):
    return -2 + 3 * step / max(steps - 1, 1)


def tsallis_pgd(x, y, epsilon, alpha, steps):
    z = x
    for step in range(steps):
        z = project(z + alpha * look(z, y, tsallis(order(step, steps)))[1].sign(), x, epsilon)
    return z


def padam(x, y, epsilon, alpha, steps, objective):
    z = x.clone().requires_grad_(True)
    adam = torch.optim.Adam([z], lr=alpha, amsgrad=True, eps=1e-12, maximize=True)
    for _ in range(steps):
        z.grad = look(z, y, objective)[1]
        adam.step()
        with torch.no_grad():
            z.copy_(project(z, x, epsilon))
    return z.detach()


def checkpoints(steps):
    shares = [0.0, 0.22]
    while shares[-1] + max(shares[-1] - shares[-2] - 0.03, 0.06) <= 1.0 + 1e-9:
        shares.append(shares[-1] + max(shares[-1] - shares[-2] - 0.03, 0.06))
    return {math.ceil(round(share * steps, 9)) for share in shares[1:]}


def climb(x, y, epsilon, steps, start):
    """APGD (Croce & Hein 2020, algorithm 1) on one image; returns the point of the highest cross-entropy."""
    _, gradient, value = look(start, y, tsallis(order(0, steps)))
    now, before = start, start
    best, best_gradient, best_value = start, gradient, value
    size, rises, halved, known, last = 2 * epsilon, 0, False, value, 0
    for step in range(1, steps + 1):
        z = project(now + size * gradient.sign(), x, epsilon)
        if step > 1:
            z = project(now + 0.75 * (z - now) + 0.25 * (now - before), x, epsilon)
        before, now, former = now, z, value
        _, gradient, value = look(now, y, tsallis(order(min(step, steps - 1), steps)))
        rises += int(value > former)
        if value > best_value:
            best, best_gradient, best_value = now, gradient, value
        if step in checkpoints(steps) and step < steps:
            halved = rises < 0.75 * (step - last) or (not halved and bool(best_value == known))
            if halved:
                size, now, gradient, value = size / 2, best, best_gradient, best_value
            rises, known, last = 0, best_value, step
    return best


def tsallis_apgd(x, y, epsilon, steps):
    part, point = int(0.3 * steps), x
    for times, own in zip([2, 1.5, 1], [part, part, steps - 2 * part]):
        point = climb(x, y, times * epsilon, own, project(point, x, times * epsilon))
    return point


# ---------------------------------------------------------------- the case
def golden(dtype):
    x, y = SCENE["image"][:1].to(dtype), SCENE["label"][:1].long()
    found = {}
    for q in (-2.0, 0.5):
        found[f"tsallis_{q:g}"], found[f"tsallis_{q:g}_input_gradient"], _ = look(x, y, tsallis(q))
    found["segfgsm"] = segfgsm(x, y, 0.03)
    found["tsallis_pgd"] = tsallis_pgd(x, y, 0.03, 0.01, 7)
    found["tsallis_apgd"] = tsallis_apgd(x, y, 0.03, 30)
    found["padam_cross_entropy"] = padam(x, y, 0.03, 2 / 255, 12, cross_entropy)
    found["padam_cospgd"] = padam(x, y, 0.03, 2 / 255, 12, cospgd)
    return found


wanted, single = golden(torch.float64), golden(torch.float32)
errors = {}
for name, tensor in wanted.items():
    difference = single[name].double() - tensor
    if name.startswith("tsallis_-") or name.startswith("tsallis_0"):
        errors[name] = {"relative_l2": (difference.norm() / tensor.norm()).item()}
    else:
        errors[name] = {"differing_fraction": (difference.abs() > 1e-4).double().mean().item()}
        value = look(tensor, SCENE["label"][:1].long(), cross_entropy)[0]
        print(name, "cross-entropy", value.tolist(), errors[name])
save_file({k: v.float().contiguous() for k, v in wanted.items()}, os.path.join(HERE, "golden.safetensors"))
with open(os.path.join(HERE, "f32_error.json"), "w") as file:
    json.dump(errors, file, indent=1)
    file.write("\n")
