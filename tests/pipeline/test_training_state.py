"""A training that is killed goes on as if nothing had happened."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest.mock import Mock

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import nn

import pipeline.training
from pipeline.progress import observer
from pipeline.records import Curve, Epoch, TrainingStep
from pipeline.training_state import TrainingState, read_checkpoint, write_checkpoint

from .trainings import STEPS, changed, dropping, network, pruned, same, teacher, trained

WAYS: dict[str, dict[str, Any]] = {
    "dropout": {"crop_padding": 1, "mixup": 0.5},
    "averaged": {"ema_decay": 0.9, "optimizer": "adamw", "lr": 0.01, "measure_at": (0.6,)},
    "distilled": {"precision": "bf16"},
}


class KilledError(Exception):
    """Stands for the end of the process."""


@contextmanager
def killed_after(step: int) -> Iterator[None]:
    """The process ends behind a step whose checkpoint has not been written; those of the steps before it have."""
    steps = iter(range(1, step))

    def write(*content: Any) -> None:
        if next(steps, None) is None:
            raise KilledError
        write_checkpoint(*content)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pipeline.training, "write_checkpoint", write)
        yield


def run(way: str, path: Path | None = None) -> tuple[nn.Module, Curve]:
    model = {"distilled": pruned, "dropout": dropping}.get(way, network)()
    taught = teacher() if way == "distilled" else None
    return trained(changed(checkpoint_seconds=0, **WAYS[way]), model=model, teacher=taught, checkpoint=path)


uninterrupted = cache(run)


@pytest.mark.parametrize("way", WAYS)
@settings(max_examples=2, deadline=None)
@given(st.lists(st.integers(1, 2 * STEPS), min_size=1, max_size=2))
@example([STEPS + 1])  # the last checkpoint is that of the end of an epoch
def test_a_training_that_is_killed_ends_with_equal_weights(way: str, kills: list[int]) -> None:
    with TemporaryDirectory() as folder:
        path = Path(folder, "unfinished", "training.pt")
        for step in kills:
            with suppress(KilledError), killed_after(step):
                run(way, path)
        model, curve = run(way, path)
        left = list(path.parent.iterdir()) if path.parent.is_dir() else []
    expected, same_curve = uninterrupted(way)
    assert same(model, expected)
    assert curve == same_curve
    assert left == []


def test_only_the_steps_that_are_left_are_done_and_the_learning_rate_is_the_one_found(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    recipe, path, shares = changed(lr="auto", checkpoint_seconds=0), tmp_path / "training.pt", list[float]()
    with pytest.raises(KilledError), killed_after(4):
        trained(recipe, checkpoint=path)
    told = observer.set(lambda _, share: shares.append(share))
    with caplog.at_level("INFO"):
        model, curve = trained(recipe, checkpoint=path)
    observer.reset(told)
    assert "test: goes on behind step 3 of 10" in caplog.messages
    assert len(shares) == 7
    expected, same_curve = trained(recipe)
    assert same(model, expected)
    assert curve == same_curve


def test_a_training_that_is_killed_when_it_should_stop_does_stop(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    recipe, path, scores = changed(epochs=5, patience=1, checkpoint_seconds=0), tmp_path / "training.pt", iter([0.5, 0.4])
    monkeypatch.setattr(pipeline.training, "top1_of", lambda *_: next(scores))
    monkeypatch.setattr(pipeline.training._Training, "_say", Mock(side_effect=KilledError))
    with pytest.raises(KilledError):
        trained(recipe, checkpoint=path)
    monkeypatch.undo()
    _, curve = trained(recipe, checkpoint=path)
    assert [point.top1_validation for point in curve.epochs] == [0.5, 0.4]
    assert curve.stopped == "no better validation accuracy in 1 epochs"
    assert not path.exists()


def test_a_checkpoint_is_written_as_often_as_the_recipe_says(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    now, written = [0.0], []

    def step_of(_: Path, state: TrainingState, __: object) -> None:
        written.append(state.step)

    def tick() -> float:
        now[0] += 1  # a second a look at the clock
        return now[0]

    monkeypatch.setattr(pipeline.training, "write_checkpoint", step_of)
    monkeypatch.setattr(pipeline.training.time, "monotonic", tick)
    trained(changed(checkpoint_seconds=1e4), checkpoint=tmp_path / "training.pt")
    assert written == []
    trained(changed(checkpoint_seconds=3), checkpoint=tmp_path / "training.pt")
    assert 0 < len(written) < 2 * STEPS


@pytest.mark.parametrize("content", [b"", b"nonsense", "half", "pickle"])
def test_a_torn_checkpoint_is_warned_about_and_the_training_begins_anew(
    content: bytes | str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "training.pt"
    with pytest.raises(KilledError), killed_after(4):
        run("averaged", path)
    whole = path.read_bytes()
    if content == "pickle":
        torch.save({"state": {"step": 3}, "model": {}}, path)
    else:
        path.write_bytes(whole[: len(whole) // 2] if isinstance(content, str) else content)
    model, curve = run("averaged", path)
    assert any("training.pt cannot be read" in message and "begins anew" in message for message in caplog.messages)
    expected, same_curve = uninterrupted("averaged")
    assert same(model, expected)
    assert curve == same_curve
    assert not path.exists()


def some_state() -> TrainingState:
    return TrainingState(
        step=7,
        lr=0.1,
        loss_of_epoch=3.5,
        images_of_epoch=20,
        epochs=[Epoch(epoch=1.0, step=5, lr=0.1, loss=0.3, top1_validation=0.5)],
        points=[TrainingStep(step=5, lr=0.1, loss=0.3)],
        best_top1=0.5,
        best_epoch=1,
        best={"weight": torch.arange(3.0)},
        stopped="enough",
    )


def test_a_checkpoint_gives_back_every_part(tmp_path: Path) -> None:
    path, one, other = tmp_path / "unfinished" / "training.pt", network(0), network(1)
    write_checkpoint(path, some_state(), {"model": one})
    state = read_checkpoint(path, {"model": other})
    assert state is not None
    assert same(one, other)
    assert vars(state) | {"best": None} == vars(some_state()) | {"best": None}
    assert torch.equal(state.best["weight"], some_state().best["weight"])
    assert read_checkpoint(tmp_path / "none.pt", {"model": other}) is None


@settings(max_examples=25, deadline=None)
@given(st.data())
def test_a_checkpoint_that_was_cut_anywhere_changes_nothing(data: st.DataObject) -> None:
    with TemporaryDirectory() as folder:
        path, untouched = Path(folder, "training.pt"), network(1)
        write_checkpoint(path, some_state(), {"model": network(0)})
        whole = path.read_bytes()
        path.write_bytes(whole[: data.draw(st.integers(0, len(whole) - 1))])
        assert read_checkpoint(path, {"model": untouched}) is None
    assert same(untouched, network(1))
