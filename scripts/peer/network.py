"""PSPNet on a pre-activation ResNet at an eighth of the image's size, in plain PyTorch: the network that robustseg trains."""
import torch
import torch.nn.functional as F
from torch import nn

IGNORE = 255
BINS = (1, 2, 3, 6)
# Stride, dilation of the first block, and dilation of the others, for each of the four stages.
STAGES = ((1, 1, 1), (2, 1, 1), (1, 1, 2), (1, 2, 4))


def convolution(inputs, outputs, kernel, stride=1, dilation=1):
    return nn.Conv2d(inputs, outputs, kernel, stride, dilation * (kernel // 2), dilation, bias=False)


class Bottleneck(nn.Module):
    """Batch norm and ReLU before each of three convolutions."""

    def __init__(self, inputs, outputs, stride, dilation, projected):
        super().__init__()
        inner = outputs // 4
        self.norms = nn.ModuleList(nn.BatchNorm2d(channels) for channels in (inputs, inner, inner))
        self.convolutions = nn.ModuleList([
            convolution(inputs, inner, 1), convolution(inner, inner, 3, stride, dilation), convolution(inner, outputs, 1),
        ])
        self.projection = convolution(inputs, outputs, 1, stride) if projected else None

    def forward(self, x):
        activated = F.relu(self.norms[0](x))
        shortcut = x if self.projection is None else self.projection(activated)
        y = self.convolutions[0](activated)
        for norm, convolve in zip(self.norms[1:], self.convolutions[1:]):
            y = convolve(F.relu(norm(y)))
        return y + shortcut


class Unit(nn.Module):
    """A convolution, batch norm and ReLU."""

    def __init__(self, inputs, outputs, kernel):
        super().__init__()
        self.convolve, self.norm = convolution(inputs, outputs, kernel), nn.BatchNorm2d(outputs)

    def forward(self, x):
        return F.relu(self.norm(self.convolve(x)))


def enlarged(x, size):
    return F.interpolate(x, size, mode="bilinear", align_corners=False)


class Network(nn.Module):
    def __init__(self, classes, layers, width):
        super().__init__()
        self.stem = nn.Conv2d(3, width, 7, 2, 3, bias=False)
        blocks, channels = [], width
        for stage, (count, (stride, first, others)) in enumerate(zip(layers, STAGES)):
            outputs = 4 * width << stage
            for index in range(count):
                start = index == 0
                blocks.append(Bottleneck(channels, outputs, stride if start else 1, first if start else others, start))
                channels = outputs
        self.blocks, self.norm = nn.Sequential(*blocks), nn.BatchNorm2d(channels)
        self.branches = nn.ModuleList(Unit(channels, 8 * width, 1) for _ in BINS)
        self.head = Unit(channels + len(BINS) * 8 * width, 8 * width, 3)
        self.dropout, self.classifier = nn.Dropout2d(0.1), nn.Conv2d(8 * width, classes, 1)

    def forward(self, image):
        """Scores (N, K, H, W) of an image in [0, 1]."""
        x = F.max_pool2d(self.stem(2 * image - 1), 3, 2, 1)
        x = F.relu(self.norm(self.blocks(x)))
        pooled = [enlarged(branch(F.adaptive_avg_pool2d(x, bins)), x.shape[2:]) for bins, branch in zip(BINS, self.branches)]
        scores = self.classifier(self.dropout(self.head(torch.cat([x, *pooled], 1))))
        return enlarged(scores, image.shape[2:])


def twin_for_attacks(network, make):
    """A network of the same variables, in evaluation mode, that asks for no gradients of its weights: an attack needs the image's
    alone, and a compiled graph computes all that it is asked for."""
    twin = make().eval()
    for own, shared in zip(twin.parameters(), network.parameters()):
        own.data, own.requires_grad = shared.data, False
    for own, shared in zip(twin.buffers(), network.buffers()):
        own.data = shared.data
    return twin
