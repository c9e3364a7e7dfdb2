"""Loads a robustseg checkpoint of PSPNet into PyTorch, with the same logits, and writes one.

    from load_checkpoint import load, save
    network, model, classes = load("last.safetensors")
    logits = network(image)                      # image (N, 3, H, W) in [0, 1], logits (N, K, H, W)
    save(network, model, classes, "further.safetensors")

`model` is the description in the file, and `classes` are its classes, or None. The module's variables have the names of
the checkpoint. Heads that training alone uses are left out. robustseg takes the file that `save` writes.

As a program it compares itself with logits that robustseg wrote:

    python load_checkpoint.py CHECKPOINT [adversarial.safetensors]

where the second file is one of `robustseg attack --input CASE`, or has `image` and `logits`. Needs torch and safetensors, and
timm for the backbone `resnet_v2`.
"""

import json
import sys

import torch
import torch.nn.functional as F
from safetensors import safe_open
from safetensors.torch import save_file
from torch import nn

BINS = (1, 2, 3, 6)


class Unit(nn.Module):
    """A convolution, batch norm and ReLU."""

    def __init__(self, inputs, outputs, kernel):
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, bias=False)
        self.norm = nn.BatchNorm2d(outputs)

    def forward(self, x):
        return F.relu(self.norm(self.conv(x)))


class Bottleneck(nn.Module):
    """A block of ResNet v1, with the stride in the 3x3 convolution."""

    def __init__(self, inputs, outputs, stride, dilation, first):
        super().__init__()
        middle = outputs // 4
        self.conv1, self.bn1 = nn.Conv2d(inputs, middle, 1, bias=False), nn.BatchNorm2d(middle)
        self.conv2 = nn.Conv2d(middle, middle, 3, stride, dilation, dilation, bias=False)
        self.bn2 = nn.BatchNorm2d(middle)
        self.conv3, self.bn3 = nn.Conv2d(middle, outputs, 1, bias=False), nn.BatchNorm2d(outputs)
        shortcut = [nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs)]
        self.downsample = nn.Sequential(*shortcut) if first else nn.Identity()

    def forward(self, x):
        y = F.relu(self.bn1(self.conv1(x)))
        y = F.relu(self.bn2(self.conv2(y)))
        return F.relu(self.bn3(self.conv3(y)) + self.downsample(x))


class ResNetV1(nn.Module):
    """ResNet v1 at output stride 8: the 3x3 convolutions of the last two stages have dilations 2 and 4."""

    def __init__(self, layers, width, deep):
        super().__init__()
        stem = [(width, 3, 2), (width, 3, 1), (2 * width, 3, 1)] if deep else [(width, 7, 2)]
        self.stem, channels = len(stem), 3
        for index, (outputs, kernel, stride) in enumerate(stem, 1):
            convolution = nn.Conv2d(channels, outputs, kernel, stride, kernel // 2, bias=False)
            setattr(self, f"conv{index}", convolution)
            setattr(self, f"bn{index}", nn.BatchNorm2d(outputs))
            channels = outputs
        for stage, (blocks, stride, dilation) in enumerate(zip(layers, (1, 2, 1, 1), (1, 1, 2, 4))):
            inputs, channels = channels, 4 * width << stage
            first = Bottleneck(inputs, channels, stride, dilation, True)
            more = (Bottleneck(channels, channels, 1, dilation, False) for _ in range(1, blocks))
            setattr(self, f"layer{stage + 1}", nn.Sequential(first, *more))
        self.num_features = channels

    def forward_features(self, x):
        for index in range(1, self.stem + 1):
            x = F.relu(getattr(self, f"bn{index}")(getattr(self, f"conv{index}")(x)))
        x = F.max_pool2d(x, 3, 2, 1)
        return self.layer4(self.layer3(self.layer2(self.layer1(x))))


def resnet_v2(layers, width):
    """timm's pre-activation ResNet at output stride 8."""
    from timm.layers import BatchNormAct2d, create_conv2d, make_divisible
    from timm.models.resnetv2 import ResNetV2

    return ResNetV2(
        layers=layers,
        channels=[make_divisible(factor * width) for factor in (4, 8, 16, 32)],
        stem_chs=make_divisible(width),
        num_classes=0,
        global_pool="",
        output_stride=8,
        norm_layer=BatchNormAct2d,
        conv_layer=create_conv2d,
    )


BACKBONES = {
    "resnet_v2": resnet_v2,
    "resnet_v1": lambda layers, width: ResNetV1(layers, width, deep=False),
    "resnet_v1c": lambda layers, width: ResNetV1(layers, width, deep=True),
}


class PspNet(nn.Module):
    """PSPNet that a checkpoint's key `model` describes."""

    def __init__(self, model):
        super().__init__()
        width, classes = model["width"], model["num_classes"]
        self.align_corners = model.get("upsampling", "half_pixel") == "align_corners"
        for name in ("mean", "std"):
            self.register_buffer(name, torch.tensor(model[name]).view(1, 3, 1, 1), persistent=False)
        self.backbone = BACKBONES[model.get("backbone", "resnet_v2")](model["layers"], width)
        inputs = self.backbone.num_features
        self.psp = nn.ModuleDict({"branches": nn.ModuleList(Unit(inputs, 8 * width, 1) for _ in BINS)})
        self.head = Unit(inputs + len(BINS) * 8 * width, 8 * width, 3)
        self.dropout = nn.Dropout2d(0.1)
        self.classifier = nn.Conv2d(8 * width, classes, 1)

    def forward(self, image):
        x = self.backbone.forward_features((image - self.mean) / self.std)
        levels = [branch(F.adaptive_avg_pool2d(x, bins)) for bins, branch in zip(BINS, self.psp["branches"])]
        x = torch.cat([x, *(self.enlarged(level, x) for level in levels)], 1)
        return self.enlarged(self.classifier(self.dropout(self.head(x))), image)

    def enlarged(self, x, like):
        return F.interpolate(x, like.shape[2:], mode="bilinear", align_corners=self.align_corners)


def load(path):
    """The network in the checkpoint at `path` in evaluation mode, its description, and its classes or None."""
    with safe_open(path, "pt") as file:
        metadata = file.metadata() or {}
        if "model" not in metadata:
            sys.exit(f"{path} is no checkpoint of robustseg: it has no metadata `model`")
        weights = {name: file.get_tensor(name) for name in file.keys()}
    model = json.loads(metadata["model"])
    if model.get("network", "pspnet") != "pspnet":
        sys.exit(f"{path} holds {model['network']}, but this file builds PSPNet alone")
    # Heads that training alone uses.
    model.pop("auxiliary_loss", None)
    names = [branch["name"] for branch in model.pop("branches", [])]
    names += ["auxiliary", "mask"] if model.pop("divided", False) else []
    others = tuple(f"{name}." for name in ["supervision", *names])
    weights = {name: tensor for name, tensor in weights.items() if not name.startswith(others)}
    network = PspNet(model)
    missing, unexpected = network.load_state_dict(weights, strict=False)
    missing = [name for name in missing if not name.endswith("num_batches_tracked")]
    if missing or unexpected:
        sys.exit(f"{path} does not fit: missing {missing}, unexpected {unexpected}")
    classes = json.loads(metadata["classes"]) if "classes" in metadata else None
    return network.eval(), model, classes


def save(network, model, classes, path):
    """Writes a checkpoint that robustseg takes."""
    weights = {
        name: tensor.detach().float().cpu().contiguous()
        for name, tensor in network.state_dict().items()
        if not name.endswith("num_batches_tracked")
    }
    metadata = {"model": json.dumps(model)} | ({"classes": json.dumps(classes)} if classes else {})
    save_file(weights, path, metadata)


def difference(network, path):
    """The largest difference from the logits in the file at `path`, in units of their largest magnitude."""
    with safe_open(path, "pt") as file:
        names = ("image", "logits") if "logits" in file.keys() else ("adversarial", "logits_adversarial")
        image, expected = (file.get_tensor(name) for name in names)
    with torch.no_grad():
        return float((network(image) - expected).abs().max() / expected.abs().max())


def main():
    if len(sys.argv) not in (2, 3):
        sys.exit(__doc__)
    network, model, classes = load(sys.argv[1])
    parameters = sum(parameter.numel() for parameter in network.parameters())
    print(f"{model['num_classes']} classes, {parameters} parameters")
    if classes:
        print(", ".join(entry["name"] for entry in classes))
    if len(sys.argv) == 3:
        far = difference(network, sys.argv[2])
        print(f"largest difference of the logits: {far:.1e} of their largest")
        if not far < 1e-4:
            sys.exit(1)


if __name__ == "__main__":
    main()
