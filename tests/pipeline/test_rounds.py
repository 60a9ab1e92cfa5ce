"""Several cuts in a row: the plan of all of them, its costs, and the model that is rebuilt from it."""

import pytest
import torch

import fair_pruner
from fair_pruner import PruningPlan
from pipeline.allocate import allocate
from pipeline.calibrate import calibrate
from pipeline.config import CalibrateConfig, DataConfig, FinetuneConfig, RecalibrateConfig, ScoreConfig
from pipeline.finetune import finetune
from pipeline.models import load_model
from pipeline.prune import prune
from pipeline.recalibrate import recalibrate
from pipeline.records import CalibrationSet, Goal, ModelRecord, PlanRecord
from pipeline.score import score
from pipeline.store import Store

DATA, SEED = DataConfig(), 3
TOLERANCE, HALF = Goal(quantity="tolerance", value=0.4), Goal(quantity="macs", value=0.5)


@pytest.fixture
def calibration() -> CalibrationSet:
    return calibrate(DATA, CalibrateConfig(per_class=8), SEED)


def planned(
    model: ModelRecord, dense: ModelRecord, calibration: CalibrationSet, store: Store, goal: Goal, way: float = 1.0
) -> PlanRecord:
    scores = score(model, calibration, (), False, DATA, ScoreConfig(projections=8), SEED, "score", store)
    return allocate(model, dense, scores, goal, way, "tod", 1, 1, None, store)


def recovered(model: ModelRecord, plan: PlanRecord, calibration: CalibrationSet, store: Store) -> ModelRecord:
    pruned = recalibrate(prune(model, plan, store), calibration, DATA, RecalibrateConfig(), SEED, store)
    return finetune(pruned, None, None, "", DATA, FinetuneConfig(epochs=1, batch_size=64), SEED, store)


def test_a_model_of_two_rounds_is_rebuilt_from_its_one_plan(
    dense_record: ModelRecord, calibration: CalibrationSet, store: Store
) -> None:
    first = planned(dense_record, dense_record, calibration, store, TOLERANCE)
    once = recovered(dense_record, first, calibration, store)
    second = planned(once, dense_record, calibration, store, TOLERANCE)
    twice = prune(once, second, store)

    assert (first.rounds, second.rounds) == (1, 2)
    assert first.units == second.units == 24
    assert first.units_removed < second.units_removed
    for one, both in zip(first.depths, second.depths, strict=True):
        assert (one.group, one.units) == (both.group, both.units)
        assert one.removed <= both.removed
    assert (twice.params, twice.macs) == (second.params, second.macs)
    assert twice.plan == second.plan
    plans = [PruningPlan.from_json(store.path(plan.plan).read_text()) for plan in (first, second)]
    images = torch.randn(4, 1, 8, 8)
    by_hand = fair_pruner.remove(load_model(once, store), fair_pruner.remainder(plans[1], plans[0]), example_input=images).eval()
    rebuilt = load_model(twice, store)
    torch.testing.assert_close(rebuilt(images), by_hand(images), rtol=0, atol=0)
    stored = sum(value.numel() * value.element_size() for value in rebuilt.state_dict().values())
    assert second.weights_bytes == stored


def test_masses_of_two_rounds_add_up(dense_record: ModelRecord, calibration: CalibrationSet, store: Store) -> None:
    first = planned(dense_record, dense_record, calibration, store, TOLERANCE)
    second = planned(prune(dense_record, first, store), dense_record, calibration, store, TOLERANCE)
    assert second.removed_mass == pytest.approx(sum(depth.removed_mass for depth in second.depths))
    assert second.random_mass == pytest.approx(sum(depth.random_mass for depth in second.depths))
    assert first.removed_mass <= second.removed_mass <= second.mass_bound
    assert second.exchange_margin == pytest.approx(second.uniform_mass - second.removed_mass)


def test_a_budget_is_met_and_its_tolerance_is_told(dense_record: ModelRecord, calibration: CalibrationSet, store: Store) -> None:
    plan = planned(dense_record, dense_record, calibration, store, HALF)
    assert plan.macs <= plan.limit == dense_record.macs // 2
    at_number = planned(dense_record, dense_record, calibration, store, Goal(quantity="tolerance", value=plan.tolerance))
    assert at_number.macs <= plan.macs
    for filled, deepest in zip(plan.depths, at_number.depths, strict=True):
        assert filled.removed <= deepest.removed
        assert filled.tod <= plan.tolerance
    number = planned(dense_record, dense_record, calibration, store, Goal(quantity="params", value=dense_record.params // 2))
    assert number.params <= number.limit == dense_record.params // 2


def test_a_budget_is_approached_in_equal_ratios(dense_record: ModelRecord, calibration: CalibrationSet, store: Store) -> None:
    first = planned(dense_record, dense_record, calibration, store, HALF, way=0.5)
    assert first.macs <= dense_record.macs * 0.5**0.5
    once = prune(dense_record, first, store)
    second = planned(once, dense_record, calibration, store, HALF)
    assert second.macs <= second.limit == first.limit == dense_record.macs // 2
    assert prune(once, second, store).macs == second.macs
    met = planned(prune(once, second, store), dense_record, calibration, store, HALF)
    assert (met.plan, met.rounds, met.macs) == (second.plan, second.rounds, second.macs)  # nothing more goes


@pytest.mark.parametrize("way", [1.0, 0.1])
def test_a_budget_out_of_reach_is_seen_before_the_first_cut(
    dense_record: ModelRecord, calibration: CalibrationSet, store: Store, way: float
) -> None:
    with pytest.raises(fair_pruner.BudgetError, match="is the least"):
        planned(dense_record, dense_record, calibration, store, Goal(quantity="macs", value=0.001), way)
