"""The trained ResNet-20 that is shipped for tests: what its metadata says, and what the method does with it."""

import json
from pathlib import Path

import pytest
import torch
from safetensors import safe_open

from fair_pruner import allocate, measure, remove, score
from pipeline.config import DataConfig
from pipeline.data import batches, load_data
from pipeline.datasets import DEBIAN_FASHION_MNIST, per_class
from pipeline.models import build_model, example_input, load_checkpoint
from pipeline.records import Architecture
from pipeline.training import top1_of

FIXTURE = Path(__file__).parent / "data" / "fashion_mnist_resnet20.safetensors"
needs_images = pytest.mark.skipif(not DEBIAN_FASHION_MNIST.is_dir(), reason="dataset-fashion-mnist is not installed")


@pytest.fixture(scope="module")
def metadata() -> dict[str, str]:
    with safe_open(FIXTURE, "pt") as file:
        return dict(file.metadata())


@pytest.fixture(scope="module")
def model(metadata: dict[str, str]) -> torch.nn.Module:
    network = build_model(Architecture.model_validate_json(metadata["architecture"]))
    load_checkpoint(network, FIXTURE)
    return network.eval()


def test_it_says_where_it_comes_from(metadata: dict[str, str]) -> None:
    assert float(metadata["top1_test"]) >= 0.933
    assert json.loads(metadata["config"])["model"]["name"] == "resnet20"
    assert FIXTURE.stat().st_size < 1.5e6


@needs_images
def test_its_accuracy_is_the_one_it_claims(metadata: dict[str, str], model: torch.nn.Module) -> None:
    data = load_data(DataConfig(name="fashion_mnist"), 0)
    assert top1_of(model, data.test, range(2000)) == pytest.approx(float(metadata["top1_test"]), abs=0.012)


@needs_images
def test_a_plan_takes_less_r_mass_than_a_random_choice_of_as_many_units(model: torch.nn.Module) -> None:
    """On trained weights and real images, one-shot and without training: the property that the method is for."""
    data = load_data(DataConfig(name="fashion_mnist"), 0)
    fit = torch.tensor(data.fit_indices)
    chosen = fit[list(per_class(data.train.labels[fit], 10, 16, 0))].tolist()
    example = example_input(Architecture(source="builtin", name="resnet20", num_classes=10, input_shape=data.input_shape))
    table = score(model, batches(data.train, chosen, 80), example_input=example, projections=32)
    plan = allocate(table, tolerance=0.2)
    assert 0.15 < plan.units_removed / plan.units < 0.5
    assert 0.3 < measure(remove(model, plan, example_input=example), example).macs / measure(model, example).macs < 0.6
    removed = sum(group.removed_mass for group in plan.groups)
    assert removed < sum(group.random_mass for group in plan.groups)
    assert removed <= sum(group.mass_bound for group in plan.groups)
