"""Plans that meet a budget as nearly as whole units allow."""

from itertools import pairwise
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from fair_pruner import (
    Budget,
    BudgetError,
    CostModel,
    PruningPlan,
    Ranking,
    ScoreTable,
    SettingError,
    allocate,
    plan_for,
    tolerance_for,
)
from fair_pruner.rounding import bare_plan
from fair_pruner.types import Rule
from pipeline.builtin_models import VGG, CifarResNet

from .tables import Counting, scores_for, table_of, tables

rules = st.sampled_from(["tod", "uniform", "global"])


def of(table: ScoreTable, limit: int, costs: Any, **how: Any) -> tuple[PruningPlan, PruningPlan]:
    """The filled plan, and the one at its number."""
    arguments = {"example_input": torch.zeros(1), "budget": Budget(params=limit), "costs": costs, **how}
    number = tolerance_for(table, nn.Identity(), **arguments)
    return plan_for(table, nn.Identity(), **arguments), allocate(table, tolerance=number, **how)


def stops(table: ScoreTable, plan: PruningPlan, at_number: PruningPlan, place: int) -> list[int]:
    """The depths at which a group may stop, by definition."""
    group, deepest = Ranking(table).groups[place], at_number.groups[place]
    whole = [depth for depth in range(1, deepest.depth) if (group.units - depth) % plan.round_to == 0]
    allowed = [depth for depth in whole if plan.rule != "tod" or group.curve[depth] <= plan.tolerance]
    return sorted({0, *allowed, deepest.depth})


@given(tables, rules, st.integers(1, 9), st.integers(1, 9), st.data())
@settings(max_examples=150, deadline=None)
def test_laws_of_a_filled_plan(table: ScoreTable, rule: Rule, round_to: int, min_units: int, data: st.DataObject) -> None:
    costs, how = Counting(table), {"rule": rule, "round_to": round_to, "min_units": min_units}
    least = costs.after(allocate(table, tolerance=1.0, **how)).params
    limit = data.draw(st.integers(least, costs.dense.params))
    plan, at_number = of(table, limit, costs, **how)
    assert costs.after(plan).params <= limit
    assert (plan.tolerance, plan.rule, plan.round_to, plan.min_units) == (at_number.tolerance, rule, round_to, min_units)
    depths = [group.depth for group in plan.groups]
    for place, (group, deepest) in enumerate(zip(plan.groups, at_number.groups, strict=True)):
        allowed = stops(table, plan, at_number, place)
        assert group.depth in allowed
        assert set(group.pruned) <= set(deepest.pruned)
        if rule == "tod" and round_to == 1:
            assert group.tod <= plan.tolerance
        if group.depth:  # to take back one more step of any group would exceed the budget
            before = allowed[allowed.index(group.depth) - 1]
            assert costs.after(bare_plan(Ranking(table), [*depths[:place], before, *depths[place + 1 :]])).params > limit
        assert group.unrounded_depth == (deepest.unrounded_depth if group.depth == deepest.depth else group.depth)


@given(tables, rules, st.integers(1, 9), st.data())
@settings(max_examples=100, deadline=None)
def test_a_budget_that_a_number_meets_exactly_gets_its_plan(
    table: ScoreTable, rule: Rule, round_to: int, data: st.DataObject
) -> None:
    costs, how = Counting(table), {"rule": rule, "round_to": round_to}
    number = data.draw(st.sampled_from(Ranking(table).critical(rule=rule)))
    limit = costs.after(allocate(table, tolerance=number, **how)).params
    plan, at_number = of(table, limit, costs, **how)
    assert plan == at_number


@given(tables, rules, st.data())
@settings(max_examples=100, deadline=None)
def test_steps_go_back_one_by_one_from_the_last(table: ScoreTable, rule: Rule, data: st.DataObject) -> None:
    """The definition, without any search: every step with the smallest number and share of progress at which it is taken."""
    costs, ranking = Counting(table), Ranking(table)
    limit = data.draw(st.integers(costs.after(allocate(table, tolerance=1.0, rule=rule)).params, costs.dense.params))
    plan, at_number = of(table, limit, costs, rule=rule)
    critical = ranking.critical(rule=rule)
    by_number = [[0] * len(table.groups), *ranking.depths(critical, rule=rule).tolist()]
    steps = []
    for place in range(len(table.groups)):
        allowed = stops(table, plan, at_number, place)
        for before, depth in pairwise(allowed):
            at = next(row for row, depths in enumerate(by_number) if depths[place] >= depth)
            start, end = by_number[at - 1][place], by_number[at][place]
            steps.append((at, (depth - start) / (end - start), place, before))
    depths = [group.depth for group in at_number.groups]
    fixed = set()
    for _, _, place, before in sorted(steps, reverse=True):
        tried = [*depths[:place], before, *depths[place + 1 :]]
        if place not in fixed and costs.after(bare_plan(ranking, tried)).params <= limit:
            depths = tried
        else:
            fixed.add(place)
    assert [group.depth for group in plan.groups] == depths


@pytest.mark.parametrize("agreement", [-1.0, -0.5, 0.0, 0.5, 1.0])
@pytest.mark.parametrize("rule", ["tod", "uniform", "global"])
@pytest.mark.parametrize("model", [CifarResNet(20, 1, 10), VGG(1, 10)], ids=["resnet20", "vgg"])
def test_macs_of_builtin_networks_are_within_one_percent_of_the_budget(model: nn.Module, rule: Rule, agreement: float) -> None:
    example = torch.zeros(2, 1, 16, 16)
    costs = CostModel(model, example)
    for seed in range(3):
        ranking = Ranking(scores_for(costs.groups, seed, agreement))
        for share in (0.5, 0.35, 0.25):
            limit = Budget(macs=share).limit(costs.dense)
            plan = plan_for(ranking, model, example_input=example, budget=Budget(macs=share), rule=rule, costs=costs)
            assert 0.99 * limit <= costs.after(plan).macs <= limit
            assert rule != "tod" or all(group.tod <= plan.tolerance for group in plan.groups)


def test_golden_plan() -> None:
    """Two groups of 8 whose rankings agree lose half each at the smallest tolerance; in proportion, the last group first."""
    alike = [float(unit) for unit in range(8)]
    table = table_of((alike, alike), (alike, alike))  # 8 units at 1, 8 units at 2: 24 in all, 12 at the smallest tolerance
    found = {limit: of(table, limit, Counting(table))[0] for limit in (12, 13, 14, 15, 20, 23, 24)}
    depths = {limit: [group.depth for group in plan.groups] for limit, plan in found.items()}
    assert depths == {12: [4, 4], 13: [3, 4], 14: [4, 3], 15: [3, 3], 20: [2, 1], 23: [1, 0], 24: [0, 0]}
    assert {plan.removed_mass for plan in (found[12], found[15])} == {12.0, 6.0}


def test_automatic_multiples_and_latency_take_the_plan_at_the_number() -> None:
    scores = [float(unit) for unit in range(16)]
    table = table_of((scores, scores[::-1]), (scores, scores))

    def latency(plan: PruningPlan) -> float:
        return 32.0 - sum(group.depth for group in plan.groups)

    arguments = {"example_input": torch.zeros(1), "costs": Counting(table), "latency": latency}
    for budget, round_to in ((Budget(latency_ms=20.5), 1), (Budget(params=30), "auto")):
        number = tolerance_for(table, nn.Identity(), budget=budget, round_to=round_to, **arguments)
        plan = plan_for(table, nn.Identity(), budget=budget, round_to=round_to, **arguments)
        assert plan == allocate(table, tolerance=number, round_to=round_to, latency=latency)
    with pytest.raises(SettingError, match="need `latency`"):
        plan_for(table, nn.Identity(), budget=Budget(latency_ms=1.0), example_input=torch.zeros(1), costs=Counting(table))


def test_a_model_is_traced_where_no_costs_are_given_and_ignored_layers_stay() -> None:
    torch.manual_seed(0)
    model, example = VGG(1, 4, widths=(6, "M", 10)), torch.randn(2, 1, 6, 6)
    costs = CostModel(model, example)
    rest = ScoreTable(scores_for(costs.groups, 0, 0.5).groups[1:], "random", 1, 0, 1, 2)
    plan = plan_for(rest, model, example_input=example, budget=Budget(params=0.7), ignore=("features.0",))
    assert [group.name for group in plan.groups] == ["features.4"]
    assert plan == plan_for(rest, model, example_input=example, budget=Budget(params=0.7), costs=costs)
    with pytest.raises(BudgetError, match="is the least"):
        plan_for(rest, model, example_input=example, budget=Budget(params=1), ignore=("features.0",))
