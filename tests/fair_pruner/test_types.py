"""Score tables and plans as text."""

import dataclasses
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fair_pruner import GroupPlan, PruningPlan, ScoreTable, UnitScores, allocate

from .tables import numbers, table_of, tables


@given(tables, numbers, st.sampled_from(["tod", "uniform", "global"]))
@settings(max_examples=200, deadline=None)
def test_plans_and_tables_go_to_json_and_back(table: ScoreTable, number: float, rule: str) -> None:
    plan = dataclasses.replace(allocate(table, tolerance=number, rule=rule), rounds=3)
    assert PruningPlan.from_json(plan.to_json()) == plan
    assert ScoreTable.from_json(table.to_json()) == table


def test_every_field_of_a_table_survives() -> None:
    units = UnitScores("g", (1 / 3, 5e-324), (1e300, 0.1), ("a", "b"), kind="head")
    table = ScoreTable((units,), "custom", 8, 1, 640, 10, observe="norm", aggregate="mean", protection="absolute")
    assert ScoreTable.from_json(table.to_json()) == table


def test_a_plan_of_before_the_rounds_can_be_read() -> None:
    text = '{"kind":"PruningPlan","groups":[],"tolerance":0.1,"rule":"tod","round_to":1,"min_units":1}'
    assert PruningPlan.from_json(text) == PruningPlan((), 0.1, "tod", 1, 1, uniform_mass=0.0, rounds=1)


def test_a_plan_of_before_the_multiples_of_each_group_can_be_read() -> None:
    group = '{"name":"g","units":2,"pruned":[0],"tod":0,"removed_mass":0,"mass_bound":0,"total_mass":1,"unrounded_depth":1}'
    text = f'{{"kind":"PruningPlan","groups":[{group}],"tolerance":0.1,"rule":"tod","round_to":1,"min_units":1}}'
    assert PruningPlan.from_json(text).groups[0].round_to == 1


@given(tables, numbers, st.data())
@settings(max_examples=100, deadline=None)
def test_the_multiples_of_each_group_go_to_json_and_back(table: ScoreTable, number: float, data: st.DataObject) -> None:
    multiples = {group.name: data.draw(st.integers(1, 9)) for group in table.groups}
    plan = allocate(table, tolerance=number, round_to=multiples)
    assert {group.name: group.round_to for group in PruningPlan.from_json(plan.to_json()).groups} == multiples


@pytest.mark.parametrize("wrong", [math.nan, math.inf])
def test_numbers_that_are_not_finite_are_no_json(wrong: float) -> None:
    plan = PruningPlan((GroupPlan("g", 2, (0,), 0.0, wrong, 1.0, 1.0, 1),), 0.1, "tod", 1, 1)
    with pytest.raises(ValueError, match="JSON compliant"):
        plan.to_json()
    with pytest.raises(ValueError, match="JSON compliant"):
        table_of(([1.0], [wrong])).to_json()
    with pytest.raises(ValueError, match="must be finite"):
        PruningPlan.from_json(dataclasses.replace(plan, groups=()).to_json().replace("0.1", "NaN"))


def test_other_text_is_refused() -> None:
    table = table_of(([1.0], [1.0]))
    with pytest.raises(ValueError, match="not the JSON of a PruningPlan"):
        PruningPlan.from_json(table.to_json())
    with pytest.raises(ValueError, match="another version"):
        ScoreTable.from_json(table.to_json().replace('"seed"', '"sown"'))
    with pytest.raises(ValueError, match="another version"):
        ScoreTable.from_json(table.to_json().replace('"r_score"', '"q_score"'))
    with pytest.raises(ValueError, match="Expecting value"):
        ScoreTable.from_json("weights")


def test_sums_of_a_plan() -> None:
    groups = (GroupPlan("a", 4, (0, 2), 0.5, 1.0, 2.0, 6.0, 2), GroupPlan("b", 10, (9,), 0.0, 0.25, 0.5, 5.0, 1))
    plan = PruningPlan(groups, 0.5, "tod", 1, 1, uniform_mass=1.0)
    assert (plan.units, plan.units_removed) == (14, 3)
    assert (plan.removed_mass, plan.mass_bound, plan.random_mass) == (1.25, 2.5, 3.5)
    assert plan.exchange_margin == -0.25
