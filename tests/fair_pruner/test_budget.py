"""Budgets: the smallest number of a rule that meets one."""

import dataclasses
import math
from typing import Literal

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from fair_pruner import (
    Budget,
    BudgetError,
    Cost,
    CostModel,
    PlanError,
    PruningPlan,
    Ranking,
    ScoreTable,
    SettingError,
    allocate,
    tolerance_for,
)
from fair_pruner.budget import LOOKS
from fair_pruner.types import Rule
from pipeline.builtin_models import CifarResNet

from .tables import Counting, table_of, tables

rules = st.sampled_from(["tod", "uniform", "global"])


@given(tables, rules, st.integers(1, 9), st.integers(1, 9), st.data())
@settings(max_examples=110, deadline=None)
def test_the_number_meets_the_budget_and_the_next_smaller_one_does_not(
    table: ScoreTable, rule: Rule, round_to: int, min_units: int, data: st.DataObject
) -> None:
    costs, ranking = Counting(table), Ranking(table)

    def cost(number: float) -> int:
        return costs.after(allocate(table, tolerance=number, rule=rule, round_to=round_to, min_units=min_units)).params

    limit = data.draw(st.integers(cost(1.0), costs.dense.params))
    found = tolerance_for(
        ranking, nn.Identity(), example_input=torch.zeros(1), budget=Budget(params=limit), rule=rule, round_to=round_to,
        min_units=min_units, costs=costs,
    )  # fmt: skip
    critical = ranking.critical(rule=rule, min_units=min_units)
    assert cost(found) <= limit
    if found == critical[0]:
        assert cost(1e-9) == cost(found)  # no smaller number takes less
    else:
        assert cost(critical[critical.index(found) - 1]) > limit
        assert cost(math.nextafter(found, 0)) > limit


Scored = tuple[ScoreTable, CifarResNet, Tensor]


@pytest.fixture(scope="module")
def scored() -> Scored:
    torch.manual_seed(0)
    model, example = CifarResNet(8, 1, 10), torch.zeros(2, 1, 8, 8)
    groups = CostModel(model, example).groups
    table = table_of(*((torch.rand(g.units).tolist(), torch.rand(g.units).tolist()) for g in groups))
    named = (dataclasses.replace(s, name=g.name) for s, g in zip(table.groups, groups, strict=True))
    return dataclasses.replace(table, groups=tuple(named)), model, example


@pytest.mark.parametrize("rule", ["tod", "uniform", "global"])
@pytest.mark.parametrize("budget", [Budget(macs=0.5), Budget(params=0.6), Budget(bytes=100_000), Budget(macs=1.0)])
def test_a_budget_of_a_network(scored: Scored, budget: Budget, rule: Rule) -> None:
    table, model, example = scored
    costs = CostModel(model, example)
    number = tolerance_for(table, model, example_input=example, budget=budget, rule=rule)
    assert number == tolerance_for(table, model, example_input=example, budget=budget, rule=rule, costs=costs)

    def cost(at: float) -> int:
        return int(getattr(costs.after(allocate(table, tolerance=at, rule=rule)), budget.quantity))

    assert cost(number) <= budget.limit(costs.dense)
    assert cost(number) == cost(1e-9) or cost(number - 1e-9) > budget.limit(costs.dense)


def test_ignored_layers_are_no_groups_of_the_cost(scored: Scored) -> None:
    table, model, example = scored
    first = table.groups[0].name
    budget = Budget(params=0.9)
    with pytest.raises(PlanError, match="no group"):
        tolerance_for(table, model, example_input=example, budget=budget, ignore=(first,))
    rest = dataclasses.replace(table, groups=table.groups[1:])
    number = tolerance_for(rest, model, example_input=example, budget=budget, ignore=(first,))
    assert number == tolerance_for(rest, model, example_input=example, budget=budget)


def test_an_unreachable_budget_says_what_can_be_reached(scored: Scored) -> None:
    table, model, example = scored
    least = CostModel(model, example).after(allocate(table, tolerance=1.0, min_units=4)).macs
    with pytest.raises(BudgetError, match=f"no tolerance brings macs down to 1: {least} is the least, .* in rounds"):
        tolerance_for(table, model, example_input=example, budget=Budget(macs=1), min_units=4)
    with pytest.raises(BudgetError, match="no pruning ratio"):
        tolerance_for(table, model, example_input=example, budget=Budget(macs=1), rule="uniform")


milliseconds = st.lists(st.integers(0, 9), min_size=31, max_size=31)  # of a group by what is left of it: in no order


@given(tables, rules, st.sampled_from([1, 4, "auto"]), milliseconds, st.integers(0, 40))
@settings(max_examples=100, deadline=None)
def test_a_latency_that_rises_and_falls_is_met_where_the_next_smaller_number_fails(
    table: ScoreTable, rule: Rule, round_to: int | Literal["auto"], by_units: list[int], limit: int
) -> None:
    costs, ranking = Counting(table), Ranking(table)

    def latency(plan: PruningPlan) -> float:
        left = {group.name: group.units for group in table.groups}
        left |= {group.name: group.units - group.depth for group in plan.groups}
        return float(sum(by_units[units] for units in left.values()))

    def at(number: float) -> float:
        return latency(allocate(ranking, tolerance=number, rule=rule, round_to=round_to, latency=latency))

    critical, budget = ranking.critical(rule=rule), Budget(latency_ms=limit + 0.5)
    settings = {"rule": rule, "round_to": round_to, "costs": costs, "latency": latency}
    if min(map(at, critical)) > limit:
        with pytest.raises(BudgetError, match="is the least"):
            tolerance_for(ranking, nn.Identity(), example_input=torch.zeros(1), budget=budget, **settings)
        return
    try:
        found = tolerance_for(ranking, nn.Identity(), example_input=torch.zeros(1), budget=budget, **settings)
    except BudgetError:
        assert len(critical) > LOOKS and at(critical[-1]) > limit  # too many numbers to look at each
        return
    assert at(found) <= limit
    assert found == critical[0] or at(critical[critical.index(found) - 1]) > limit


def test_a_latency_budget_names_the_least_that_was_found_and_not_the_last() -> None:
    scores = [float(unit) for unit in range(8)]
    table = table_of((scores, scores[::-1]))
    by_depth = {0: 9.0, 1: 7.0, 2: 5.25, 3: 6.0, 4: 8.0}

    def latency(plan: PruningPlan) -> float:
        return by_depth.get(plan.units_removed, 10.0)

    arguments = {"rule": "uniform", "example_input": torch.zeros(1), "costs": Counting(table), "latency": latency}
    with pytest.raises(BudgetError, match=r"no pruning ratio brings latency_ms down to 5: 5\.25 is the least"):
        tolerance_for(table, nn.Identity(), budget=Budget(latency_ms=5), **arguments)
    assert tolerance_for(table, nn.Identity(), budget=Budget(latency_ms=5.5), **arguments) == 2 / 8


def test_latency_needs_something_that_predicts_it(scored: Scored) -> None:
    table, model, example = scored
    for asked in ({"budget": Budget(latency_ms=1.0)}, {"budget": Budget(macs=0.5), "round_to": "auto"}):
        with pytest.raises(SettingError, match="need `latency`"):
            tolerance_for(table, model, example_input=example, **asked)
    with pytest.raises(SettingError, match="need `latency`"):
        allocate(table, tolerance=0.1, round_to="auto")


def test_milliseconds_are_never_a_share() -> None:
    dense = Cost(params=100, macs=100, bytes=100)
    assert [Budget(latency_ms=given).limit(dense) for given in (0.5, 1, 2.5)] == [0.5, 1, 2.5]
    assert [Budget(macs=given).limit(dense) for given in (0.5, 1, 1.0)] == [50, 1, 100]


def test_budgets_must_make_sense() -> None:
    for wrong in (0, -1.0, math.inf, math.nan):
        with pytest.raises(SettingError, match="positive number of milliseconds"):
            Budget(latency_ms=wrong)
    for wrong in ({}, {"macs": 0.5, "params": 0.5}, {"macs": 1.5}, {"bytes": 0}, {"params": -0.1}):
        with pytest.raises(SettingError):
            Budget(**wrong)
