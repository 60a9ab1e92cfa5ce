"""Plans that depend on the latency of layers: of a runtime that is made up, on which every second channel count is slow."""

from collections.abc import Callable
from typing import Any

import pytest

from fair_pruner import BudgetError, PruningPlan
from pipeline.allocate import allocate
from pipeline.calibrate import calibrate
from pipeline.config import CalibrateConfig, DataConfig, ScoreConfig
from pipeline.errors import InputError
from pipeline.latency import LayerCostRecord
from pipeline.prune import prune
from pipeline.records import Goal, ModelRecord, PlanRecord, ScoreRecord
from pipeline.score import score
from pipeline.store import Store

from .layer_tables import DENSE_MS, measured

DATA, SEED = DataConfig(), 3
Plan = Callable[..., PlanRecord]


def scored(model: ModelRecord, store: Store) -> ScoreRecord:
    calibration = calibrate(DATA, CalibrateConfig(per_class=8), SEED)
    return score(model, calibration, (), False, DATA, ScoreConfig(projections=8), SEED, "score", store)


@pytest.fixture
def costs(dense_record: ModelRecord, store: Store) -> LayerCostRecord:
    return measured(dense_record, store)


@pytest.fixture
def plan(dense_record: ModelRecord, costs: LayerCostRecord, store: Store) -> Plan:
    scores = scored(dense_record, store)

    def planned(quantity: Any, value: float, **changed: Any) -> PlanRecord:
        arguments = {"model": dense_record, "scores": scores, "way": 1.0, "rule": "tod", "round_to": 1, "layer_costs": costs}
        goal = Goal(quantity=quantity, value=value)
        return allocate(**{**arguments, "dense": dense_record, "goal": goal, "min_units": 1, "store": store, **changed})

    return planned


def pruned_units(record: PlanRecord, store: Store) -> dict[str, set[int]]:
    return {group.name: set(group.pruned) for group in PruningPlan.from_json(store.path(record.plan).read_text()).groups}


def test_latency_is_predicted_whenever_layers_were_measured(plan: Plan) -> None:
    assert plan("tolerance", 0.5, layer_costs=None).latency_ms is None
    nothing, some = plan("ratio", 1e-6, rule="uniform"), plan("ratio", 0.5, rule="uniform")
    assert nothing.latency_ms == DENSE_MS > some.latency_ms > 0


@pytest.mark.parametrize("tolerance", [0.2, 0.4, 0.6])
def test_automatic_rounding_is_as_fast_as_any_and_cuts_no_deeper_than_the_tolerance(
    plan: Plan, store: Store, tolerance: float
) -> None:
    free = plan("tolerance", tolerance)
    auto = plan("tolerance", tolerance, round_to="auto")
    assert auto.latency_ms <= min(plan("tolerance", tolerance, round_to=multiple).latency_ms for multiple in (1, 2, 4, 8, 16))
    without, with_ = pruned_units(free, store), pruned_units(auto, store)
    assert all(with_[name] <= without[name] for name in without)
    multiples = {depth.group: depth.round_to for depth in auto.depths}
    assert plan("tolerance", tolerance, round_to="auto").plan == auto.plan
    assert all((depth.units - depth.removed) % multiples[depth.group] == 0 for depth in auto.depths if depth.removed)


def test_a_latency_budget_is_met(plan: Plan, dense_record: ModelRecord, store: Store) -> None:
    for round_to in (1, 8, "auto"):
        record = plan("latency_ms", 0.9 * DENSE_MS, round_to=round_to)
        assert record.latency_ms <= record.limit == 0.9 * DENSE_MS
        again = plan("tolerance", record.tolerance, round_to=round_to)
        assert (again.plan, again.latency_ms) == (record.plan, record.latency_ms)
    cut = prune(dense_record, record, store)
    assert (cut.params, cut.macs) == (record.params, record.macs)


def test_a_latency_budget_is_approached_in_rounds(plan: Plan, dense_record: ModelRecord, store: Store) -> None:
    end = 0.8 * DENSE_MS
    first = plan("latency_ms", end, way=0.5)
    assert end < first.latency_ms <= DENSE_MS * 0.8**0.5
    assert first.limit == end
    once = prune(dense_record, first, store)
    second = plan("latency_ms", end, model=once, scores=scored(once, store))
    assert second.latency_ms <= end and second.rounds == 2
    twice = prune(once, second, store)
    met = plan("latency_ms", end, model=twice, scores=scored(twice, store))
    assert (met.plan, met.latency_ms) == (second.plan, second.latency_ms)  # nothing more goes


def test_rounds_with_automatic_multiples_add_up(plan: Plan, dense_record: ModelRecord, store: Store) -> None:
    first = plan("tolerance", 0.4, round_to="auto")
    once = prune(dense_record, first, store)
    second = plan("tolerance", 0.4, round_to="auto", model=once, scores=scored(once, store))
    assert second.latency_ms <= first.latency_ms
    assert prune(once, second, store).macs == second.macs


@pytest.mark.parametrize("way", [1.0, 0.1])
def test_a_latency_out_of_reach_is_seen_before_the_first_cut(plan: Plan, way: float) -> None:
    with pytest.raises(BudgetError, match=r"no tolerance brings latency_ms down to 0\.1: [\d.]+ is the least"):
        plan("latency_ms", 0.1, way=way)


@pytest.mark.parametrize(("goal", "round_to"), [(("latency_ms", 1.0), 1), (("tolerance", 0.4), "auto"), (("macs", 0.5), "auto")])
def test_what_depends_on_latency_needs_layer_costs(plan: Plan, goal: tuple[str, float], round_to: Any) -> None:
    with pytest.raises(InputError, match=r"depends on the latency of layers, which was not measured; set layer_costs\.enabled"):
        plan(*goal, round_to=round_to, layer_costs=None)


def test_a_budget_of_macs_is_met_with_automatic_multiples(plan: Plan, dense_record: ModelRecord) -> None:
    record = plan("macs", 0.6, round_to="auto")
    assert record.macs <= record.limit == int(0.6 * dense_record.macs)


def test_a_plan_is_the_same_with_its_latency_predicted_or_not(plan: Plan, costs: LayerCostRecord) -> None:
    """Nothing that comes after it, such as a fine-tuning, has to be done anew."""
    predicted, without = plan("tolerance", 0.4), plan("tolerance", 0.4, layer_costs=None)
    assert (predicted.latency_ms is None, without.latency_ms is None) == (False, True)
    assert predicted.digest == without.digest
    assert costs.digest in plan("tolerance", 0.4, round_to="auto").parents
