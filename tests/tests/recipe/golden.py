"""Ten steps of each optimiser, schedule and loss in PyTorch, in double precision.

Writes golden.safetensors next to this file. Needs torch, segmentation-models-pytorch (Dice and Lovasz) and safetensors.
"""

from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from segmentation_models_pytorch.losses import DiceLoss, LovaszLoss

STEPS = 10
torch.manual_seed(5)
double = torch.float64
found = {}


def single(tensor):
    """The tensor with values that f32 holds exactly."""
    return tensor.float().double()


# Optimisers: a parameter of 3 x 5 x 3 with given gradients, at a falling rate.
parameter = single(torch.randn(3, 5, 3, dtype=double))
gradients = single(torch.randn(STEPS, 3, 5, 3, dtype=double))
found["parameter"], found["gradients"] = parameter, gradients
for name, make in {
    "sgd": lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, weight_decay=0.01),
    "nesterov": lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, weight_decay=0.01, nesterov=True),
    "adamw": lambda p: torch.optim.AdamW(p, lr=0.1, betas=(0.8, 0.95), eps=1e-6, weight_decay=0.05),
    "clipped": lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, weight_decay=0.01),
}.items():
    moved = parameter.clone().requires_grad_()
    optimiser = make([moved])
    steps = []
    for step in range(STEPS):
        optimiser.param_groups[0]["lr"] = 0.1 / (step + 1)
        moved.grad = gradients[step].clone()
        if name == "clipped":
            torch.nn.utils.clip_grad_norm_([moved], 6.5)
        optimiser.step()
        steps.append(moved.detach().clone())
    found[f"optimiser.{name}"] = torch.stack(steps)

# Schedules: two steps an epoch, five epochs.
schedulers = torch.optim.lr_scheduler
for name, make in {
    "polynomial": lambda o: schedulers.PolynomialLR(o, total_iters=STEPS, power=0.9),
    "cosine": lambda o: schedulers.CosineAnnealingLR(o, T_max=STEPS, eta_min=0.3 * 0.01),
    "step": lambda o: schedulers.MultiStepLR(o, milestones=[4, 7], gamma=0.2),
    "constant": lambda o: schedulers.ConstantLR(o, factor=1.0),
    "warm": lambda o: schedulers.LambdaLR(o, lambda step: min(1, (step + 1) / 3) * (1 - step / STEPS) ** 0.9),
}.items():
    optimiser = torch.optim.SGD([torch.zeros(1)], lr=0.3)
    scheduler = make(optimiser)
    rates = []
    for step in range(STEPS):
        rates.append(optimiser.param_groups[0]["lr"])
        optimiser.step()
        scheduler.step()
    found[f"schedule.{name}"] = torch.tensor(rates, dtype=double)

# Losses: small logits (N, h, w, K), descended by themselves. Class 3 never occurs, class 4 is rare.
logits = single(2 * torch.randn(2, 5, 3, 5, dtype=double))
labels = torch.randint(0, 3, (2, 23, 13))
labels[torch.rand(labels.shape) < 0.1] = 255
labels[1, 4:6, 7:9] = 4
weights = torch.tensor([0.5, 2.0, 1.25, 1.0, 3.0], dtype=double)
found["logits"], found["labels"], found["weights"] = logits, labels.to(torch.uint8), weights


def hardest(scores, labels, weight=None, threshold=0.4, share=0.25):
    """OHEM as HRNet's program has it: the pixels below a probability, but at least a number of them.

    Where upsampling repeats the border, pixels are equally hard. They are kept together.
    """
    losses = F.cross_entropy(scores, labels, weight=weight, ignore_index=255, reduction="none")
    labelled = labels != 255
    own = scores.softmax(1).gather(1, labels.where(labelled, 0).unsqueeze(1)).squeeze(1)[labelled]
    least = int(share * own.numel())
    kept = (own < threshold) | (own <= own.sort().values[least - 1])
    mean = losses[labelled][kept]
    return mean.mean() if weight is None else mean.sum() / weight[labels[labelled][kept]].sum()


def lovasz(scores, labels, per_image=False):
    """Lovasz-softmax over the present classes (Berman et al. 2018, algorithm 1). The library's own is f32 within."""
    if per_image:
        return torch.stack([lovasz(s[None], l[None]) for s, l in zip(scores, labels)]).mean()
    labelled = labels != 255
    own, probabilities = labels[labelled], scores.softmax(1).movedim(1, -1)[labelled]
    values = []
    for of_class in own.unique():
        inside = (own == of_class).double()
        errors, order = (inside - probabilities[:, of_class]).abs().sort(descending=True)
        inside = inside[order]
        jaccard = 1 - (inside.sum() - inside.cumsum(0)) / (inside.sum() + (1 - inside).cumsum(0))
        values.append(errors @ jaccard.diff(prepend=torch.zeros(1, dtype=double)))
    return torch.stack(values).mean()


losses = {
    "cross_entropy": lambda s, l: F.cross_entropy(s, l, ignore_index=255),
    "weighted": lambda s, l: F.cross_entropy(s, l, weight=weights, ignore_index=255),
    "ohem": hardest,
    "ohem_weighted": lambda s, l: hardest(s, l, weights, threshold=0.05),
    # The library adds its smooth to halves of numerator and denominator.
    "dice": DiceLoss("multiclass", smooth=0.25, ignore_index=255),
    "lovasz": lovasz,
    "lovasz_per_image": lambda s, l: lovasz(s, l, per_image=True),
}
start = F.interpolate(logits.permute(0, 3, 1, 2), size=labels.shape[1:], mode="bilinear", align_corners=False)
for per_image in [False, True]:
    library = LovaszLoss("multiclass", per_image=per_image, ignore_index=255)(start.float(), labels).item()
    assert abs(library - lovasz(start, labels, per_image).item()) < 1e-5, library
for name, loss in losses.items():
    moved = logits.clone().requires_grad_()
    optimiser = torch.optim.SGD([moved], lr=3.0, momentum=0.5)
    values = []
    for _ in range(STEPS):
        scores = F.interpolate(moved.permute(0, 3, 1, 2), size=labels.shape[1:], mode="bilinear", align_corners=False)
        value = loss(scores, labels)
        optimiser.zero_grad()
        value.backward()
        optimiser.step()
        values.append(value.item())
    found[f"loss.{name}.values"] = torch.tensor(values, dtype=double)
    found[f"loss.{name}.logits"] = moved.detach().contiguous()
    print(name, values[0], values[-1])

save_file({name: tensor.contiguous() for name, tensor in found.items()}, Path(__file__).with_name("golden.safetensors"))
