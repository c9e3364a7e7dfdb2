"""Writes the files of this folder: python make.py (PyTorch 2.11, torchvision 0.26, timm 1.0, transformers 5).

KIND_SIZE.pth is a checkpoint as the program of that kind writes it. Files of the size `tiny` hold random weights, and
KIND_tiny.safetensors an image in [0, 1] with the logits that PyTorch computes. The tensors of other files have their full
shapes but share one zero, so that the files are small.
"""

import re
import tempfile
from pathlib import Path

import timm
import torch
import torch.nn.functional as F
import torchvision
from safetensors.torch import load_file, save_file
from torch import nn
from torchvision.models._utils import IntermediateLayerGetter
from torchvision.models.resnet import Bottleneck, ResNet
from torchvision.models.segmentation.deeplabv3 import ASPP, DeepLabV3
from torchvision.models.segmentation.fcn import FCN
from transformers import ConvNextConfig, SegformerConfig, SegformerForSemanticSegmentation
from transformers import UperNetConfig, UperNetForSemanticSegmentation

HERE = Path(__file__).parent
LAYERS, WIDTH, CLASSES = (1, 2, 1, 1), 1, 3
MEAN, STD = (torch.tensor(v).reshape(1, 3, 1, 1) for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))


def hollow(name, weights, wrap=lambda weights: weights):
    zero, counter = (torch.zeros(1, dtype=dtype, device="cpu") for dtype in (torch.float32, torch.int64))
    shared = {
        key: (zero if value.is_floating_point() else counter)[0].expand(value.shape) for key, value in weights.items()
    }
    torch.save(wrap(shared), HERE / f"{name}.pth", _use_new_zipfile_serialization=False)


def prefixed(prefix, weights):
    return {prefix + name: value for name, value in weights.items()}


class Trunk(ResNet):
    """torchvision's ResNet of bottlenecks with LAYERS and WIDTH at output stride 8. With `deep` its stem and its dilations
    are semseg's."""

    def __init__(self, deep):
        nn.Module.__init__(self)
        self._norm_layer, self.groups, self.base_width, self.dilation = nn.BatchNorm2d, 1, 64, 1
        if deep:
            stem = [unit(3, WIDTH, 3, 2), unit(WIDTH, WIDTH, 3), unit(WIDTH, 2 * WIDTH, 3)]
            self.layer0 = nn.Sequential(*(layer for part in stem for layer in part), nn.MaxPool2d(3, 2, 1))
        else:
            self.conv1 = nn.Conv2d(3, WIDTH, 7, 2, 3, bias=False)
            self.bn1, self.relu, self.maxpool = nn.BatchNorm2d(WIDTH), nn.ReLU(), nn.MaxPool2d(3, 2, 1)
        self.inplanes = 2 * WIDTH if deep else WIDTH
        for stage, blocks in enumerate(LAYERS):
            stride, dilate = (1 if stage == 0 else 2), stage > 1
            layer = self._make_layer(Bottleneck, WIDTH << stage, blocks, stride, dilate)
            for block in layer if deep and dilate else ():
                block.conv2.dilation = block.conv2.padding = (2 ** (stage - 1),) * 2
            setattr(self, f"layer{stage + 1}", layer)


def unit(inputs, outputs, kernel, stride=1):
    convolution = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False)
    return [convolution, nn.BatchNorm2d(outputs), nn.ReLU()]


def head(inputs, middle, kernel, classes=CLASSES):
    return nn.Sequential(*unit(inputs, middle, kernel), nn.Dropout2d(0.1), nn.Conv2d(middle, classes, 1))


def enlarged(x, like):
    return F.interpolate(x, like.shape[2:], mode="bilinear", align_corners=True)


class Pyramid(nn.Module):
    def __init__(self, inputs, channels):
        super().__init__()
        level = lambda bins: nn.Sequential(nn.AdaptiveAvgPool2d(bins), *unit(inputs, channels, 1))
        self.features = nn.ModuleList(level(bins) for bins in (1, 2, 3, 6))

    def forward(self, x):
        return torch.cat([x, *(enlarged(level(x), x) for level in self.features)], 1)


class Dilated(nn.Module):
    """Branches of torchvision's pyramid, without its projection."""

    def __init__(self, inputs, channels):
        super().__init__()
        self.convs = ASPP(inputs, [6, 12, 18], channels).convs
        self.convs[4] = nn.Sequential(nn.AdaptiveAvgPool2d(1), *unit(inputs, channels, 1))

    def forward(self, x):
        return torch.cat([enlarged(branch(x), x) for branch in self.convs], 1)


class Semseg(Trunk):
    """A network with the names of semseg: `heads` by name, of which the first counts."""

    def __init__(self, name, pyramid, heads):
        super().__init__(deep=True)
        self.pyramid, self.main = name, next(iter(heads))
        setattr(self, name, pyramid)
        for name, part in heads.items():
            setattr(self, name, part)

    def forward(self, image):
        x = (image - MEAN) / STD
        for layer in (self.layer0, self.layer1, self.layer2, self.layer3, self.layer4, getattr(self, self.pyramid)):
            x = layer(x)
        return enlarged(getattr(self, self.main)(x), image)


class Torchvision(nn.Module):
    def __init__(self, network, classifier):
        super().__init__()
        stages = {"layer4": "out", "layer3": "aux"}
        auxiliary = head(16 * WIDTH, 4 * WIDTH, 3)
        self.network = network(IntermediateLayerGetter(Trunk(deep=False), stages), classifier, auxiliary)

    def forward(self, image):
        return self.network((image - MEAN) / STD)["out"]


def tiny_networks():
    third, fourth = 16 * WIDTH, 32 * WIDTH
    psp, aspp = Pyramid(fourth, 8 * WIDTH), Dilated(fourth, 4 * WIDTH)
    wide, flat = (2 * fourth, 8 * WIDTH, 3), (20 * WIDTH, 4 * WIDTH, 1)
    auxiliary = (third, third // 4)
    divided = lambda shape, kernel: {
        "cls1": head(*shape), "mask1": head(*shape, 2), "cls2": head(*shape), "aux_cls1": head(*auxiliary, kernel)
    }
    classifier = nn.Sequential(ASPP(fourth, [12, 24, 36], 4 * WIDTH), *head(4 * WIDTH, 4 * WIDTH, 3))
    del classifier[4]  # DeepLabHead has no dropout here
    return {
        "semseg-pspnet": Semseg("ppm", psp, {"cls": head(*wide), "aux": head(*auxiliary, 3)}),
        "ddcat-pspnet": Semseg("ppm", psp, divided(wide, 3)),
        "ddcat-deeplabv3": Semseg("aspp", aspp, divided(flat, 1)),
        "torchvision-deeplabv3": Torchvision(DeepLabV3, classifier),
        "torchvision-fcn": Torchvision(FCN, head(fourth, 8 * WIDTH, 3)),
    }


class Transformers(nn.Module):
    """A network of transformers, whose logits are a quarter of the image's size or as large."""

    def __init__(self, network, mean=MEAN, std=STD):
        super().__init__()
        self.network, self.mean, self.std = network, mean, std

    def forward(self, image):
        logits = self.network(pixel_values=(image - self.mean) / self.std).logits
        return F.interpolate(logits, image.shape[2:], mode="bilinear", align_corners=False)

    def weights(self):
        """With the names that transformers writes to files."""
        with tempfile.TemporaryDirectory() as folder:
            self.network.save_pretrained(folder)
            return load_file(f"{folder}/model.safetensors")


class Channels(nn.LayerNorm):
    def forward(self, x):
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class Stem(nn.Module):
    """The convolutional stem of SEA's ConvNeXt."""

    def __init__(self, width):
        super().__init__()
        layer = lambda inputs, outputs: [nn.Conv2d(inputs, outputs, 3, 2, 1), Channels(outputs, eps=1e-6), nn.GELU()]
        self.stem = nn.Sequential(*layer(3, width // 2), *layer(width // 2, width))

    def forward(self, pixel_values):
        return self.stem(pixel_values)


class Sea(Transformers):
    """transformers' UPerNet with another stem, under the names of SEA's program, which does not normalise."""

    NAMES = (
        (r"backbone\.embeddings\.", "backbone.downsample_layers.0."),
        (r"backbone\.encoder\.stages\.(\d)\.downsampling_layer\.", r"backbone.downsample_layers.\1."),
        (r"backbone\.encoder\.stages\.(\d)\.layers\.(\d)\.", r"backbone.stages.\1.\2."),
        (r"\.layernorm\.", ".norm."),
        ("layer_scale_parameter", "gamma"),
        (r"backbone\.hidden_states_norms\.stage(\d)", lambda match: f"backbone.norm{int(match[1]) - 1}"),
    )

    def weights(self):
        weights = {}
        for name, tensor in self.network.state_dict().items():
            for pattern, replacement in self.NAMES:
                name = re.sub(pattern, replacement, name)
            weights[name] = tensor
        return weights


def upernet():
    stages = ["stage1", "stage2", "stage3", "stage4"]
    backbone = ConvNextConfig(depths=[1, 2, 1, 1], hidden_sizes=[8, 4, 6, 6], out_features=stages)
    return UperNetForSemanticSegmentation(
        UperNetConfig(
            backbone_config=backbone,
            hidden_size=6,
            auxiliary_in_channels=6,
            auxiliary_channels=3,
            num_labels=CLASSES,
        )
    )


def transformers_networks():
    sea = upernet()
    sea.backbone.embeddings = Stem(8)
    segformer = SegformerConfig(
        depths=[1, 2, 1, 1],
        hidden_sizes=[4, 4, 10, 8],
        sr_ratios=[4, 2, 2, 1],
        decoder_hidden_size=6,
        num_labels=CLASSES,
    )
    return {
        "transformers-upernet-convnext": Transformers(upernet()),
        "transformers-segformer": Transformers(SegformerForSemanticSegmentation(segformer)),
        "sea-upernet-convnext": Sea(sea, 0.0, 1.0),
    }


def tiny(name, network, size=(17, 25), suffix="tiny"):
    for key, value in [*network.named_parameters(), *network.named_buffers()]:
        if value.is_floating_point():
            numbers = (1.0 if value.dim() == 1 else 0.0) + 0.3 * torch.randn(value.shape)
            numbers = numbers.abs() + 0.5 if key.endswith("running_var") else numbers
            value.data = numbers.half().float()
    image = torch.randint(256, (1, 3, *size)) / 255
    with torch.no_grad():
        logits = network.eval()(image)
    save_file({"image": image, "logits": logits}, HERE / f"{name}_{suffix}.safetensors")
    weights = network.weights() if hasattr(network, "weights") else getattr(network, "network", network).state_dict()
    if isinstance(network, Semseg):
        # With DataParallel, next to the state of the training; DDC-AT is of the time before zip files.
        weights = prefixed("module.", {key: value.half() if value.dim() else value for key, value in weights.items()})
        weights = {"epoch": 50, "state_dict": weights, "optimizer": {"state": {}, "param_groups": []}}
    torch.save(weights, HERE / f"{name}_{suffix}.pth", _use_new_zipfile_serialization="ddcat" not in name)


def main():
    torch.manual_seed(0)
    for name, network in tiny_networks().items():
        tiny(name, network)
    for name, network in transformers_networks().items():
        tiny(name, network, (41, 57))
    with torch.device("meta"):
        networks, backbones = torchvision.models.segmentation, torchvision.models
        options = {"weights": None, "weights_backbone": None, "num_classes": 21}
        auxiliary = {"aux_loss": True}
        hollow("torchvision-deeplabv3_101", networks.deeplabv3_resnet101(**options, **auxiliary).state_dict())
        hollow("torchvision-fcn_50", networks.fcn_resnet50(**options).state_dict())
        resnet = backbones.resnet50().state_dict()
        hollow("torchvision-resnet_50", resnet)
        # The program `robustness` saves a model that normalises, and the attack that wraps it.
        robust = prefixed("module.model.", resnet) | prefixed("module.attacker.model.", resnet)
        robust |= {"module.normalizer.new_mean": torch.zeros(3, 1, 1)}
        hollow("torchvision-resnet_robust", robust, lambda weights: {"epoch": 90, "model": weights})
        hollow("timm-resnet_v1", timm.create_model("resnet101").state_dict())
        hollow("timm-resnet_s", timm.create_model("resnet50s").state_dict())
        hollow("timm-resnet_v2", timm.create_model("resnetv2_50").state_dict(), lambda w: {"state_dict": w})
    # transformers 5 names the tensors of a network in memory differently from those in its files.
    segformer = transformers_networks()["transformers-segformer"]
    segformer.weights = segformer.network.state_dict
    tiny("transformers-segformer", segformer, (41, 57), "state")


if __name__ == "__main__":
    main()
