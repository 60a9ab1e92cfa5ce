import math
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from fair_pruner import diameter
from fair_pruner.diameter import largest_distance
from fair_pruner.u_score import class_diameter

KINDS = ("noise", "shifted", "equal", "one outlier", "two far clusters", "far from zero", "tiny", "huge", "few values")


@pytest.fixture(autouse=True, scope="module")
def bounds_for_any_number_of_classes() -> Iterator[None]:
    """Small problems, and arrays so small that everything is done in several pieces."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(diameter, "FEW", 1)
        patch.setattr(diameter, "WORKING", 300)
        patch.setattr("fair_pruner.u_score.WORKING", 1500)
        yield


def outputs(kind: str, sizes: list[int], seed: int, units: int = 3, projections: int = 2) -> tuple[Tensor, Tensor]:
    """Projected outputs (n, units, P) in float64 and labels (n,) of classes of these sizes, in random order."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(len(sizes)).repeat_interleave(torch.tensor(sizes))
    noise = torch.randn(len(labels), units, projections, generator=generator, dtype=torch.float64)
    place = labels.view(-1, 1, 1).double()
    shift = torch.randn(len(sizes), units, projections, generator=generator, dtype=torch.float64)[labels]
    values = {
        "noise": noise,
        "shifted": noise + 2 * shift,
        "equal": torch.full_like(noise, 0.3),
        "one outlier": noise * 1e-3 + 50 * (place == 0),
        "two far clusters": noise * 0.1 + 100 * (place % 2),
        "far from zero": noise + shift + 1e5,
        "tiny": (noise + shift) * 1e-30,
        "huge": (noise + shift) * 1e30,
        "few values": (noise + shift).round(),
    }[kind]
    order = torch.randperm(len(labels), generator=generator)
    return values[order], labels[order]


def brute_force(values: Tensor, labels: Tensor) -> list[float]:
    """The maximum over all pairs, on quantile functions repeated to a common length, in float64."""
    classes = [values[labels == label].double().sort(dim=0).values.numpy() for label in labels.unique()]
    whole = math.lcm(*(len(samples) for samples in classes))
    steps = [np.repeat(samples, whole // len(samples), axis=0) for samples in classes]
    apart = [np.abs(first - second).mean(axis=(0, 2)) for i, first in enumerate(steps) for second in steps[:i]]
    return np.max(apart, axis=0).tolist()


equal_sizes = st.tuples(st.integers(2, 30), st.integers(1, 24)).map(lambda both: [both[1]] * both[0])
unequal_sizes = st.lists(st.sampled_from([1, 2, 3, 4, 6, 10, 12, 20]), min_size=2, max_size=30)


@given(st.sampled_from(KINDS), equal_sizes | unequal_sizes, st.integers(0, 10**6))
@settings(max_examples=150, deadline=None)
def test_equals_brute_force_over_all_pairs(kind: str, sizes: list[int], seed: int) -> None:
    values, labels = outputs(kind, sizes, seed)
    expected = brute_force(values, labels)
    np.testing.assert_allclose(class_diameter(values, labels).distance, expected, rtol=1e-9)
    single = values.float()
    np.testing.assert_allclose(class_diameter(single, labels).distance, brute_force(single, labels), rtol=2e-6)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("sizes", [[9] * 70, [3, 5, 9, 20] * 15], ids=["equal counts", "unequal counts"])
def test_equals_brute_force_for_many_classes(kind: str, sizes: list[int]) -> None:
    values, labels = outputs(kind, sizes, seed=0)
    np.testing.assert_allclose(class_diameter(values, labels).distance, brute_force(values, labels), rtol=1e-9)


@given(st.sampled_from(KINDS), st.sampled_from([[20] * 12, [40] * 9, [3, 20, 20, 17, 64, 64]]), st.integers(0, 10**6))
@settings(max_examples=60, deadline=None)
def test_no_bound_is_below_its_distance(kind: str, sizes: list[int], seed: int) -> None:
    values, _ = outputs(kind, sizes, seed, units=4, projections=5)
    grouped = []
    for size in sorted(set(sizes)):
        members = torch.randn(4, sizes.count(size), size, 5, generator=torch.Generator().manual_seed(seed))
        grouped.append((members * values.std().float() + values.mean().float()).sort(dim=2).values)
    upper = diameter._bounds(*diameter._summaries(grouped), torch.arange(len(sizes)).expand(4, -1))
    unit, one, other = upper.nonzero(as_tuple=True)
    assert (upper[unit, one, other] >= diameter._distances(grouped, unit, one, other) * (1 - 1e-6)).all()


def test_classes_on_a_line_take_few_distances() -> None:
    values = torch.arange(200.0).repeat_interleave(4).view(-1, 1, 1) + torch.tensor([0.0, 0.1, 0.2, 0.3]).repeat(200).view(
        -1, 1, 1
    )
    found = class_diameter(values, torch.arange(200).repeat_interleave(4))
    assert found.distance.item() == pytest.approx(199)
    assert found.pairs == 200 * 199 / 2
    assert found.evaluated < 20


def test_units_that_are_constant_take_one_distance_each() -> None:
    assert class_diameter(torch.full((300, 4, 3), 0.7), torch.arange(300) % 60)[:2][1] == 4


def test_if_no_pair_can_be_left_out_every_distance_is_counted_once() -> None:
    values, labels = outputs("noise", [30] * 12, seed=0, projections=64)
    found = class_diameter(values, labels)
    assert found.evaluated == found.pairs == 3 * 12 * 11 / 2


def test_bounds_allow_for_matrix_products_in_bfloat16() -> None:
    values, labels = outputs("shifted", [12] * 40, seed=0)
    exact = class_diameter(values.float(), labels)
    try:
        torch.set_float32_matmul_precision("medium")
        coarse = class_diameter(values.float(), labels)
    finally:
        torch.set_float32_matmul_precision("highest")
    assert torch.equal(coarse.distance, exact.distance)
    assert coarse.evaluated > exact.evaluated


def test_a_unit_whose_output_is_not_a_number_has_no_score_and_disturbs_no_other() -> None:
    values, labels = outputs("shifted", [5] * 20, seed=0)
    whole = class_diameter(values, labels).distance
    values[17, 1, 0] = torch.nan
    found = class_diameter(values, labels).distance
    assert found.isnan().tolist() == [False, True, False]
    torch.testing.assert_close(found[[0, 2]], whole[[0, 2]])


def test_groups_are_numbered_through() -> None:
    near, far = torch.zeros(1, 2, 1, 1), torch.tensor([[1.0, 1.0], [9.0, 9.0]]).view(1, 2, 2, 1)
    best, evaluated = largest_distance([near, far])
    assert (best.tolist(), evaluated <= 6) == ([9.0], True)
