from itertools import combinations
from pathlib import Path

import numpy as np
import ot
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from scipy.stats import wasserstein_distance
from torch import Tensor

from fair_pruner import CalibrationError
from fair_pruner.u_score import class_diameter, directions, project, u_score
from pipeline.config import DataConfig
from pipeline.data import load_data
from pipeline.datasets import DEBIAN_FASHION_MNIST
from pipeline.models import build_model, load_checkpoint
from pipeline.records import Architecture

TRAINED = Path(__file__).parents[1] / "data" / "fashion_mnist_resnet20.safetensors"
Case = tuple[list[int], int]  # number of samples of each class, seed
cases = st.tuples(st.lists(st.integers(1, 9), min_size=2, max_size=40), st.integers(0, 10**6))


def outputs(samples: int = 30, units: int = 4) -> tuple[Tensor, Tensor]:
    torch.manual_seed(0)
    labels = torch.arange(samples) % 3
    return torch.randn(samples, units, 5, 5, dtype=torch.float64) + labels.view(-1, 1, 1, 1) * 0.3, labels


def projected(case: Case) -> tuple[Tensor, Tensor]:
    """Values (n, 4, 3) in float64 and labels of classes of the given sizes."""
    sizes, seed = case
    labels = torch.arange(len(sizes)).repeat_interleave(torch.tensor(sizes))
    torch.manual_seed(seed)
    return torch.randn(len(labels), 4, 3, dtype=torch.float64) + labels.view(-1, 1, 1) * 0.1, labels


@pytest.mark.parametrize("drop", [0, 7])  # equal and unequal class counts
def test_equals_pots_sliced_distance_with_the_same_directions(drop: int) -> None:
    maps, labels = outputs()
    maps, labels = maps[drop:], labels[drop:]
    sliced = directions(25, 16, seed=3, like=maps).numpy()
    found = u_score(project(maps, 1, 16, seed=3), labels)
    for unit in range(maps.shape[1]):
        flat = [maps[labels == label, unit].flatten(1).numpy() for label in range(3)]
        expected = [ot.sliced_wasserstein_distance(*pair, projections=sliced, p=1) for pair in combinations(flat, 2)]
        np.testing.assert_allclose(found[unit], max(expected), rtol=1e-6)


@pytest.mark.parametrize("sizes", [[6] * 40, [3, 5, 6, 11] * 10, [8] * 5, [2, 9, 4]])
def test_equals_the_largest_of_scipys_distances(sizes: list[int]) -> None:
    values, labels = projected((sizes, 0))
    found = u_score(values[:, :, :1], labels)
    for unit in range(4):
        classes = [values[labels == label, unit, 0].numpy() for label in range(len(sizes))]
        expected = max(wasserstein_distance(*pair) for pair in combinations(classes, 2))
        np.testing.assert_allclose(found[unit], expected, rtol=1e-6)


def test_a_unit_is_as_useful_as_the_pair_it_separates_best() -> None:
    labels = torch.tensor([0, 0, 1, 1, 2, 2])
    same, apart = torch.zeros(6), torch.tensor([0.0, 0.0, 1.0, 1.0, 10.0, 10.0])
    assert u_score(torch.stack([same, apart], dim=1)[:, :, None], labels).tolist() == [0.0, 10.0]


@given(cases, st.permutations(range(4)))
@settings(max_examples=40, deadline=None)
def test_permuting_units_permutes_scores(case: Case, order: list[int]) -> None:
    values, labels = projected(case)
    torch.testing.assert_close(u_score(values[:, order], labels), u_score(values, labels)[order])


@given(cases, st.tuples(*[st.floats(-100, 100)] * 4), st.floats(-100, 100))
@settings(max_examples=40, deadline=None)
def test_scaling_scales_scores_and_shifting_does_nothing(case: Case, factors: tuple[float, ...], shift: float) -> None:
    values, labels = projected(case)
    factor = torch.tensor(factors, dtype=torch.float64)
    changed = u_score(values * factor.view(1, -1, 1) + shift, labels)
    torch.testing.assert_close(changed, u_score(values, labels) * factor.abs(), rtol=1e-9, atol=1e-11)


@given(cases, st.integers(0, 10**6))
@settings(max_examples=40, deadline=None)
def test_neither_names_of_classes_nor_the_order_of_samples_matter(case: Case, seed: int) -> None:
    values, labels = projected(case)
    torch.manual_seed(seed)
    names, order = torch.randperm(1000)[: len(case[0])], torch.randperm(len(labels))
    torch.testing.assert_close(u_score(values[order], names[labels][order]), u_score(values, labels))


@given(cases, st.integers(0, 39))
@settings(max_examples=40, deadline=None)
def test_duplicating_the_samples_of_all_classes_or_of_one_changes_nothing(case: Case, chosen: int) -> None:
    values, labels = projected(case)
    expected, mine = u_score(values, labels), labels == chosen % len(case[0])
    torch.testing.assert_close(u_score(values.repeat(3, 1, 1), labels.repeat(3)), expected)
    torch.testing.assert_close(u_score(torch.cat([values, values[mine]]), torch.cat([labels, labels[mine]])), expected)


def test_two_calls_give_bit_equal_scores() -> None:
    case = projected(([5] * 50, 0))
    assert torch.equal(u_score(*case), u_score(*case))


@pytest.mark.skipif(not DEBIAN_FASHION_MNIST.is_dir(), reason="dataset-fashion-mnist is not installed")
def test_most_distances_are_avoided_on_outputs_of_a_trained_network() -> None:
    """200 pseudo-classes: each class's images in 20 parts along their first principal component, 10 images of each."""
    with safe_open(TRAINED, "pt") as file:
        model = build_model(Architecture.model_validate_json(file.metadata()["architecture"]))
    load_checkpoint(model, TRAINED)
    data = load_data(DataConfig(name="fashion_mnist"), 0).test
    chosen = []
    for label in range(10):
        members = torch.nonzero(data.labels == label).flatten()
        pixels = data.load(members.tolist())[0].flatten(1)
        along = pixels @ torch.linalg.svd(pixels - pixels.mean(0), full_matrices=False)[2][0]
        chosen += [part[:: len(part) // 10][:10] for part in members[along.argsort()].tensor_split(20)]
    seen: dict[str, list[Tensor]] = {"conv1": [], "layer2.1.conv1": [], "layer3.2.conv2": []}
    for name, values in seen.items():
        model.get_submodule(name).register_forward_hook(lambda _m, _i, out, to=values: to.append(project(out, 1, 32, 0)))
    for part in torch.cat(chosen).split(250):
        model.eval().requires_grad_(False)(data.load(part.tolist())[0])
    for name, batches in seen.items():
        found = class_diameter(values := torch.cat(batches)[:, :16], torch.arange(200).repeat_interleave(10))
        assert found.evaluated < 0.1 * found.pairs, name
        points = values.view(200, 10, 16, 32).sort(dim=1).values.permute(2, 0, 1, 3).flatten(2).double()
        expected = torch.cdist(points, points, p=1).amax((1, 2)) / points.shape[2]
        np.testing.assert_allclose(found.distance, expected, rtol=2e-6)


def test_directions_are_unit_vectors_and_depend_on_the_seed_alone() -> None:
    like = torch.zeros(1, dtype=torch.float64)
    drawn = directions(49, 12, 5, like)
    torch.testing.assert_close(drawn.norm(dim=0), torch.ones(12, dtype=torch.float64))
    assert torch.equal(drawn, directions(49, 12, 5, like))
    assert not torch.equal(drawn, directions(49, 12, 6, like))


def test_a_token_sequence_is_projected_over_its_tokens() -> None:
    tokens = torch.randn(2, 7, 3)  # (n, tokens, channels)
    torch.testing.assert_close(project(tokens, -1, 4, 0), project(tokens.transpose(1, 2), 1, 4, 0))
    assert project(tokens, -1, 4, 0).shape == (2, 3, 4)


def test_one_class_is_refused() -> None:
    with pytest.raises(CalibrationError, match=r"1 class\(es\)"):
        u_score(torch.randn(5, 2, 1), torch.zeros(5, dtype=torch.long))
