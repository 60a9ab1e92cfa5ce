"""Small models of every family that the library cuts, and calibration batches for them."""

from collections.abc import Callable

import pytest
import timm
import torch
from torch import Tensor, nn
from torchvision.models import VisionTransformer, resnet18

from fair_pruner import GroupPlan, PruningPlan, cut, find_groups
from fair_pruner.attention import heads_open
from pipeline.builtin_models import MLP, VGG, CifarResNet

Batches = list[tuple[Tensor, Tensor]]


class RowByRow(nn.Module):
    """A recurrent classifier that reads an image row by row."""

    def __init__(self, kind: type[nn.RNNBase], use: str, layers: int = 1, bidirectional: bool = False) -> None:
        super().__init__()
        self.use = use
        self.embed = nn.Linear(8, 8)
        self.cells = kind(8, 12, layers, bidirectional=bidirectional, batch_first=True)
        self.fc = nn.Linear(12 * (1 + bidirectional), 10)

    def forward(self, x: Tensor) -> Tensor:
        steps, state = self.cells(self.embed(x.squeeze(1)).relu())
        if self.use == "steps":
            return self.fc(steps.mean(dim=1))
        state = state[0] if isinstance(state, tuple) else state
        return self.fc(torch.cat([state[-2], state[-1]], dim=1) if self.cells.bidirectional else state[-1])


def blocks_of_channels() -> nn.Module:
    """Grouped and depthwise convolutions, of which blocks go as a whole."""
    layers = [nn.Conv2d(3, 12, 1), nn.BatchNorm2d(12), nn.ReLU(), nn.Conv2d(12, 12, 3, groups=4), nn.BatchNorm2d(12), nn.ReLU()]
    layers += [nn.Conv2d(12, 10, 1), nn.Conv2d(10, 10, 3, groups=10), nn.SiLU(inplace=True), nn.AdaptiveAvgPool2d(1)]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(10, 10))


def small_convnext() -> nn.Module:
    """With a layer scale that lets the blocks count from the start."""
    sizes = {"depths": (1, 1, 1, 1), "dims": (8, 12, 16, 20)}
    model: nn.Module = timm.create_model("convnext_atto", num_classes=10, ls_init_value=1.0, **sizes)
    return model


def torchvision_vit() -> nn.Module:
    """With a head that is not all zeros, as a new one is."""
    model = VisionTransformer(16, 8, 2, 4, 32, 48, num_classes=10)
    model.heads[-1].reset_parameters()
    return model


def flattening_vgg() -> nn.Module:
    """Convolutions whose maps are flattened into a hidden linear layer, as in torchvision's VGG."""
    features = [nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(inplace=True), nn.MaxPool2d(2)]
    features += [nn.Conv2d(8, 12, 3, padding=1), nn.BatchNorm2d(12), nn.ReLU(inplace=True), nn.AdaptiveAvgPool2d(2)]
    return nn.Sequential(*features, nn.Flatten(), nn.Linear(48, 20), nn.ReLU(True), nn.Dropout(), nn.Linear(20, 10))


FAMILIES: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "mlp": (lambda: MLP(64, 10, hidden=(24, 16)), (1, 8, 8)),
    "vgg": (lambda: VGG(1, 10, widths=(8, "M", 12, 16)), (1, 8, 8)),
    "resnet8": (lambda: CifarResNet(8, 1, 10), (1, 12, 12)),
    "resnet20": (lambda: CifarResNet(20, 1, 10), (1, 12, 12)),
    "torchvision resnet18": (lambda: resnet18(num_classes=10), (3, 32, 32)),
    "lstm, both directions": (lambda: RowByRow(nn.LSTM, "state", 2, bidirectional=True), (1, 6, 8)),
    "gru": (lambda: RowByRow(nn.GRU, "steps"), (1, 6, 8)),
    "grouped and depthwise": (lambda: blocks_of_channels(), (3, 12, 12)),
    "torchvision vit": (lambda: torchvision_vit(), (3, 16, 16)),
    "timm convnext": (lambda: small_convnext(), (3, 32, 32)),
    "timm vit": (lambda: timm.create_model("vit_tiny_patch16_224", num_classes=10, img_size=32, depth=2), (3, 32, 32)),
    "vgg with flatten": (lambda: flattening_vgg(), (3, 8, 8)),
}


@pytest.fixture(params=FAMILIES)
def family(request: pytest.FixtureRequest) -> tuple[nn.Module, Tensor]:
    """A seeded model of one family, with running statistics that are not the initial ones, and an example input."""
    make, shape = FAMILIES[request.param]
    torch.manual_seed(0)
    model, example = make(), torch.randn(2, *shape)
    with torch.no_grad():
        model.train()(torch.randn(8, *shape))
    return model.eval(), example


@pytest.fixture
def small() -> tuple[nn.Module, Tensor]:
    """One cheap convolutional model."""
    torch.manual_seed(0)
    return VGG(1, 4, widths=(6, "M", 10)).eval(), torch.randn(2, 1, 6, 6)


def batches_like(example: Tensor, classes: int, count: int = 2, size: int = 20) -> Batches:
    """Seeded random batches in which every class occurs."""
    generator = torch.Generator().manual_seed(1)
    return [(torch.randn(size, *example.shape[1:], generator=generator), torch.arange(size) % classes) for _ in range(count)]


@pytest.fixture
def make_batches() -> Callable[..., Batches]:
    """`batches_like`, for tests."""
    return batches_like


def random_plan(model: nn.Module, example: Tensor, share: float = 0.4) -> PruningPlan:
    """A plan that removes seeded random units of every group."""
    generator = torch.Generator().manual_seed(2)
    groups = []
    for group in find_groups(model, example):
        chosen = torch.randperm(group.units, generator=generator)[: int(share * group.units)]
        groups.append(GroupPlan(group.name, group.units, tuple(sorted(chosen.tolist())), 0.0, 0.0, 0.0, 0.0, len(chosen)))
    return PruningPlan(tuple(groups), 0.1, "tod", 1, 1)


def silence(model: nn.Module, example: Tensor, plan: PruningPlan) -> None:
    """Zero the weights that read the units of a plan, widths too: then the output must not move when they go."""
    groups = find_groups(model, example, embedding=True, trial=False)
    with heads_open(model), torch.no_grad():
        weights = dict(model.named_parameters())
        cut.silence(model, groups, {group.name: group.pruned for group in plan.groups})
        for name, silent in model.named_parameters():  # a MultiheadAttention comes back with the tensors that it had
            weights[name].copy_(silent)
