"""The stages between the dense model and the fine-tuned candidate, one after another on a tiny network."""

from pathlib import Path
from typing import Any

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
from pipeline.records import CalibrationSet, Goal, ModelRecord, PlanRecord, ScoreRecord
from pipeline.score import score
from pipeline.store import Store

DATA, SEED = DataConfig(), 3
TOLERANCE = Goal(quantity="tolerance", value=0.6)


def scored(model: ModelRecord, calibration: CalibrationSet, store: Store, **settings: Any) -> ScoreRecord:
    config = ScoreConfig(projections=8, **settings)
    return score(model, calibration, (), False, DATA, config, SEED, "score", store)


@pytest.fixture
def calibration() -> CalibrationSet:
    return calibrate(DATA, CalibrateConfig(per_class=8), SEED)


@pytest.fixture
def scores(dense_record: ModelRecord, calibration: CalibrationSet, store: Store) -> ScoreRecord:
    return scored(dense_record, calibration, store)


@pytest.fixture
def plan(dense_record: ModelRecord, scores: ScoreRecord, store: Store) -> PlanRecord:
    return allocate(dense_record, dense_record, scores, TOLERANCE, 1.0, "tod", 1, 1, None, store)


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
    assert (scores.groups, scores.units, scores.samples, scores.classes) == (2, 24, 80, 10)
    assert (scores.removal, scores.observe, scores.aggregate, scores.protection) == (
        "wasserstein",
        "activation",
        "mean",
        "absolute",
    )


def test_every_setting_of_the_score_arrives(
    dense_record: ModelRecord, calibration: CalibrationSet, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = {"removal": "l1", "observe": "norm", "aggregate": "mean", "protection": "absolute", "memory_mb": 64}
    calls: list[dict[str, Any]] = []
    real = fair_pruner.score
    monkeypatch.setattr(fair_pruner, "score", lambda *a, **k: calls.append(k) or real(*a, **k))
    record = scored(dense_record, calibration, store, **settings)
    assert settings.items() <= calls[0].items()
    assert (calls[0]["projections"], calls[0]["embedding"], calls[0]["seed"]) == (8, False, SEED)
    assert (record.removal, record.observe, record.aggregate, record.protection) == ("l1", "norm", "mean", "absolute")


def test_the_calibration_images_can_be_passed_over_again(
    dense_record: ModelRecord, calibration: CalibrationSet, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []

    def passes(_: object, batches: Any, **settings: Any) -> Any:
        seen.extend(len(labels) for _ in range(2) for _, labels in batches)
        return real(_, batches, **settings)

    real = fair_pruner.score
    monkeypatch.setattr(fair_pruner, "score", passes)
    scored(dense_record, calibration, store)
    assert seen == [64, 16] * 2


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


def test_scores_by_a_function_of_the_persons_own_tell_which(
    dense_record: ModelRecord, calibration: CalibrationSet, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "last_first.py").write_text(
        "import torch\n\ndef signal(group, model):\n    return torch.arange(group.units, 0, -1)\n"
    )
    record = scored(dense_record, calibration, store, removal="last_first:signal")
    table = fair_pruner.ScoreTable.from_json(store.path(record.table).read_text())
    assert (record.removal, len(record.source), table.removal) == ("last_first:signal", 64, "custom")
    plan = allocate(dense_record, dense_record, record, TOLERANCE, 1.0, "uniform", 1, 1, None, store)
    pruned = fair_pruner.PruningPlan.from_json(store.path(plan.plan).read_text()).groups[0].pruned
    assert pruned == tuple(range(8 - len(pruned), 8))
