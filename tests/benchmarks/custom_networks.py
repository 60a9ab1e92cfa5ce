"""Networks that no library has, made by import path as a person's own would be: for families.py and test_families.py."""

from typing import Literal

import torch
from torch import Tensor, nn
from torchvision.models import VisionTransformer


class RowReader(nn.Module):
    """Reads a grey image row by row through two recurrent layers; the state behind the last row is classified."""

    def __init__(self, num_classes: int, cells: Literal["LSTM", "GRU"], columns: int = 8, hidden: int = 64) -> None:
        super().__init__()
        self.embed = nn.Linear(columns, hidden)
        self.cells = {"LSTM": nn.LSTM, "GRU": nn.GRU}[cells](hidden, hidden, num_layers=2, batch_first=True)
        self.fc = nn.Linear(hidden, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """(n, 1, rows, columns) -> logits (n, num_classes)."""
        steps, _ = self.cells(self.embed(x.squeeze(1)).relu())  # (n, rows, hidden)
        return self.fc(steps[:, -1])


class Grouped(nn.Sequential):
    """Grouped convolutions of four channels a block, with 1x1 convolutions between them."""

    def __init__(self, num_classes: int, widths: tuple[int, ...] = (96, 192)) -> None:
        layers: list[nn.Module] = []
        channels = 3
        for width in widths:
            layers += [nn.Conv2d(channels, width, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU()]
            layers += [nn.Conv2d(width, width, 3, 2, 1, groups=width // 4, bias=False), nn.BatchNorm2d(width), nn.ReLU()]
            channels = width
        super().__init__(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, num_classes))


class TwoPaths(nn.Module):
    """A stem, two convolutions of different reach side by side, a gate over their channels, and the stem added back."""

    def __init__(self, num_classes: int, width: int = 48) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 2 * width, 3, 2, 1), nn.BatchNorm2d(2 * width), nn.PReLU(2 * width))
        self.near = nn.Sequential(nn.Conv2d(2 * width, width, 3, padding=1), nn.BatchNorm2d(width), nn.SiLU())
        self.far = nn.Sequential(nn.Conv2d(2 * width, width, 5, padding=2), nn.BatchNorm2d(width), nn.SiLU())
        self.gate = nn.Sequential(
            nn.Conv2d(2 * width, width // 2, 1), nn.ReLU(), nn.Conv2d(width // 2, 2 * width, 1), nn.Sigmoid()
        )
        self.head = nn.Sequential(nn.Linear(2 * width, 64), nn.Hardswish(), nn.Linear(64, num_classes))

    def forward(self, x: Tensor) -> Tensor:
        """(n, 3, h, w) -> logits (n, num_classes)."""
        x = self.stem(x)
        both = torch.cat([self.near(x), self.far(x)], dim=1)
        x = x + both * self.gate(both.mean((2, 3), keepdim=True))
        return self.head(x.mean((2, 3)))


def small_vit(num_classes: int, image_size: int = 224, layers: int = 6) -> nn.Module:
    """torchvision's VisionTransformer, smaller than any that it has a name for: 16 heads of 16 channels."""
    model = VisionTransformer(image_size, 16, layers, 16, 256, 512, num_classes=num_classes)
    model.heads[-1].reset_parameters()  # it begins with zeros, and so would every logit
    return model
