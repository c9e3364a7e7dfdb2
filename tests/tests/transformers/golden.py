"""Makes the golden cases of SegFormer and of UPerNet on ConvNeXt in this folder, with transformers in PyTorch's f64.

    python tests/tests/transformers/golden.py

Needs torch, transformers and safetensors. The networks are small, the images of odd sizes. Weights are random and rounded to
f32 first. Images and labels come from `hashed`, which case.rs has too. To keep files small, logits are those before the
upsampling, and of the image's gradient every fourth row is stored. `f32_error.json` has the error of PyTorch's own f32 for
each tensor.
"""

import json
import os
import re

import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import nn
from transformers import (
    ConvNextConfig,
    SegformerConfig,
    SegformerForSemanticSegmentation,
    UperNetConfig,
    UperNetForSemanticSegmentation,
)

HERE = os.path.dirname(os.path.abspath(__file__))
IGNORE, IMAGES, CLASSES, EVERY = 255, 3, 3, 4
# The weight of the loss of UPerNet's auxiliary head.
AUXILIARY = 0.4
# Variables whose gradients and updates are kept: some of each kind, from the first layer to the last.
SEGFORMER = (
    "backbone.patch_embeddings.0.proj.weight",
    "backbone.patch_embeddings.0.layer_norm.weight",
    "backbone.block.0.0.attention.self.query.weight",
    "backbone.block.0.0.attention.self.key.weight",
    "backbone.block.0.0.attention.self.value.bias",
    "backbone.block.0.0.attention.self.sr.weight",
    "backbone.block.0.0.attention.self.layer_norm.bias",
    "backbone.block.0.0.mlp.dwconv.dwconv.weight",
    "backbone.block.1.1.mlp.dense2.weight",
    "backbone.block.1.1.mlp.dense2.bias",
    "backbone.layer_norm.2.weight",
    "decode_head.linear_c.0.proj.weight",
    "decode_head.linear_c.3.proj.weight",
    "decode_head.linear_fuse.weight",
    "decode_head.batch_norm.weight",
    "decode_head.batch_norm.running_var",
    "decode_head.classifier.weight",
    "decode_head.classifier.bias",
)
STEMS = {
    "patches": ("backbone.embeddings.patch_embeddings.weight", "backbone.embeddings.layernorm.bias"),
    "convolutions": (
        "backbone.embeddings.stem.0.weight",
        "backbone.embeddings.stem.1.weight",
        "backbone.embeddings.stem.3.bias",
        "backbone.embeddings.stem.4.bias",
    ),
}
UPERNET = (
    "backbone.encoder.stages.0.layers.0.dwconv.weight",
    "backbone.encoder.stages.0.layers.0.layernorm.weight",
    "backbone.encoder.stages.0.layers.0.pwconv1.weight",
    "backbone.encoder.stages.0.layers.0.layer_scale_parameter",
    "backbone.encoder.stages.0.layers.0.pwconv2.bias",
    "backbone.encoder.stages.2.layers.1.layer_scale_parameter",
    "backbone.encoder.stages.1.downsampling_layer.0.weight",
    "backbone.encoder.stages.1.downsampling_layer.1.weight",
    "backbone.hidden_states_norms.stage3.weight",
    "decode_head.psp_modules.1.1.conv.weight",
    "decode_head.bottleneck.batch_norm.running_mean",
    "decode_head.lateral_convs.1.conv.weight",
    "decode_head.fpn_convs.2.conv.weight",
    "decode_head.fpn_bottleneck.conv.weight",
    "decode_head.fpn_bottleneck.batch_norm.bias",
    "decode_head.classifier.weight",
    "auxiliary_head.convs.0.conv.weight",
    "auxiliary_head.classifier.bias",
)
# The names of transformers' modules in its SegFormer, and those of its files, but for the prefix.
RENAMED = (
    (r"^segformer\.stages\.(\d)\.patch_embeddings\.", r"backbone.patch_embeddings.\1."),
    (r"^segformer\.stages\.(\d)\.blocks\.", r"backbone.block.\1."),
    (r"^segformer\.stages\.(\d)\.layer_norm\.", r"backbone.layer_norm.\1."),
    (r"attention\.q_proj", "attention.self.query"),
    (r"attention\.k_proj", "attention.self.key"),
    (r"attention\.v_proj", "attention.self.value"),
    (r"attention\.sequence_reduction\.sequence_reduction", "attention.self.sr"),
    (r"attention\.sequence_reduction\.layer_norm", "attention.self.layer_norm"),
    (r"attention\.o_proj", "attention.output.dense"),
    (r"layernorm_before", "layer_norm_1"),
    (r"layernorm_after", "layer_norm_2"),
    (r"mlp\.fc", "mlp.dense"),
    (r"linear_projections", "linear_c"),
)


def renamed(name):
    for pattern, replacement in RENAMED:
        name = re.sub(pattern, replacement, name)
    return name


def outside(tensor):
    """A tensor as our files have it: linear layers are convolutions of one pixel."""
    return tensor[:, :, None, None] if tensor.dim() == 2 else tensor


def segformer():
    settings = {
        "depths": [1, 2, 1, 1],
        "widths": [4, 4, 6, 8],
        "heads": [1, 2, 3, 2],
        "reductions": [3, 2, 2, 1],
        "decoder_channels": 6,
        "drop_path": 0.0,
    }
    config = SegformerConfig(
        depths=settings["depths"],
        hidden_sizes=settings["widths"],
        num_attention_heads=settings["heads"],
        sr_ratios=settings["reductions"],
        decoder_hidden_size=settings["decoder_channels"],
        drop_path_rate=0.0,
        classifier_dropout_prob=0.0,
        num_labels=CLASSES,
    )
    return SegformerForSemanticSegmentation(config), {"network": "segformer", **settings}, SEGFORMER, renamed


class Channels(nn.LayerNorm):
    """Layer norm over the channels of (N, C, H, W)."""

    def forward(self, x):
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class ConvolutionalStem(nn.Module):
    """The stem of SEA's ConvNeXt in place of transformers' patches."""

    def __init__(self, width):
        super().__init__()
        layer = lambda inputs, outputs: (
            nn.Conv2d(inputs, outputs, 3, stride=2, padding=1),
            Channels(outputs, eps=1e-6),
            nn.GELU(),
        )
        self.stem = nn.Sequential(*layer(3, width // 2), *layer(width // 2, width))

    def forward(self, pixel_values):
        return self.stem(pixel_values)


def upernet(stem):
    settings = {
        "depths": [1, 1, 2, 1],
        # Layer norm of two channels would leave signs alone.
        "dims": [4 if stem == "patches" else 8, 4, 6, 6],
        "stem": stem,
        "head_channels": 6,
        "drop_path": 0.0,
        "auxiliary_loss": AUXILIARY,
    }
    backbone = ConvNextConfig(
        depths=settings["depths"],
        hidden_sizes=settings["dims"],
        drop_path_rate=0.0,
        out_features=["stage1", "stage2", "stage3", "stage4"],
    )
    config = UperNetConfig(
        backbone_config=backbone,
        hidden_size=settings["head_channels"],
        auxiliary_loss_weight=AUXILIARY,
        auxiliary_in_channels=settings["dims"][2],
        auxiliary_channels=settings["head_channels"] // 2,
        num_labels=CLASSES,
    )
    network = UperNetForSemanticSegmentation(config)
    if stem == "convolutions":
        network.backbone.embeddings = ConvolutionalStem(settings["dims"][0])
    return network, {"network": "upernet", **settings}, STEMS[stem] + UPERNET, lambda name: name


def randomise(network):
    """Random weights, biases, scales and running statistics, none of them near an edge case."""
    generator = torch.Generator().manual_seed(1)
    normal = lambda shape: torch.randn(shape, generator=generator, dtype=torch.float64)
    for name, tensor in network.state_dict().items():
        if tensor.dtype == torch.int64:
            continue
        if name.endswith("running_var"):
            value = 0.5 + normal(tensor.shape).abs()
        elif tensor.dim() > 1:
            value = normal(tensor.shape) * (1.5 / tensor[0].numel()) ** 0.5
        elif name.endswith("bias") or name.endswith("running_mean"):
            value = 0.2 * normal(tensor.shape)
        else:
            value = 1 + 0.2 * normal(tensor.shape)
        tensor.copy_(value.float())


def hashed(key, count):
    """`count` random integers in [0, 256)."""
    numbers = (torch.arange(count, dtype=torch.int64) * 2654435761 + key) % 2**32
    numbers = (numbers ^ (numbers >> 15)) * 2246822519 % 2**32
    return (numbers ^ (numbers >> 13)) >> 24 & 255


def logits(network, image):
    """The logits before the upsampling, and after it."""
    small = []
    decoder = network.decode_head
    hook = decoder.register_forward_hook(lambda module, inputs, output: small.append(output))
    x = network(pixel_values=(image - 0.5) / 0.5).logits
    hook.remove()
    return small[0], F.interpolate(x, size=image.shape[2:], mode="bilinear", align_corners=False)


def results(network, name_of, kept, image, label):
    """All tensors of a case that the numbers' type decides."""
    out = {}
    network.eval()
    image = image.clone().requires_grad_()
    small, full = logits(network, image)
    losses = F.cross_entropy(full, label, ignore_index=IGNORE, reduction="none").flatten(1).sum(1)
    losses = losses / (label != IGNORE).flatten(1).sum(1)
    out["logits"], out["cross_entropy"] = small, losses
    (gradient,) = torch.autograd.grad(losses.sum(), image)
    out["cross_entropy_input_gradient"] = gradient[:, :, ::EVERY]
    network.train()
    optimiser = torch.optim.SGD(network.parameters(), lr=0.01, momentum=0.9, weight_decay=1e-4)
    for step in range(2):
        optimiser.zero_grad()
        output = network(pixel_values=(image.detach() - 0.5) / 0.5, labels=label)
        output.loss.backward()
        if step == 0:
            out["train.loss"] = output.loss
            for name, parameter in network.named_parameters():
                if name_of(name) in kept:
                    out["train.gradient." + name_of(name)] = outside(parameter.grad.clone())
        optimiser.step()
    for name, tensor in network.state_dict().items():
        if name_of(name) in kept:
            out["train.after_two_steps." + name_of(name)] = outside(tensor)
    return {name: tensor.detach().double().clone() for name, tensor in out.items()}


def make(case, build, size):
    torch.manual_seed(0)
    network, settings, kept, name_of = build()
    network = network.double()
    randomise(network)
    state = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    pixels = IMAGES * size[0] * size[1]
    image = hashed(1, 3 * pixels).reshape(IMAGES, 3, *size).double() / 256
    label = hashed(2, pixels).reshape(IMAGES, *size) % (CLASSES + 1)
    label[label == CLASSES] = IGNORE
    exact = results(network, name_of, kept, image, label)
    missing = [name for name in kept if "train.after_two_steps." + name not in exact]
    assert not missing, missing
    network.load_state_dict(state)
    single = results(network.float(), name_of, kept, image.float(), label)
    error = lambda name: float((single[name] - exact[name]).norm() / exact[name].norm())
    errors = {name: error(name) for name in exact}
    stored = {name: tensor.float() for name, tensor in exact.items()}
    folder = os.path.join(HERE, case)
    os.makedirs(folder, exist_ok=True)
    model = {name_of(name): outside(tensor).float() for name, tensor in state.items() if tensor.dtype != torch.int64}
    metadata = {**settings, "num_classes": CLASSES, "mean": [0.5] * 3, "std": [0.5] * 3}
    contiguous = lambda tensors: {name: tensor.contiguous() for name, tensor in tensors.items()}
    save_file(contiguous(model), os.path.join(folder, "model.safetensors"), {"model": json.dumps(metadata)})
    save_file(contiguous(stored), os.path.join(folder, "case.safetensors"))
    with open(os.path.join(folder, "f32_error.json"), "w") as file:
        json.dump(errors, file, indent=1, sort_keys=True)
        file.write("\n")


if __name__ == "__main__":
    torch.set_num_threads(1)
    make("segformer", segformer, (37, 45))
    make("upernet_convnext", lambda: upernet("patches"), (69, 101))
    make("upernet_convolutions", lambda: upernet("convolutions"), (69, 101))
