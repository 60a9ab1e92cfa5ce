import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fair_pruner import SettingError, tod_curve
from fair_pruner.tod import tolerance_by_depth

# few distinct values, so that ties are common
vectors = st.integers(1, 40).flatmap(lambda n: st.tuples(*[st.lists(st.integers(0, 12).map(float), min_size=n, max_size=n)] * 2))


def brute_force(u: list[float], r: list[float]) -> list[float]:
    by_u = sorted(range(len(u)), key=lambda j: (u[j], j))
    by_r = sorted(range(len(r)), key=lambda j: (-r[j], j))
    return [len(set(by_u[:m]) & set(by_r[:m])) / max(m, 1) for m in range(len(u) + 1)]


@given(vectors)
@settings(max_examples=590, deadline=None)
def test_curve_equals_the_intersection_of_the_sets(scores: tuple[list[float], list[float]]) -> None:
    u, r = scores
    assert tod_curve(torch.tensor(u), torch.tensor(r)).tolist() == brute_force(u, r)


@given(vectors, st.integers(0, 40))
@settings(max_examples=300, deadline=None)
def test_the_tolerance_of_a_depth_is_the_least_that_is_still_to_come(scores: tuple[list[float], list[float]], limit: int) -> None:
    curve = brute_force(*scores)[: limit + 1]
    needed = tolerance_by_depth(tod_curve(*map(torch.tensor, scores)), limit).tolist()
    assert needed == [min(curve[m:]) for m in range(len(curve))]


@given(st.permutations(range(9)), st.permutations(range(9)), st.permutations(range(9)))
@settings(max_examples=200, deadline=None)
def test_permuting_units_leaves_the_curve(u: list[int], r: list[int], order: list[int]) -> None:
    first, second = torch.tensor(u, dtype=torch.float64), torch.tensor(r, dtype=torch.float64)
    assert torch.equal(tod_curve(first, second), tod_curve(first[order], second[order]))


def test_golden() -> None:
    opposite = tod_curve(torch.tensor([1.0, 2.0, 3.0, 4.0]), torch.tensor([4.0, 3.0, 2.0, 1.0]))
    agreeing = tod_curve(torch.tensor([1.0, 2.0, 3.0, 4.0]), torch.tensor([1.0, 2.0, 3.0, 4.0]))
    assert opposite.tolist() == [0, 1, 1, 1, 1]
    assert agreeing.tolist() == [0, 0, 0, 2 / 3, 1]


def test_useless_scores_are_refused() -> None:
    with pytest.raises(SettingError, match="one length"):
        tod_curve(torch.zeros(3), torch.zeros(4))
    with pytest.raises(SettingError, match="NaN"):
        tod_curve(torch.tensor([1.0, float("nan")]), torch.zeros(2))
