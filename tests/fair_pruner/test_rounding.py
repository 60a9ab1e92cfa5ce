"""Multiples of channels chosen by predicted latency: laws of the plan that comes of them."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fair_pruner import PruningPlan, Ranking, ScoreTable, allocate
from fair_pruner.rounding import MULTIPLES, choose_multiples
from fair_pruner.types import Rule

from .tables import numbers, table_of, tables

rules = st.sampled_from(["tod", "uniform", "global"])
milliseconds = st.lists(st.integers(0, 9), min_size=31, max_size=31)  # of a group by what is left of it


class Predictor:
    """Milliseconds of every group by the units left in it, and of neighbours together: groups depend on each other."""

    def __init__(self, table: ScoreTable, by_units: list[int]) -> None:
        self.table, self.by_units = table, by_units

    def __call__(self, plan: PruningPlan) -> float:
        left = {group.name: group.units for group in self.table.groups}
        left |= {group.name: group.units - group.depth for group in plan.groups}
        each = [self.by_units[units] for units in left.values()]
        return float(sum(one * (1 + before) for one, before in zip(each, each[-1:] + each[:-1], strict=True)))


@given(tables, numbers, rules, st.integers(1, 4), milliseconds)
@settings(max_examples=100, deadline=None)
def test_the_plan_is_as_fast_as_with_any_one_multiple_and_nowhere_deeper_than_the_rule_allows(
    table: ScoreTable, number: float, rule: Rule, min_units: int, by_units: list[int]
) -> None:
    ranking, latency = Ranking(table), Predictor(table, by_units)
    options = {"tolerance": number, "rule": rule, "min_units": min_units}
    chosen = choose_multiples(ranking, number, latency, rule=rule, min_units=min_units)
    plan = allocate(ranking, round_to=chosen, **options)
    assert set(chosen) == {group.name for group in table.groups} and set(chosen.values()) <= set(MULTIPLES)
    assert latency(plan) <= min(latency(allocate(ranking, round_to=multiple, **options)) for multiple in MULTIPLES)
    free = allocate(ranking, round_to=1, **options)
    for group, unrounded in zip(plan.groups, free.groups, strict=True):
        assert group.depth <= unrounded.depth == group.unrounded_depth
        assert set(group.pruned) <= set(unrounded.pruned)
    assert allocate(ranking, round_to="auto", latency=latency, **options) == plan


@given(tables, numbers, rules, milliseconds)
@settings(max_examples=50, deadline=None)
def test_no_other_multiple_of_one_group_makes_a_mixture_faster(
    table: ScoreTable, number: float, rule: Rule, by_units: list[int]
) -> None:
    ranking, latency = Ranking(table), Predictor(table, by_units)
    chosen = choose_multiples(ranking, number, latency, rule=rule)
    best = allocate(ranking, tolerance=number, rule=rule, round_to=chosen)
    alike = (allocate(ranking, tolerance=number, rule=rule, round_to=multiple) for multiple in MULTIPLES)
    if any([group.pruned for group in plan.groups] == [group.pruned for group in best.groups] for plan in alike):
        return  # one multiple for all, which a mixture must be clearly faster than
    for name in chosen:
        for multiple in MULTIPLES:
            other = allocate(ranking, tolerance=number, rule=rule, round_to=chosen | {name: multiple})
            assert latency(other) >= latency(best)
            assert latency(other) > latency(best) or other.units_removed >= best.units_removed


def test_golden() -> None:
    """A staircase: blocks of 8 in one group; in the next every unit counts; where nothing is gained nothing goes."""
    scores = [float(unit) for unit in range(20)]
    table = table_of((scores, scores), (scores, scores), ([*scores, 20.0, 21.0], [*scores, 20.0, 21.0]))

    def latency(plan: PruningPlan) -> float:
        left = {"g0": 20, "g1": 20} | {group.name: group.units - group.depth for group in plan.groups}
        return 8.0 * -(-left["g0"] // 8) + (5.0 if left["g0"] % 8 else 0.0) + left["g1"]

    ranking = Ranking(table)
    assert ranking.depths((0.2,))[0].tolist() == [11, 11, 12]
    chosen = choose_multiples(ranking, 0.2, latency)
    assert chosen == {"g0": 8, "g1": 1, "g2": 32}
    assert ranking.depths((0.2,), round_to=chosen)[0].tolist() == [4, 11, 0]


@pytest.mark.parametrize(("gain", "taken"), [(0.02, {"g0": 8, "g1": 8}), (0.04, {"g0": 8, "g1": 4})])
def test_a_mixture_is_taken_only_if_it_is_faster_by_more_than_predictions_are_wrong(gain: float, taken: dict[str, int]) -> None:
    scores = [float(unit) for unit in range(20)]
    table = table_of((scores, scores), (scores, scores))

    def latency(plan: PruningPlan) -> float:
        left = {"g0": 20, "g1": 20} | {group.name: group.units - group.depth for group in plan.groups}
        return 2.0 if left["g0"] % 8 else 1.0 - (gain if left["g1"] == 12 else 0.0)

    assert Ranking(table).depths((0.2,))[0].tolist() == [11, 11]  # 9 are left: 16 with multiples of 8, 12 with those of 4
    assert choose_multiples(Ranking(table), 0.2, latency) == taken


def test_a_table_without_groups_has_nothing_to_choose() -> None:
    assert choose_multiples(Ranking(table_of()), 0.1, lambda plan: 1.0) == {}
