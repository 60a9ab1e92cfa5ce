"""Budgets: the smallest number of a rule that meets one."""

import dataclasses
import math
from typing import NamedTuple

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
from fair_pruner.types import Rule
from pipeline.builtin_models import CifarResNet

from .tables import table_of, tables

rules = st.sampled_from(["tod", "uniform", "global"])


class Counting(NamedTuple):
    """A model whose cost is its units, and twice the last group's."""

    table: ScoreTable

    @property
    def dense(self) -> Cost:
        return self.after(PruningPlan((), 0.1, "tod", 1, 1))

    def after(self, plan: PruningPlan) -> Cost:
        units = {group.name: group.units for group in self.table.groups}
        units |= {group.name: group.units - len(group.pruned) for group in plan.groups}
        params = sum(units.values()) + units[self.table.groups[-1].name]
        return Cost(params=params, macs=params, bytes=params)


@given(tables, rules, st.integers(1, 9), st.integers(1, 9), st.data())
@settings(max_examples=600, deadline=None)
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


def test_budgets_must_make_sense() -> None:
    for wrong in ({}, {"macs": 0.5, "params": 0.5}, {"macs": 1.5}, {"bytes": 0}, {"params": -0.1}):
        with pytest.raises(SettingError):
            Budget(**wrong)
