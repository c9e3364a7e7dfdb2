"""Golden cases of the convolutional networks: torchvision's DeepLabV3 and FCN, and plain PyTorch modules of semseg's PSPNet
and of DDC-AT's DeepLabV3, small, in double precision.

    python golden.py

Writes NAME.safetensors next to this file for each case in CASES, and f32_error.json with the error of PyTorch's own f32.
Needs torch, torchvision and safetensors. Weights, images and labels come from `hashed`, which main.rs has too, so that the
files hold results alone.
"""

import copy
import json
import math
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import nn
from torchvision.models.resnet import Bottleneck, ResNet
from torchvision.models.segmentation.deeplabv3 import ASPP
from torchvision.models.segmentation.fcn import FCNHead

LAYERS, WIDTH, CLASSES = (1, 1, 2, 2), 4, 3
IMAGES, HEIGHT, WIDTH_OF_IMAGE = 3, 33, 41
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def hashed(name, count):
    """`count` numbers in [0, 1), multiples of 2^-16, which depend on `name`."""
    key = 2166136261
    for byte in name.encode():
        key = (key ^ byte) * 16777619 % 2**32
    numbers = (torch.arange(count, dtype=torch.int64) * 2654435761 + key) % 2**32
    numbers = (numbers ^ (numbers >> 15)) * 2246822519 % 2**32
    numbers = numbers ^ (numbers >> 13)
    return (numbers >> 16).double() / 65536


def initial(name, shape):
    """The value of the variable `name`; a convolution has about He's variance."""
    values = hashed(name, math.prod(shape)).reshape(shape)
    if name.endswith("running_mean"):
        return (values - 0.5) / 2
    if name.endswith("running_var") or (len(shape) == 1 and name.endswith("weight")):
        return values + 0.5
    if len(shape) == 1:
        return (values - 0.5) / 2
    fan_in = math.prod(shape[1:])
    return (values - 0.5) * 2.0 ** round(0.5 * math.log2(24 / fan_in))


class SmallResNet(ResNet):
    """torchvision's ResNet of bottlenecks with LAYERS and WIDTH, output stride 8, and the map of the third stage."""

    def __init__(self, deep, whole):
        nn.Module.__init__(self)
        self._norm_layer, self.groups, self.base_width, self.dilation = nn.BatchNorm2d, 1, 64, 1
        self.deep = deep
        if deep:
            self.conv1 = nn.Conv2d(3, WIDTH, 3, stride=2, padding=1, bias=False)
            self.bn1 = nn.BatchNorm2d(WIDTH)
            self.conv2 = nn.Conv2d(WIDTH, WIDTH, 3, padding=1, bias=False)
            self.bn2 = nn.BatchNorm2d(WIDTH)
            self.conv3 = nn.Conv2d(WIDTH, 2 * WIDTH, 3, padding=1, bias=False)
            self.bn3 = nn.BatchNorm2d(2 * WIDTH)
        else:
            self.conv1 = nn.Conv2d(3, WIDTH, 7, stride=2, padding=3, bias=False)
            self.bn1 = nn.BatchNorm2d(WIDTH)
        self.inplanes = 2 * WIDTH if deep else WIDTH
        self.layer1 = self._make_layer(Bottleneck, WIDTH, LAYERS[0])
        self.layer2 = self._make_layer(Bottleneck, 2 * WIDTH, LAYERS[1], stride=2)
        self.layer3 = self._make_layer(Bottleneck, 4 * WIDTH, LAYERS[2], stride=2, dilate=True)
        self.layer4 = self._make_layer(Bottleneck, 8 * WIDTH, LAYERS[3], stride=2, dilate=True)
        if whole:
            for stage, dilation in ((self.layer3, 2), (self.layer4, 4)):
                for block in stage:
                    block.conv2.dilation = block.conv2.padding = (dilation, dilation)

    def forward(self, x):
        x = F.relu(self.bn1(self.conv1(x)))
        if self.deep:
            x = F.relu(self.bn2(self.conv2(x)))
            x = F.relu(self.bn3(self.conv3(x)))
        x = self.layer2(self.layer1(F.max_pool2d(x, 3, stride=2, padding=1)))
        third = self.layer3(x)
        return third, self.layer4(third)


def unit(inputs, outputs, kernel=1):
    return [nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()]


def head(inputs, middle, kernel):
    return nn.Sequential(*unit(inputs, middle, kernel), nn.Conv2d(middle, CLASSES, 1))


class PyramidPooling(nn.Module):
    """The map, and its means over 1, 4, 9 and 36 regions, upsampled with aligned corners."""

    def __init__(self, inputs, channels):
        super().__init__()
        self.levels = nn.ModuleList(
            nn.Sequential(nn.AdaptiveAvgPool2d(bins), *unit(inputs, channels)) for bins in (1, 2, 3, 6)
        )

    def forward(self, x):
        up = lambda y: F.interpolate(y, x.shape[2:], mode="bilinear", align_corners=True)
        return torch.cat([x, *(up(level(x)) for level in self.levels)], 1)


class Dilated(nn.Module):
    """DDC-AT's pyramid: torchvision's without projection, at other rates."""

    def __init__(self, inputs, channels):
        super().__init__()
        self.convs = ASPP(inputs, [6, 12, 18], channels).convs

    def forward(self, x):
        return torch.cat([conv(x) for conv in self.convs], 1)


class Network(nn.Module):
    def __init__(self, backbone, pyramid, classifier, auxiliary, align_corners):
        super().__init__()
        self.backbone, self.pyramid, self.classifier = backbone, pyramid, classifier
        self.auxiliary, self.align_corners = auxiliary, align_corners

    def forward(self, image):
        constant = lambda values: torch.tensor(values, dtype=torch.float32).to(image.dtype).reshape(1, 3, 1, 1)
        third, fourth = self.backbone((image - constant(MEAN)) / constant(STD))
        return self.classifier(self.pyramid(fourth)), self.auxiliary(third)

    def loss(self, logits, label):
        full = F.interpolate(logits, label.shape[1:], mode="bilinear", align_corners=self.align_corners)
        return F.cross_entropy(full, label, ignore_index=255)


def pspnet(deep):
    third, fourth = 16 * WIDTH, 32 * WIDTH
    pyramid = PyramidPooling(fourth, 8 * WIDTH)
    main, auxiliary = head(2 * fourth, 8 * WIDTH, 3), head(third, third // 4, 3)
    return Network(SmallResNet(deep, whole=True), pyramid, main, auxiliary, align_corners=True), 0.4


def deeplabv3_torchvision():
    third, fourth, channels = 16 * WIDTH, 32 * WIDTH, 4 * WIDTH
    pyramid = ASPP(fourth, [12, 24, 36], channels)
    auxiliary = FCNHead(third, CLASSES)
    return Network(SmallResNet(False, False), pyramid, head(channels, channels, 3), auxiliary, False), 0.5


def deeplabv3_ddc_at():
    third, fourth, channels = 16 * WIDTH, 32 * WIDTH, 4 * WIDTH
    main, auxiliary = head(5 * channels, channels, 1), head(third, third // 4, 1)
    return Network(SmallResNet(True, True), Dilated(fourth, channels), main, auxiliary, True), 0.4


def fcn():
    third, fourth = 16 * WIDTH, 32 * WIDTH
    return Network(SmallResNet(False, False), nn.Identity(), FCNHead(fourth, CLASSES), FCNHead(third, CLASSES), False), 0.5


CASES = {
    "pspnet_v1": lambda: pspnet(False),
    "pspnet_v1c": lambda: pspnet(True),
    "deeplabv3_torchvision": deeplabv3_torchvision,
    "deeplabv3_ddc_at": deeplabv3_ddc_at,
    "fcn": fcn,
}


def our_name(name):
    """robustseg's name of a variable of `Network`."""
    part, rest = name.split(".", 1)
    if part == "backbone":
        return name
    owner, variable = rest.rsplit(".", 1)
    if part in ("classifier", "auxiliary"):
        prefix = "supervision." if part == "auxiliary" else ""
        if owner == "0":
            return f"{prefix}head.conv.{variable}"
        return f"{prefix}head.norm.{variable}" if owner == "1" else f"{prefix}classifier.{variable}"
    pieces = owner.split(".")
    if pieces[0] == "levels":
        layer = {"1": "conv", "2": "norm"}[pieces[2]]
        return f"psp.branches.{pieces[1]}.{layer}.{variable}"
    if pieces[0] == "project":
        layer = {"0": "conv", "1": "norm"}[pieces[1]]
        return f"aspp.project.{layer}.{variable}"
    index, layer = int(pieces[1]), int(pieces[2])
    if index == 4:
        return f"aspp.pool.{ {1: 'conv', 2: 'norm'}[layer] }.{variable}"
    return f"aspp.branches.{index}.{ {0: 'conv', 1: 'norm'}[layer] }.{variable}"


def results(network, weight, image, label, kept):
    """All golden tensors, in the precision of the arguments."""
    network.eval()
    image = image.clone().requires_grad_()
    logits, _ = network(image)
    (gradient,) = torch.autograd.grad(network.loss(logits, label), image)
    found = {"logits": logits.detach(), "input_gradient": gradient}
    network.train()
    for module in network.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    logits, auxiliary = network(image.detach())
    loss, auxiliary_loss = network.loss(logits, label), network.loss(auxiliary, label)
    (loss + weight * auxiliary_loss).backward()
    found |= {"train.loss": loss.detach(), "train.auxiliary_loss": auxiliary_loss.detach()}
    for name, parameter in network.named_parameters():
        if kept(our_name(name), parameter):
            found["train.gradient." + our_name(name)] = parameter.grad
    for name, statistic in network.named_buffers():
        if not name.endswith("num_batches_tracked"):
            found["train.after." + our_name(name)] = statistic.clone()
    return found


def kept(name, parameter):
    """The gradients that fit into a small file: those of vectors, and of some convolutions."""
    return parameter.dim() == 1 or parameter.numel() <= 1200


def main():
    torch.manual_seed(0)
    pixels = IMAGES * HEIGHT * WIDTH_OF_IMAGE
    image = hashed("image", 3 * pixels).reshape(IMAGES, 3, HEIGHT, WIDTH_OF_IMAGE)
    label = (hashed("label", pixels) * (CLASSES + 1)).long().reshape(IMAGES, HEIGHT, WIDTH_OF_IMAGE)
    label[label == CLASSES] = 255
    folder, errors = Path(__file__).parent, {}
    for case, build in CASES.items():
        network, weight = build()
        state = {name: initial(our_name(name), tensor.shape) for name, tensor in network.state_dict().items() if tensor.dim()}
        network.load_state_dict(state, strict=False)
        single = copy.deepcopy(network)
        golden = results(network.double(), weight, image, label, kept)
        rounded = results(single.float(), weight, image.float(), label, kept)
        relative = lambda a, b: ((a.double() - b).norm() / b.norm().clamp_min(1e-30)).item()
        errors[case] = {name: float(f"{relative(rounded[name], tensor):.1e}") for name, tensor in golden.items()}
        save_file({name: tensor.float().contiguous() for name, tensor in golden.items()}, folder / f"{case}.safetensors")
        worst = max(errors[case], key=errors[case].get)
        print(f"{case}: loss {golden['train.loss']:.4f}, largest error of f32 {errors[case][worst]:.1e} in {worst}")
    (folder / "f32_error.json").write_text(json.dumps(errors, indent=0) + "\n")


if __name__ == "__main__":
    main()
