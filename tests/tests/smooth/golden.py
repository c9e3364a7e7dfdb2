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
CLASS_PIXELS = [9000, 400, 0, 2500, 70]


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


def masked(weights):
    def objective(z, y):
        right = z.detach().argmax(1) == y
        return mean(weights.to(z)[y.masked_fill(y == IGNORE, 0)] * entropy_map(z, y) * right, y)

    return objective


def of_set(class_pixels):
    """The weights that make all classes count alike over a set with these pixels of each class."""
    counts = torch.tensor(class_pixels, dtype=torch.float64)
    return torch.where(counts > 0, counts.sum() / ((counts > 0).sum() * counts.clamp(min=1)), 0.0)


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
    return value.detach(), gradient, cross_entropy(z, y).detach(), (z.detach().argmax(1) == y).sum((1, 2))


def project(z, x, epsilon):
    return torch.clamp(torch.minimum(torch.maximum(z, x - epsilon), x + epsilon), 0, 1)


def sign_step(z, gradient, size):
    return z + size * gradient.sign()


def radius(x, epsilon):
    """Of an l2 ball: epsilon for 224 x 224 pixels, and growing with the root of their number."""
    return epsilon * math.sqrt(x.shape[2] * x.shape[3]) / 224


def length(x):
    return x.flatten(1).norm(dim=1).view(-1, 1, 1, 1)


def project_l2(z, x, epsilon):
    return (x + (z - x) * (radius(x, epsilon) / length(z - x).clamp(min=1e-30)).clamp(max=1)).clamp(0, 1)


def l2_step(z, gradient, size):
    return z + radius(z, size) * gradient / length(gradient)


LINF, L2 = (sign_step, project), (l2_step, project_l2)


def segpgd(step, steps):
    def objective(z, y):
        share = step / (2 * steps)
        right = z.detach().argmax(1) == y
        return mean(entropy_map(z, y) * torch.where(right, 1 - share, share), y)

    return objective


def iterated_l2(x, y, epsilon, alpha, steps, objective):
    z = x
    for step in range(steps):
        z = project_l2(l2_step(z, look(z, y, objective(step, steps))[1], alpha), x, epsilon)
    return z


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


def climb(x, y, epsilon, steps, start, objective, ball=LINF):
    """APGD (Croce & Hein 2020, algorithm 1) on one image, of the objective at a step. Returns the point of the highest
    cross-entropy and that of the fewest right pixels."""
    step_along, project = ball
    _, gradient, value, right = look(start, y, objective(0, steps))
    now, before = start, start
    fewest, fewest_right = start, right
    best, best_gradient, best_value = start, gradient, value
    size, rises, halved, known, last = 2 * epsilon, 0, False, value, 0
    for step in range(1, steps + 1):
        z = project(step_along(now, gradient, size), x, epsilon)
        if step > 1:
            z = project(now + 0.75 * (z - now) + 0.25 * (now - before), x, epsilon)
        before, now, former = now, z, value
        _, gradient, value, right = look(now, y, objective(min(step, steps - 1), steps))
        if right <= fewest_right:
            fewest, fewest_right = now, right
        rises += int(value > former)
        if value > best_value:
            best, best_gradient, best_value = now, gradient, value
        if step in checkpoints(steps) and step < steps:
            halved = rises < 0.75 * (step - last) or (not halved and bool(best_value == known))
            if halved:
                size, now, gradient, value = size / 2, best, best_gradient, best_value
            rises, known, last = 0, best_value, step
    return best, fewest


HIGHEST, FEWEST = 0, 1


def shrinking(x, y, epsilon, steps, objective, hand_on):
    part, point = int(0.3 * steps), x
    for times, own in zip([2, 1.5, 1], [part, part, steps - 2 * part]):
        point = climb(x, y, times * epsilon, own, project(point, x, times * epsilon), objective)[hand_on]
    return point


def tsallis_apgd(x, y, epsilon, steps):
    return shrinking(x, y, epsilon, steps, lambda step, steps: tsallis(order(step, steps)), HIGHEST)


def sea(x, y, epsilon, steps, objective):
    return shrinking(x, y, epsilon, steps, lambda step, steps: objective, FEWEST)


# ---------------------------------------------------------------- ALMA prox (Rony, Pesquet, Ben Ayed, CVPR 2023)
def shrink(change, metric, low, high, weight):
    """The proximity operator of weight * max|.| in the diagonal metric, within bounds, by golden-section search."""
    inside = torch.minimum(torch.maximum(change, low), high)

    def value(t):
        return weight * t + (metric * (inside.clamp(-t, t) - change) ** 2).sum() / 2

    left, right, share = 0.0, inside.abs().max().item(), (math.sqrt(5) - 1) / 2
    for _ in range(70):
        a, b = right - share * (right - left), left + share * (right - left)
        left, right = (left, b) if value(a) <= value(b) else (a, right)
    t = (left + right) / 2
    return inside.clamp(-t, t)


def penalty(c, r, m):
    return torch.where(c >= 0, m * c + m * r * c**2 + r**2 * c**3 / 6, m * c / (1 - r.clamp(min=1) * c.clamp(max=0)))


def alma_prox(x, y, alpha, steps, wrong_share):
    """The smallest change found with the wanted share of wrong pixels, on one image."""
    labelled = y != IGNORE
    one_hot = F.one_hot(y.masked_fill(~labelled, 0), 5).permute(0, 3, 1, 2).bool()
    change, squares, scale, success = torch.zeros_like(x), torch.zeros_like(x), 1.0, None
    m, r = torch.ones_like(y, dtype=x.dtype), torch.full_like(y, 0.01, dtype=x.dtype)
    met, best, least = torch.zeros_like(labelled), change, math.inf
    for step in range(steps):
        point = (x + change).requires_grad_(True)
        z = logits(point)
        wrong = (z.argmax(1) != y) & labelled
        met |= wrong
        enough = wrong.sum() >= wrong_share * labelled.sum()
        if enough and change.abs().max() <= least:
            best, least = change, change.abs().max()
        if enough and success is None:
            success = step
        scale = min(max(scale / (1.02 if enough else 0.98), 0.1), 1.0)
        top = z.topk(3, 1).values
        margin = (z * one_hot).sum(1) - z.masked_fill(one_hot, -math.inf).amax(1)
        c = scale * (margin + 1e-4) / (top[:, 0] - top[:, 2])
        fixed, spare = c.detach(), int((1 - wrong_share) * labelled.sum().item() * step / (steps - 1))
        counted = labelled & (fixed <= fixed[labelled].topk(spare).values[-1]) if spare else labelled
        if step == 0:
            reviewed = fixed
        elif (step + 1) % 10 == 0:
            r = torch.where(met | (fixed * counted <= 0.95 * reviewed), r, 2 * r)
            reviewed, met = fixed, torch.zeros_like(met)
        if step > 0:
            free = fixed.clone().requires_grad_(True)
            (slope,) = torch.autograd.grad((penalty(free, r, m) * counted).sum(), free)
            m = (0.8 * m + 0.2 * slope).clamp(1e-12, 1)
        (gradient,) = torch.autograd.grad((penalty(c, r, m) * counted).sum(), point)
        start = min(steps // 2 if success is None else success, steps // 2)
        reach = 0.1 / 0.9 * max(steps - start, 1)
        rate = alpha * reach / (max(step - start, 0) + reach)
        squares = 0.8 * squares + 0.2 * gradient**2
        metric = (squares / (1 - 0.8 ** (step + 1))).sqrt().clamp(min=1e-8)
        change = shrink(change - rate / metric * gradient, metric, -x, 1 - x, rate)
    return x + best


# ---------------------------------------------------------------- the case
def golden(dtype):
    x, y = SCENE["image"][:1].to(dtype), SCENE["label"][:1].long()
    found = {}
    for q in (-2.0, 0.5):
        found[f"tsallis_{q:g}"], found[f"tsallis_{q:g}_input_gradient"], _, _ = look(x, y, tsallis(q))
    found["segfgsm"] = segfgsm(x, y, 0.03)
    found["tsallis_pgd"] = tsallis_pgd(x, y, 0.03, 0.01, 7)
    found["tsallis_apgd"] = tsallis_apgd(x, y, 0.03, 30)
    found["segpgd_l2"] = iterated_l2(x, y, 2.0, 0.5, 7, segpgd)
    found["cospgd_l2"] = iterated_l2(x, y, 2.0, 0.5, 7, lambda step, steps: cospgd)
    found["apgd_l2"] = climb(x, y, 2.0, 20, x, lambda step, steps: cross_entropy, L2)[HIGHEST]
    found["sea_of_set"] = sea(x, y, 0.03, 30, masked(of_set(CLASS_PIXELS)))
    found["sea_cross_entropy"] = sea(x, y, 0.03, 30, cross_entropy)
    found["padam_cross_entropy"] = padam(x, y, 0.03, 2 / 255, 12, cross_entropy)
    found["padam_cospgd"] = padam(x, y, 0.03, 2 / 255, 12, cospgd)
    found["alma_prox"] = alma_prox(x, y, 0.01, 40, 0.5)
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
