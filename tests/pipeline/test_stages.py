"""The stages between the dense model and the fine-tuned candidate, one after another on a tiny network."""

import pytest
import torch

import fair_pruner
from pipeline.allocate import allocate
from pipeline.calibrate import calibrate
from pipeline.config import CalibrateConfig, DataConfig, FinetuneConfig, RecalibrateConfig, ScoreConfig, TrainConfig
from pipeline.data import Data, load_data
from pipeline.dense import dense
from pipeline.errors import InputError, StageError
from pipeline.finetune import finetune
from pipeline.models import load_model
from pipeline.prune import prune
from pipeline.recalibrate import recalibrate
from pipeline.records import CalibrationSet, ModelRecord, PlanRecord, ScoreRecord
from pipeline.score import score
from pipeline.store import Store

DATA, SEED = DataConfig(), 3


@pytest.fixture
def calibration() -> CalibrationSet:
    return calibrate(DATA, CalibrateConfig(per_class=8), SEED)


@pytest.fixture
def scores(dense_record: ModelRecord, calibration: CalibrationSet, store: Store) -> ScoreRecord:
    return score(dense_record, calibration, (), DATA, ScoreConfig(projections=8), SEED, store)


@pytest.fixture
def plan(dense_record: ModelRecord, scores: ScoreRecord, store: Store) -> PlanRecord:
    return allocate(dense_record, scores, 0.6, (), 1, 1, store)


@pytest.fixture
def pruned(dense_record: ModelRecord, plan: PlanRecord, store: Store) -> ModelRecord:
    return prune(dense_record, plan, store)


def test_calibration_images_come_from_the_training_images_alone(calibration: CalibrationSet) -> None:
    data = load_data(DATA, SEED)
    assert not set(calibration.indices) & set(data.validation_indices)
    labels = data.train.labels[list(calibration.indices)]
    assert torch.bincount(labels).tolist() == [8] * 10
    assert calibrate(DATA, CalibrateConfig(per_class=8), SEED).digest == calibration.digest


def test_a_class_without_images_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    data = load_data(DATA, SEED)
    without = tuple(i for i in data.fit_indices if int(data.train.labels[i]) != 7)
    monkeypatch.setattr("pipeline.calibrate.load_data", lambda *_: Data(**{**vars(data), "fit_indices": without}))
    with pytest.raises(InputError, match="class 7 has no training images"):
        calibrate(DATA, CalibrateConfig(), SEED)


def test_scores_are_the_librarys_and_do_not_change_the_model(
    dense_record: ModelRecord, scores: ScoreRecord, calibration: CalibrationSet, store: Store
) -> None:
    table = fair_pruner.ScoreTable.from_json(store.path(scores.table).read_text())
    images, labels = load_data(DATA, SEED).train.load(calibration.indices)
    expected = fair_pruner.score(
        load_model(dense_record, store),
        zip(images.split(64), labels.split(64), strict=True),
        example_input=torch.zeros(2, 1, 8, 8),
        projections=8,
        seed=SEED,
    )
    assert table == expected
    assert scores.parents == (dense_record.digest, calibration.digest)
    assert (scores.groups, scores.units) == (2, 24)


def test_a_plan_predicts_what_the_cut_costs(
    dense_record: ModelRecord, plan: PlanRecord, pruned: ModelRecord, store: Store
) -> None:
    assert 0 < plan.units_removed < plan.units == 24
    assert (pruned.params, pruned.macs) == (plan.params, plan.macs)
    stored = sum(value.numel() * value.element_size() for value in load_model(pruned, store).state_dict().values())
    assert plan.weights_bytes == stored
    assert pruned.macs < dense_record.macs


def test_a_cut_that_costs_something_else_fails(dense_record: ModelRecord, plan: PlanRecord, store: Store) -> None:
    with pytest.raises(StageError, match="the plan predicted"):
        prune(dense_record, plan.model_copy(update={"macs": plan.macs + 1}), store)


def test_recalibration_measures_the_statistics_of_the_calibration_set(
    pruned: ModelRecord, calibration: CalibrationSet, store: Store
) -> None:
    record = recalibrate(pruned, calibration, DATA, RecalibrateConfig(batch_size=80), SEED, store)
    model = load_model(record, store)
    images, _ = load_data(DATA, SEED).train.load(calibration.indices)
    with torch.no_grad():
        first = model.get_submodule("features.0")(images)
    norm = model.get_submodule("features.1")
    torch.testing.assert_close(norm.running_mean, first.mean((0, 2, 3)))
    torch.testing.assert_close(norm.running_var, first.var((0, 2, 3)))
    before, after = load_model(pruned, store).state_dict(), model.state_dict()
    changed = {name.rpartition(".")[2] for name in before if not torch.equal(before[name], after[name])}
    assert changed <= {"running_mean", "running_var", "num_batches_tracked"}
    assert record.parents == (pruned.digest, calibration.digest)


def test_finetuning_improves_and_repeats_exactly(pruned: ModelRecord, calibration: CalibrationSet, store: Store) -> None:
    start = recalibrate(pruned, calibration, DATA, RecalibrateConfig(), SEED, store)
    config = FinetuneConfig(epochs=3, batch_size=32, lr=0.1)
    record = finetune(start, "finetune", DATA, config, SEED, store)
    assert record.history[-1].top1_validation > max(0.25, record.history[0].top1_validation)
    assert finetune(start, "finetune", DATA, config, SEED, store).digest == record.digest
    assert (record.params, record.macs, record.stage) == (pruned.params, pruned.macs, "finetuned")
    untouched = finetune(start, "finetune", DATA, FinetuneConfig(epochs=0), SEED, store)
    assert untouched.weights == start.weights


def test_a_dense_model_is_trained_or_loaded(dense_record: ModelRecord, store: Store) -> None:
    recipe = TrainConfig(epochs=1, batch_size=64, lr=0.05)
    trained = dense(dense_record.architecture, recipe, DATA, SEED, store)
    assert trained.history[0].top1_validation > 0.3
    loaded = dense(dense_record.architecture, trained.weights, DATA, SEED, store)
    assert loaded.weights == trained.weights
    assert loaded.history == ()
