"""The stages between the dense model and the fine-tuned candidate, one after another on a tiny network."""

from pathlib import Path
from typing import Any

import pytest
import torch

import fair_pruner
from pipeline import training
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
    record = finetune(start, None, None, "finetune", DATA, config, SEED, store)
    assert record.history[-1].top1_validation > max(0.25, record.history[0].top1_validation)
    assert finetune(start, None, None, "finetune", DATA, config, SEED, store).digest == record.digest
    assert (record.params, record.macs, record.stage) == (pruned.params, pruned.macs, "finetuned")
    untouched = finetune(start, None, None, "finetune", DATA, FinetuneConfig(epochs=0), SEED, store)
    assert untouched.weights == start.weights
    assert (record.parents, untouched.history) == ((start.digest,), ())


def test_the_dense_model_teaches_and_norms_are_measured_again(
    dense_record: ModelRecord, pruned: ModelRecord, calibration: CalibrationSet, store: Store
) -> None:
    taught = FinetuneConfig(epochs=1, batch_size=64, distillation={"weight": 0.9, "features": 1.0})
    alone = FinetuneConfig(epochs=1, batch_size=64, recalibrate=True)
    plain = finetune(pruned, dense_record, calibration, "", DATA, FinetuneConfig(epochs=1, batch_size=64), SEED, store)
    assert plain.parents == (pruned.digest,)  # neither is asked for
    with_teacher = finetune(pruned, dense_record, calibration, "", DATA, taught, SEED, store)
    assert with_teacher.parents == (pruned.digest, dense_record.digest)
    assert with_teacher.weights != plain.weights
    measured = finetune(pruned, dense_record, calibration, "", DATA, alone, SEED, store)
    assert measured.parents == (pruned.digest, calibration.digest)
    assert measured.history == plain.history
    before, after = (load_model(record, store).state_dict() for record in (plain, measured))
    changed = {name.rpartition(".")[2] for name in before if not torch.equal(before[name], after[name])}
    assert changed == {"running_mean", "running_var", "num_batches_tracked"}
    images, _ = load_data(DATA, SEED).train.load(calibration.indices)
    with torch.no_grad():
        mean = torch.stack([load_model(plain, store).get_submodule("features.0")(b).mean((0, 2, 3)) for b in images.split(64)])
    torch.testing.assert_close(after["features.1.running_mean"], mean.mean(0))


def test_finetuning_that_was_killed_goes_on(dense_record: ModelRecord, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    config = FinetuneConfig(epochs=2, batch_size=256, checkpoint_seconds=0)
    whole = finetune(dense_record, None, None, "", DATA, config, SEED, store)
    written, real = [], training.write_checkpoint

    def write(path: Path, *content: Any) -> None:
        if len(written) == 7:
            raise KeyboardInterrupt
        written.append(path)
        real(path, *content)

    monkeypatch.setattr(training, "write_checkpoint", write)
    with pytest.raises(KeyboardInterrupt):
        finetune(dense_record, None, None, "", DATA, config, SEED, store)
    monkeypatch.undo()
    assert list((store.root.parent / "unfinished").iterdir()) == [written[0]]
    other = finetune(dense_record, None, None, "", DATA, config, SEED + 1, store)  # which has nothing to go on from
    again = finetune(dense_record, None, None, "", DATA, config, SEED, store)
    assert again.digest == whole.digest != other.digest
    assert list((store.root.parent / "unfinished").iterdir()) == []


def test_finetuning_stops_when_what_is_wanted_is_out_of_reach(dense_record: ModelRecord, store: Store) -> None:
    config = FinetuneConfig(epochs=8, batch_size=256, lr=1e-6)
    record = finetune(dense_record, None, None, "", DATA, config, SEED, store, wanted=0.99)
    assert record.stopped == "a validation accuracy of 0.9900 is out of reach"
    assert len(record.history) < 8
    assert [point.step for point in record.steps] == list(range(1, record.history[-1].step + 1))


def test_an_unknown_optimiser_is_refused(dense_record: ModelRecord, store: Store) -> None:
    with pytest.raises(InputError, match="optimizer nonsense cannot be made by timm"):
        finetune(dense_record, None, None, "", DATA, FinetuneConfig(optimizer="nonsense"), SEED, store)


def test_a_dense_model_is_trained_or_loaded(dense_record: ModelRecord, store: Store) -> None:
    recipe = TrainConfig(epochs=2, batch_size=64, lr=0.05)
    trained = dense(dense_record.architecture, recipe, DATA, SEED, store)
    assert trained.history[-1].top1_validation > 0.3
    loaded = dense(dense_record.architecture, trained.weights, DATA, SEED, store)
    assert loaded.weights == trained.weights
    assert loaded.history == ()


@pytest.mark.usefixtures("code_allowed")
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
