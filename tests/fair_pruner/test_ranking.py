"""Depths of every rule against brute force, and the laws that hold for all of them."""

import math
from fractions import Fraction

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fair_pruner import Ranking, ScoreTable, SettingError
from fair_pruner.types import Removal, Rule

from .tables import like_resnet50, numbers, table_of, tables

rules = st.sampled_from(["tod", "uniform", "global"])


def tod_depth(u: tuple[float, ...], r: tuple[float, ...], tolerance: float, min_units: int = 1) -> int:
    """The definition: sets, and every depth from the deepest down."""
    by_u = sorted(range(len(u)), key=lambda j: (u[j], j))
    by_r = sorted(range(len(r)), key=lambda j: (-r[j], j))
    deepest_first = range(max(0, len(u) - min_units), 0, -1)
    return next((m for m in deepest_first if len(set(by_u[:m]) & set(by_r[:m])) / m <= tolerance), 0)


def global_depths(table: ScoreTable, count: int, min_units: int) -> list[int]:
    """Mark the `count` lowest of all units, in exact arithmetic, and count them by group."""
    units = []
    for g, group in enumerate(table.groups):
        mean = sum(map(Fraction, group.u_score)) / group.units if table.removal != "lamp" else 1
        units += [(Fraction(u) / (mean or 1), g, j) for j, u in enumerate(group.u_score)]
    lowest = sorted(units)[:count]
    capped = [max(0, group.units - min_units) for group in table.groups]
    return [min(cap, sum(g == i for _, g, _ in lowest)) for i, cap in enumerate(capped)]


def rounded(units: int, depth: int, round_to: int) -> int:
    kept = next(kept for kept in range(units - depth, units + round_to) if kept % round_to == 0)
    return max(0, units - kept)


@given(tables, st.lists(numbers, min_size=1, max_size=5), st.integers(1, 9))
@settings(max_examples=200, deadline=None)
def test_tod_depths_equal_a_search_with_sets(table: ScoreTable, tolerances: list[float], min_units: int) -> None:
    depths = Ranking(table).depths(tolerances, min_units=min_units).tolist()
    assert depths == [[tod_depth(g.u_score, g.r_score, t, min_units) for g in table.groups] for t in tolerances]
    for row, tolerance in zip(depths, tolerances, strict=True):
        assert all(depth <= group.units / (2 - tolerance) + 1e-9 for depth, group in zip(row, table.groups, strict=True))


@given(st.lists(st.integers(1, 400), min_size=1, max_size=4), st.data(), st.integers(1, 9))
@settings(max_examples=300, deadline=None)
def test_uniform_takes_the_floor_and_a_ratio_of_m_in_n_takes_m(sizes: list[int], data: st.DataObject, min_units: int) -> None:
    m = data.draw(st.integers(1, sizes[0]))
    ranking = Ranking(table_of(*(([0.0] * n, [0.0] * n) for n in sizes)))
    depths = ranking.depths((m / sizes[0],), rule="uniform", min_units=min_units)[0].tolist()
    assert depths == [max(0, min(m * n // sizes[0], n - min_units)) for n in sizes]


whole_u = st.lists(st.integers(0, 8).map(float), min_size=1, max_size=8)


@given(st.lists(whole_u, min_size=1, max_size=4), st.data(), st.integers(1, 4), st.sampled_from(["l1", "lamp"]))
@settings(max_examples=490, deadline=None)
def test_global_takes_the_lowest_of_all_units(
    groups: list[list[float]], data: st.DataObject, min_units: int, removal: Removal
) -> None:
    # zeros and one large value bring the means to powers of two, so that floats divide exactly and ties are ties
    padded = [u + [0.0] * (15 - len(u)) + [256.0 * 2**i - sum(u)] for i, u in enumerate(groups)]
    table = table_of(*((u, [0.0] * 16) for u in padded), removal=removal)
    count = data.draw(st.integers(1, table.units))
    depths = Ranking(table).depths((count / table.units,), rule="global", min_units=min_units)
    assert depths[0].tolist() == global_depths(table, count, min_units)


def test_global_golden() -> None:
    small, large = [1.0, 2.0, 3.0], [10.0, 50.0]  # divided by their means: .5 1 1.5 and .33 1.67
    ranking = Ranking(table_of((small, [0.0] * 3), (large, [0.0] * 2)))
    assert ranking.depths((0.2, 0.4, 0.6, 0.8, 1.0), rule="global").tolist() == [[0, 1], [1, 1], [2, 1], [2, 1], [2, 1]]
    assert Ranking(table_of((small, small), (large, large), removal="lamp")).depths((0.4,), rule="global").tolist() == [[2, 0]]
    with pytest.raises(SettingError, match="g1 has removal scores below 0"):
        Ranking(table_of((small, small), ([-1.0, 2.0], large))).depths((0.4,), rule="global")


@given(tables, numbers, numbers, rules, st.integers(1, 9), st.integers(1, 9))
@settings(max_examples=160, deadline=None)
def test_a_larger_number_never_cuts_less_and_rounding_never_more(
    table: ScoreTable, one: float, other: float, rule: Rule, round_to: int, min_units: int
) -> None:
    ranking = Ranking(table)
    numbers = sorted((one, other))
    low, high = ranking.depths(numbers, rule=rule, round_to=round_to, min_units=min_units)
    assert (low <= high).all()
    free = ranking.depths(numbers, rule=rule, min_units=min_units).tolist()
    for depths, unrounded in zip((low.tolist(), high.tolist()), free, strict=True):
        assert depths == [rounded(g.units, depth, round_to) for g, depth in zip(table.groups, unrounded, strict=True)]
        assert all(depth <= max(0, g.units - min_units) for g, depth in zip(table.groups, depths, strict=True))


@given(tables, numbers, rules, st.data())
@settings(max_examples=180, deadline=None)
def test_each_group_is_rounded_to_its_own_multiple(table: ScoreTable, number: float, rule: Rule, data: st.DataObject) -> None:
    ranking = Ranking(table)
    named = data.draw(st.lists(st.sampled_from([group.name for group in table.groups]), unique=True))
    multiples = {name: data.draw(st.integers(1, 9)) for name in named}
    depths = ranking.depths((number,), rule=rule, round_to=multiples)[0].tolist()
    for place, group in enumerate(table.groups):
        alone = ranking.depths((number,), rule=rule, round_to=multiples.get(group.name, 1))[0, place]
        assert depths[place] == alone


@given(tables, rules, st.integers(1, 9))
@settings(max_examples=230, deadline=None)
def test_depths_change_exactly_at_the_critical_numbers(table: ScoreTable, rule: Rule, min_units: int) -> None:
    ranking = Ranking(table)
    critical = ranking.critical(rule=rule, min_units=min_units)
    assert critical == sorted(set(critical)) and critical[-1] == 1
    below = [math.nextafter(number, 0) for number in critical[1:]]
    at = ranking.depths(critical, rule=rule, min_units=min_units)
    assert torch.equal(ranking.depths(below, rule=rule, min_units=min_units), at[:-1])
    assert (at[1:-1] > at[:-2]).any(dim=1).all()
    assert torch.equal(ranking.depths((1e-9,), rule=rule, min_units=min_units)[0], at[0])


def test_golden_depths_of_a_large_table() -> None:
    ranking = Ranking(like_resnet50())
    ratios = [i / 100 for i in range(1, 101)]
    total = {rule: ranking.depths(ratios, rule=rule).sum(1).tolist() for rule in ("tod", "uniform", "global")}
    assert {rule: [sums[i] for i in (4, 9, 49, 99)] for rule, sums in total.items()} == {
        "tod": [1106, 1826, 8712, 17163],
        "uniform": [835, 1693, 8608, 17163],
        "global": [860, 1721, 8608, 17163],
    }


def test_what_cannot_be_ranked_or_cut_is_refused() -> None:
    ranking = Ranking(table_of(([1.0, 2.0], [1.0, 2.0])))
    with pytest.raises(SettingError, match=r"tolerance is 1\.1; it must lie in"):
        ranking.depths((0.5, 1.1))
    with pytest.raises(SettingError, match="pruning ratio is nan"):
        ranking.depths((float("nan"),), rule="uniform")
    with pytest.raises(SettingError, match="round_to is 0 for g0; it must be at least 1"):
        ranking.depths((0.5,), round_to=0)
    with pytest.raises(SettingError, match="round_to names g1, which is no group"):
        ranking.depths((0.5,), round_to={"g1": 2})
    with pytest.raises(SettingError, match="min_units is 0"):
        ranking.depths((0.5,), min_units=0)
    with pytest.raises(SettingError, match="rule is 'best'; it must be one of tod, uniform, global"):
        ranking.depths((0.5,), rule="best")
    with pytest.raises(SettingError, match="g0 has scores that are NaN"):
        Ranking(table_of(([1.0, float("nan")], [1.0, 2.0])))
    with pytest.raises(SettingError, match="g0 has 1 removal scores and 2 R-Scores"):
        Ranking(table_of(([1.0], [1.0, 2.0])))
