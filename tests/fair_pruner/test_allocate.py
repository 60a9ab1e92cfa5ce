"""Plans: which units go, by every rule."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fair_pruner import Ranking, ScoreTable, SettingError, allocate
from fair_pruner.types import Rule

from .tables import numbers, table_of, tables

rules = st.sampled_from(["tod", "uniform", "global"])


@given(tables, numbers, rules, st.integers(1, 9), st.integers(1, 9))
@settings(max_examples=200, deadline=None)
def test_laws_of_a_plan(table: ScoreTable, number: float, rule: Rule, round_to: int, min_units: int) -> None:
    plan = allocate(table, tolerance=number, round_to=round_to, min_units=min_units, rule=rule)
    unrounded = allocate(table, tolerance=number, min_units=min_units, rule=rule)
    assert (plan.tolerance, plan.rule, plan.round_to, plan.min_units, plan.rounds) == (number, rule, round_to, min_units, 1)
    for scores, group, free in zip(table.groups, plan.groups, unrounded.groups, strict=True):
        kept = group.units - group.depth
        assert kept >= min(min_units, group.units)
        assert kept % round_to == 0 or group.depth == 0
        assert group.depth <= free.depth == group.unrounded_depth
        if rule == "tod":
            assert free.tod <= number
            assert group.depth <= group.units / (2 - number) + 1e-9
        if rule == "uniform":
            assert free.depth <= number * group.units + 1e-9
        removed, remaining = set(group.pruned), set(range(group.units)) - set(group.pruned)
        assert all((scores.u_score[i], i) < (scores.u_score[j], j) for i in removed for j in remaining)
        protected = sorted(range(group.units), key=lambda j: (-scores.r_score[j], j))[: group.depth]
        assert group.tod == len(removed & set(protected)) / max(group.depth, 1)
        assert group.removed_mass == pytest.approx(sum(scores.r_score[j] for j in removed))
        assert group.total_mass == pytest.approx(sum(scores.r_score))


@given(tables, numbers, numbers, rules)
@settings(max_examples=170, deadline=None)
def test_a_larger_number_removes_a_superset(table: ScoreTable, one: float, other: float, rule: Rule) -> None:
    low, high = (allocate(table, tolerance=t, rule=rule) for t in sorted((one, other)))
    for shallow, deep in zip(low.groups, high.groups, strict=True):
        assert set(shallow.pruned) <= set(deep.pruned)


def test_the_multiples_of_a_plan_are_told_by_group_and_what_they_share() -> None:
    scores = [float(unit) for unit in range(16)]
    plan = allocate(table_of((scores, scores), (scores, scores)), tolerance=0.2, round_to={"g0": 4, "g1": 6})
    assert [(group.round_to, group.units - group.depth, group.unrounded_depth) for group in plan.groups] == [
        (4, 8, 8),
        (6, 12, 8),
    ]
    assert plan.round_to == 2


@given(tables, numbers)
@settings(max_examples=50, deadline=None)
def test_a_ranking_gives_the_plan_of_its_table(table: ScoreTable, tolerance: float) -> None:
    assert allocate(Ranking(table), tolerance=tolerance) == allocate(table, tolerance=tolerance)


def test_ties_are_broken_by_index() -> None:
    table = table_of(([1.0] * 6, [0.0, 0.0, 0.0, 1.0, 1.0, 1.0]))
    assert allocate(table, tolerance=0.1).groups[0].pruned == (0, 1, 2)


def test_settings_out_of_range_are_refused() -> None:
    for tolerance in (0.0, -0.1, 1.1, float("nan")):
        with pytest.raises(SettingError, match="tolerance"):
            allocate(table_of(), tolerance=tolerance)
    with pytest.raises(SettingError, match="rule is 'best'"):
        allocate(table_of(), tolerance=0.1, rule="best")
