"""Predicted latency, on a runtime whose latencies are known."""

from dataclasses import replace

import pytest

from fair_pruner import CostModel, GroupPlan, PlanError, PruningPlan, compose, remainder, remove
from pipeline.errors import InputError
from pipeline.latency_model import LatencyModel
from pipeline.models import example_input, load_model
from pipeline.records import ModelRecord
from pipeline.store import Store

from .layer_tables import DENSE_MS, OVERHEAD_MS, layer_ms, measured

NOTHING = PruningPlan((), 0.1, "tod", 1, 1)


def cutting(**pruned: int) -> PruningPlan:
    """The first units of features.0 (8 units) and features.4 (16)."""
    sizes = {"features_0": 8, "features_4": 16}
    groups = (
        GroupPlan(name.replace("_", "."), sizes[name], tuple(range(count)), 0.0, 0.0, 0.0, 0.0, count)
        for name, count in pruned.items()
    )
    return replace(NOTHING, groups=tuple(groups))


@pytest.fixture
def model(dense_record: ModelRecord, store: Store) -> LatencyModel:
    network, inputs = load_model(dense_record, store), example_input(dense_record.architecture, batch=2)
    return LatencyModel.of(measured(dense_record, store), store, CostModel(network, inputs))


def test_a_plan_that_cuts_nothing_has_the_dense_latency(model: LatencyModel) -> None:
    assert model.predict(NOTHING) == model.predict(cutting(features_0=0)) == DENSE_MS


def test_the_rest_of_the_network_shrinks_as_its_layers_do(model: LatencyModel) -> None:
    def layers(first: int, second: int) -> float:
        kinds = [layer.kind for layer in model.table.layers]
        widths = ((1, first), (first, second), (second, 10))
        return sum(layer_ms(kind, each, 8) for kind, each in zip(kinds, widths, strict=True))

    plan = cutting(features_0=0, features_4=8)
    share = layers(8, 8) / layers(8, 16)
    assert 0 < share < 1
    assert model.predict(plan) == pytest.approx(OVERHEAD_MS + (DENSE_MS - OVERHEAD_MS) * share)


def test_a_cut_off_the_block_is_no_gain(model: LatencyModel) -> None:
    assert model.predict(cutting(features_4=1)) > model.predict(cutting(features_4=4)) > model.predict(cutting(features_4=8))


def test_after_an_earlier_cut_plans_speak_of_what_is_left(model: LatencyModel, dense_record: ModelRecord, store: Store) -> None:
    network, inputs = load_model(dense_record, store), example_input(dense_record.architecture, batch=2)
    first, whole = cutting(features_4=4), cutting(features_0=0, features_4=8)
    cut = LatencyModel.of(measured(dense_record, store), store, CostModel(remove(network, first, example_input=inputs), inputs))
    assert cut.predict(NOTHING) == model.predict(first)
    assert cut.predict(remainder(whole, first)) == model.predict(whole)
    assert compose(first, remainder(whole, first)).units_removed == 8


def test_an_overhead_above_the_whole_leaves_no_less_than_the_whole(model: LatencyModel) -> None:
    noisy = replace(model, table=model.table.model_copy(update={"overhead_ms": 3.0}))
    assert noisy.predict(cutting(features_4=8)) == DENSE_MS


def test_what_does_not_fit_is_refused(model: LatencyModel, dense_record: ModelRecord, store: Store) -> None:
    with pytest.raises(PlanError, match="no group of this model"):
        model.predict(replace(NOTHING, groups=(GroupPlan("other", 2, (0,), 0.0, 0.0, 0.0, 0.0, 1),)))
    record = measured(dense_record, store)
    store.path(record.table).unlink()
    with pytest.raises(InputError, match="missing from the store"):
        LatencyModel.of(record, store, model.costs)
