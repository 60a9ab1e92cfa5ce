"""Small models of every family that the library cuts, and calibration batches for them."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torchvision.models import resnet18

from fair_pruner import GroupPlan, PruningPlan, find_groups
from pipeline.builtin_models import MLP, VGG, CifarResNet

Batches = list[tuple[Tensor, Tensor]]


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
    """Zero the outgoing weights of the units that a plan removes: then the output must not move when they go."""
    pruned = {group.name: set(group.pruned) for group in plan.groups}
    with torch.no_grad():
        for group in find_groups(model, example):
            for side in group.sides:
                if side.side == "in":
                    gone = [channel for channel, unit in enumerate(side.unit_of) if unit in pruned[group.name]]
                    model.get_submodule(side.layer).weight[:, gone] = 0
