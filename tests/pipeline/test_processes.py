"""Trainings and scorings in several processes, which need many seconds to start."""

import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipeline.calibrate import calibrate
from pipeline.config import CalibrateConfig, DataConfig, ScoreConfig, TrainConfig
from pipeline.errors import InputError, StageError
from pipeline.models import cost_fields, load_model, save_weights
from pipeline.records import ModelRecord
from pipeline.scoring_job import ScoringJob, scored
from pipeline.store import Store
from pipeline.training import top1_of
from pipeline.training_job import Trained, TrainingJob, trained

from .trainings import ARCHITECTURE, RECIPE, STEPS, changed, images, network

TOGETHER = changed(epochs=12, ema_decay=0.8, crop_padding=1, label_smoothing=0.1, checkpoint_seconds=0)


@pytest.fixture
def job(store: Store) -> Callable[..., TrainingJob]:
    """make(recipe, seed): a training on the data of `images()`."""
    model = network()
    record = ModelRecord(
        stage="dense",
        architecture=ARCHITECTURE,
        plan=None,
        weights=save_weights(model, store),
        **cost_fields(model, ARCHITECTURE),
    )
    data = DataConfig(train_images=300, seed=0)
    return lambda recipe, seed=0: TrainingJob(model=record, data=data, recipe=recipe, seed=seed, label="test")


def unfinished(store: Store) -> list[Path]:
    return [path for path in (store.root.parent / "unfinished").glob("*.pt") if not path.name.startswith(".")]


def validation(done: Trained) -> float:
    return max(point.top1_validation for point in done.curve.epochs)


def test_one_process_is_this_one(job: Callable[..., TrainingJob], store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.processes.subprocess.run", None)
    one = job(RECIPE)
    assert trained(one, store) == one.run(store)


def test_a_job_is_the_same_after_it_was_written(job: Callable[..., TrainingJob]) -> None:
    one = job(changed(RECIPE, lr="auto", measure_at=(0.5,)), 7)
    again = TrainingJob.model_validate_json(one.model_dump_json())
    assert again.model.digest == one.model.digest
    assert (again.data, again.seed, again.label, again.wanted) == (one.data, one.seed, one.label, one.wanted)
    assert one.recipe.model_dump().items() <= again.recipe.model_dump().items()


@pytest.mark.slow
@pytest.mark.parametrize("settings", [{}, {"optimizer": "adamw", "lr": "auto"}], ids=["fixed rate", "found rate"])
def test_two_processes_train_as_well_as_one(job: Callable[..., TrainingJob], store: Store, settings: dict[str, str]) -> None:
    recipe = changed(TOGETHER, **settings)
    alone = [validation(trained(job(recipe, seed), store)) for seed in (0, 1, 2)]
    before = set(store.root.iterdir())
    seed = 2  # with which each process alone would find another rate
    together = trained(job(changed(recipe, processes=2), seed), store)
    print("alone", alone, "together", validation(together))  # noqa: T201
    margin = max(alone) - min(alone) + 0.02  # three seeds show a part of the spread only
    assert min(alone) - margin <= validation(together) <= max(alone) + margin
    assert [point.step for point in together.curve.steps] == list(range(1, 12 * STEPS + 1))
    assert [point.epoch for point in together.curve.epochs] == list(range(1, 13))
    assert together.curve.epochs[-1].loss < together.curve.epochs[0].loss
    assert set(store.root.iterdir()) - before == {store.path(together.weights)}  # all processes end with equal weights
    record = job(recipe).model.model_copy(update={"weights": together.weights})
    data = images()
    assert top1_of(load_model(record, store), data.train, data.validation_indices) == validation(together)
    assert unfinished(store) == []


@pytest.mark.slow
def test_two_processes_that_were_killed_go_on(
    job: Callable[..., TrainingJob], store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    both = job(changed(TOGETHER, processes=2))
    whole = trained(both, store)

    def killed(command: list[str], **settings: Any) -> subprocess.CompletedProcess[str]:
        del settings["check"]
        process = subprocess.Popen(command, **settings)
        while not unfinished(store):
            assert process.poll() is None
            time.sleep(0.005)
        process.terminate()
        return subprocess.CompletedProcess(command, process.wait())

    with monkeypatch.context() as patch:
        patch.setattr("pipeline.processes.subprocess.run", killed)
        with pytest.raises(StageError, match="one of 2 processes ended with"):
            trained(both, store)
    assert len(unfinished(store)) == 1
    assert trained(both, store) == whole
    assert unfinished(store) == []


@pytest.mark.slow
def test_a_process_that_fails_is_told(job: Callable[..., TrainingJob], store: Store, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(StageError, match="test: one of 2 processes ended with 1; its message stands above"):
        trained(job(TrainConfig(optimizer="nonsense", processes=2)), store)
    assert "optimizer nonsense cannot be made by timm" in capfd.readouterr().err
    assert not Path(store.root.parent, "unfinished").exists()


@pytest.fixture
def scoring(job: Callable[..., TrainingJob]) -> Callable[..., ScoringJob]:
    """make(**settings): a scoring of that network on 41 images, which two processes cannot share equally."""
    one = job(RECIPE)
    calibration = calibrate(one.data, CalibrateConfig(per_class=5), 0)
    calibration = calibration.model_copy(update={"indices": calibration.indices[:41]})

    def make(**settings: Any) -> ScoringJob:
        config = ScoreConfig(projections=8, batch_size=8, **settings)
        about = {"ignore": (), "embedding": False, "data": one.data, "seed": 0, "label": "test"}
        return ScoringJob(model=one.model, calibration=calibration, config=config, **about)

    return make


def test_more_processes_than_images_are_refused(scoring: Callable[..., ScoringJob], store: Store) -> None:
    with pytest.raises(InputError, match="processes is 42, and there are 41 calibration images; set it to 41 or less"):
        scored(scoring(processes=42), store)


@pytest.mark.slow
@pytest.mark.parametrize("removal", ["wasserstein", "hessian", "l1"])
def test_two_processes_find_the_scores_of_one(scoring: Callable[..., ScoringJob], store: Store, removal: str) -> None:
    alone, together = (scored(scoring(removal=removal, processes=count), store) for count in (1, 2))
    assert (alone.samples, alone.classes) == (together.samples, together.classes)
    for one, other in zip(alone.groups, together.groups, strict=True):
        assert other.u_score == pytest.approx(one.u_score, rel=1e-5)
        assert other.r_score == pytest.approx(one.r_score, rel=1e-5)
