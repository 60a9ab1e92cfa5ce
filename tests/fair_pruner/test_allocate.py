import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fair_pruner import (
    Budget,
    BudgetError,
    CostModel,
    PruningPlan,
    ScoreTable,
    SettingError,
    UnitScores,
    allocate,
    tolerance_for,
)
from fair_pruner.allocate import mass_bound
from pipeline.builtin_models import CifarResNet

values = st.floats(0, 100, allow_subnormal=False)
tables = st.lists(
    st.integers(1, 30).flatmap(lambda n: st.tuples(*[st.lists(values, min_size=n, max_size=n)] * 2)), min_size=1, max_size=4
).map(
    lambda groups: ScoreTable(
        tuple(UnitScores(f"g{i}", tuple(u), tuple(r), (f"g{i}",)) for i, (u, r) in enumerate(groups)),
        "wasserstein", 1, 0, 1, 2,
    )
)  # fmt: skip
tolerances = st.floats(0.001, 1.0)


@given(tables, tolerances, st.integers(1, 9), st.integers(1, 9))
@settings(max_examples=400, deadline=None)
def test_laws_of_a_plan(table: ScoreTable, tolerance: float, round_to: int, min_units: int) -> None:
    plan = allocate(table, tolerance=tolerance, round_to=round_to, min_units=min_units)
    unrounded = allocate(table, tolerance=tolerance, min_units=min_units)
    for scores, group, free in zip(table.groups, plan.groups, unrounded.groups, strict=True):
        kept = group.units - group.depth
        assert kept >= min(min_units, group.units)
        assert kept % round_to == 0 or group.depth == 0
        assert group.depth <= free.depth == group.unrounded_depth
        assert free.tod <= tolerance
        assert group.depth <= group.units / (2 - tolerance) + 1e-9
        removed, remaining = set(group.pruned), set(range(group.units)) - set(group.pruned)
        assert all(scores.u_score[i] <= scores.u_score[j] for i in removed for j in remaining)
        assert group.removed_mass == pytest.approx(sum(scores.r_score[j] for j in removed))
        assert group.removed_mass <= group.mass_bound * (1 + 1e-12) + 1e-12


@given(tables, tolerances, tolerances)
@settings(max_examples=200, deadline=None)
def test_a_larger_tolerance_removes_a_superset(table: ScoreTable, one: float, other: float) -> None:
    low, high = (allocate(table, tolerance=t) for t in sorted((one, other)))
    for shallow, deep in zip(low.groups, high.groups, strict=True):
        assert set(shallow.pruned) <= set(deep.pruned)


@given(st.lists(values, min_size=1, max_size=12), st.data())
@settings(max_examples=300, deadline=None)
def test_the_bound_holds_for_every_set_with_that_overlap(masses: list[float], data: st.DataObject) -> None:
    n = len(masses)
    removed = data.draw(st.sets(st.integers(0, n - 1), min_size=1))
    r = torch.tensor(masses, dtype=torch.float64)
    top = set(r.argsort(descending=True, stable=True)[: len(removed)].tolist())
    bound = mass_bound(r, len(removed), len(removed & top))
    assert float(r[list(removed)].sum()) <= bound * (1 + 1e-12) + 1e-12


def test_ties_are_broken_by_index() -> None:
    table = ScoreTable((UnitScores("g", (1.0,) * 6, (0.0, 0.0, 0.0, 1.0, 1.0, 1.0), ("g",)),), "wasserstein", 1, 0, 1, 2)
    assert allocate(table, tolerance=0.1).groups[0].pruned == (0, 1, 2)


def test_a_plan_goes_to_json_and_back() -> None:
    table = ScoreTable((UnitScores("g", (0.1, 0.2, 0.3), (1 / 3, 0.2, 0.1), ("g",)),), "wasserstein", 1, 0, 1, 2)
    plan = allocate(table, tolerance=0.5)
    assert PruningPlan.from_json(plan.to_json()) == plan


@pytest.mark.parametrize("tolerance", [0.0, -0.1, 1.1, float("nan")])
def test_tolerances_out_of_range_are_refused(tolerance: float) -> None:
    with pytest.raises(SettingError, match="tolerance"):
        allocate(ScoreTable((), "wasserstein", 1, 0, 1, 2), tolerance=tolerance)


@pytest.fixture(scope="module")
def scored() -> tuple[ScoreTable, CifarResNet, torch.Tensor]:
    torch.manual_seed(0)
    model, example = CifarResNet(8, 1, 10), torch.zeros(2, 1, 8, 8)
    groups = CostModel(model, example).groups
    scores = (UnitScores(g.name, tuple(torch.rand(g.units).tolist()), tuple(torch.rand(g.units).tolist()), ()) for g in groups)
    return ScoreTable(tuple(scores), "wasserstein", 1, 0, 1, 2), model, example


@pytest.mark.parametrize("budget", [Budget(macs=0.5), Budget(params=0.6), Budget(bytes=100_000), Budget(macs=1.0)])
def test_the_tolerance_for_a_budget_is_the_smallest_that_meets_it(
    scored: tuple[ScoreTable, CifarResNet, torch.Tensor], budget: Budget
) -> None:
    table, model, example = scored
    costs = CostModel(model, example)
    tolerance = tolerance_for(table, model, example_input=example, budget=budget)

    def cost(at: float) -> int:
        return int(getattr(costs.after(allocate(table, tolerance=at)), budget.quantity))

    assert cost(tolerance) <= budget.limit(costs.dense)
    smallest = cost(1e-9) <= budget.limit(costs.dense)  # then any tolerance will do, and it must cut no more than that
    assert cost(tolerance) == cost(1e-9) if smallest else cost(tolerance - 1e-6) > budget.limit(costs.dense)


def test_an_unreachable_budget_says_what_can_be_reached(scored: tuple[ScoreTable, CifarResNet, torch.Tensor]) -> None:
    table, model, example = scored
    least = CostModel(model, example).after(allocate(table, tolerance=1.0, min_units=4)).macs
    with pytest.raises(BudgetError, match=str(least)):
        tolerance_for(table, model, example_input=example, budget=Budget(macs=1), min_units=4)


def test_budgets_must_make_sense() -> None:
    for wrong in ({}, {"macs": 0.5, "params": 0.5}, {"macs": 1.5}, {"bytes": 0}, {"params": -0.1}):
        with pytest.raises(SettingError):
            Budget(**wrong)
