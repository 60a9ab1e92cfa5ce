"""Small classifiers that need no other library: CIFAR-style ResNets, VGG with BatchNorm, and multi-layer perceptrons."""

import re
from collections.abc import Sequence
from itertools import pairwise

from torch import Tensor, nn

from pipeline.records import Architecture

VGG_WIDTHS = (16, 16, "M", 32, 32, "M", 64, 64, 64, "M", 128, 128, 128)


def names() -> list[str]:
    """Names that `build` knows; a ResNet of any other depth 6n+2 is built too."""
    return [*(f"resnet{depth}" for depth in (8, 14, 20, 32, 44, 56, 110)), "vgg", "mlp"]


def build(architecture: Architecture) -> nn.Module:
    """Build by name; raises KeyError for a name that is not ours, TypeError or ValueError for wrong arguments."""
    channels, height, width = architecture.input_shape
    resnet = re.fullmatch(r"resnet(\d+)", architecture.name)
    if resnet:
        return CifarResNet(int(resnet[1]), channels, architecture.num_classes, **architecture.kwargs)
    if architecture.name == "vgg":
        return VGG(channels, architecture.num_classes, **architecture.kwargs)
    if architecture.name == "mlp":
        return MLP(channels * height * width, architecture.num_classes, **architecture.kwargs)
    raise KeyError(architecture.name)


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut, which is a strided 1x1 convolution where the shape changes."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.relu = nn.ReLU()
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or inputs != outputs:
            self.shortcut = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, x: Tensor) -> Tensor:
        """(n, inputs, h, w) -> (n, outputs, h/stride, w/stride)."""
        out = self.relu(self.bn1(self.conv1(x)))
        return self.relu(self.bn2(self.conv2(out)) + self.shortcut(x))  # type: ignore[no-any-return]


class CifarResNet(nn.Module):
    """ResNet of depth 6n+2 for small images (arXiv:1512.03385, section 4.2): three stages of n blocks, 16·width channels."""

    def __init__(self, depth: int, channels: int, num_classes: int, width: float = 1) -> None:
        super().__init__()
        if depth < 8 or (depth - 2) % 6:
            raise ValueError(f"a CIFAR ResNet has depth 6n+2 (8, 14, 20, ...), not {depth}")
        base, blocks = round(16 * width), (depth - 2) // 6
        self.conv1 = nn.Conv2d(channels, base, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(base)
        self.relu = nn.ReLU()
        stages, inputs = [], base
        for outputs, stride in ((base, 1), (2 * base, 2), (4 * base, 2)):
            stage = [BasicBlock(inputs if i == 0 else outputs, outputs, stride if i == 0 else 1) for i in range(blocks)]
            stages.append(nn.Sequential(*stage))
            inputs = outputs
        self.layer1, self.layer2, self.layer3 = stages
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(4 * base, num_classes)
        _he_normal(self)

    def forward(self, x: Tensor) -> Tensor:
        """(n, channels, h, w) -> logits (n, num_classes)."""
        x = self.relu(self.bn1(self.conv1(x)))
        x = self.layer3(self.layer2(self.layer1(x)))
        return self.fc(self.pool(x).flatten(1))  # type: ignore[no-any-return]


class VGG(nn.Module):
    """3x3 convolutions with BatchNorm and ReLU; "M" in `widths` halves the map; global average pooling; one linear layer."""

    def __init__(self, channels: int, num_classes: int, widths: Sequence[int | str] = VGG_WIDTHS) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for width in widths:
            if isinstance(width, int):
                layers += [nn.Conv2d(channels, width, 3, 1, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU()]
                channels = width
            elif width == "M":
                layers.append(nn.MaxPool2d(2))
            else:
                raise ValueError(f'widths holds {width!r}; expected numbers of channels and "M"')
        self.features = nn.Sequential(*layers)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Linear(channels, num_classes)
        _he_normal(self)

    def forward(self, x: Tensor) -> Tensor:
        """(n, channels, h, w) -> logits (n, num_classes)."""
        return self.classifier(self.pool(self.features(x)).flatten(1))  # type: ignore[no-any-return]


class MLP(nn.Module):
    """Linear layers with ReLU between them; `hidden` are the widths in between."""

    def __init__(self, inputs: int, num_classes: int, hidden: Sequence[int] = (128, 64)) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.Flatten()]
        for before, after in pairwise((inputs, *hidden)):
            layers += [nn.Linear(before, after), nn.ReLU()]
        self.layers = nn.Sequential(*layers, nn.Linear((inputs, *hidden)[-1], num_classes))

    def forward(self, x: Tensor) -> Tensor:
        """(n, ...) -> logits (n, num_classes)."""
        return self.layers(x)  # type: ignore[no-any-return]


def _he_normal(model: nn.Module) -> None:
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
