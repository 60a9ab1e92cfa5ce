"""Small trainings on a few hundred images of `digits`: 5 steps an epoch."""

from functools import cache
from typing import Any

import torch
from torch import nn

import fair_pruner
from fair_pruner import PruningPlan
from pipeline.config import DataConfig, DistillationConfig, TrainConfig
from pipeline.data import Data, load_data
from pipeline.distillation import Teacher
from pipeline.models import build_model
from pipeline.records import Architecture, Curve
from pipeline.training import train

ARCHITECTURE = Architecture(source="builtin", name="vgg", kwargs={"widths": (8, "M", 16)}, num_classes=10, input_shape=(1, 8, 8))
STEPS = 5  # an epoch of RECIPE
RECIPE = TrainConfig(epochs=2, batch_size=64, lr=0.1, warmup_epochs=0.5)


def images() -> Data:
    return load_data(DataConfig(train_images=300), 0)


def network(seed: int = 0) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return build_model(ARCHITECTURE)


def dropping() -> nn.Module:
    """A network that draws random numbers in training mode."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        layers = [nn.Conv2d(1, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Dropout2d(0.3), nn.Flatten(), nn.Dropout(0.3)]
        return nn.Sequential(*layers, nn.Linear(8 * 36, 10))


def trained(recipe: TrainConfig = RECIPE, seed: int = 0, model: nn.Module | None = None, **more: Any) -> tuple[nn.Module, Curve]:
    model = model or network()
    return model, train(model, images(), recipe, seed, "test", **more)


def changed(recipe: TrainConfig = RECIPE, **settings: Any) -> TrainConfig:
    return type(recipe).model_validate(recipe.model_dump() | settings)


def same(one: nn.Module, other: nn.Module) -> bool:
    """Whether all weights and statistics are bit-equal."""
    first, second = one.state_dict(), other.state_dict()
    return first.keys() == second.keys() and all(torch.equal(value, second[name]) for name, value in first.items())


@cache
def plan() -> PruningPlan:
    """Takes some channels of both layers of `network()`."""
    data = images()
    batches = [data.train.load(data.fit_indices[:100])]
    table = fair_pruner.score(network(), batches, example_input=torch.zeros(2, 1, 8, 8), projections=4)
    return fair_pruner.allocate(table, tolerance=0.6)


def pruned() -> nn.Module:
    """`network()` without what `plan()` takes."""
    return fair_pruner.remove(network(), plan(), example_input=torch.zeros(2, 1, 8, 8))


def teacher(weight: float = 0.5, features: float = 1.0) -> Teacher:
    """`network()` as it teaches `pruned()`."""
    return Teacher.of(network(), plan(), DistillationConfig(weight=weight, features=features))
