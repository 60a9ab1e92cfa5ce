"""All that changes in the course of a training, and its checkpoint on disk."""

import io
import math
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from torch import Tensor, nn

from pipeline.errors import StageError
from pipeline.progress import log
from pipeline.records import Curve, Epoch, TrainingStep
from pipeline.shared import fetch, remove, send
from pipeline.whole_files import make_folder, write_together


@dataclass
class TrainingState:
    """Where a training is: the next step, the peak learning rate, sums of losses, the curve, and the best weights so far."""

    step: int = 0
    lr: float = 0.0
    loss_of_epoch: float = 0.0
    images_of_epoch: int = 0
    loss_of_point: float = 0.0
    steps_of_point: int = 0
    epochs: list[Epoch] = field(default_factory=list)
    points: list[TrainingStep] = field(default_factory=list)
    best_top1: float = -math.inf
    best_epoch: int = 0
    best: dict[str, Tensor] = field(default_factory=dict)
    stopped: str = ""

    def add_loss(self, loss: float, images: int) -> None:
        """Count a step that is done."""
        self.step += 1
        self.loss_of_epoch += loss * images
        self.images_of_epoch += images
        self.loss_of_point += loss
        self.steps_of_point += 1

    def add_point(self, lr: float) -> None:
        """A point of the curve of losses: the mean since the last one."""
        self.points.append(TrainingStep(step=self.step, lr=lr, loss=self.loss_of_point / self.steps_of_point))
        self.loss_of_point, self.steps_of_point = 0.0, 0

    def add_epoch(self, epoch: float, lr: float, top1: float) -> None:
        """A measurement of the validation accuracy."""
        loss = self.loss_of_epoch / self.images_of_epoch
        self.epochs.append(Epoch(epoch=epoch, step=self.step, lr=lr, loss=loss, top1_validation=top1))

    def end_epoch(self, model: nn.Module) -> None:
        """Keep the weights of `model` if none were better so far in the last measurement."""
        now = self.epochs[-1]
        if now.top1_validation >= self.best_top1:
            self.best_top1, self.best_epoch = now.top1_validation, int(now.epoch)
            self.best = {name: value.detach().clone() for name, value in model.state_dict().items()}
        self.loss_of_epoch, self.images_of_epoch = 0.0, 0

    def curve(self) -> Curve:
        """What is recorded of the training."""
        return Curve(epochs=tuple(self.epochs), steps=tuple(self.points), stopped=self.stopped)


def write_checkpoint(path: Path, state: TrainingState, parts: dict[str, Any]) -> None:
    """The state, and the state dict of every part that has one (model, optimiser, moving average), whole or not at all.

    In the working folder of a URL it is sent there, so that another machine can go on.
    """
    values = vars(state) | {name: [point.model_dump() for point in getattr(state, name)] for name in ("epochs", "points")}
    content = io.BytesIO()
    torch.save({"state": values, **{name: part.state_dict() for name, part in parts.items()}}, content)
    make_folder(path.parent)
    write_together({path: content.getvalue()})
    with _sharing():
        send(path)


def read_checkpoint(path: Path, parts: dict[str, Any]) -> TrainingState | None:
    """Load every part, and return the state; None if there is no checkpoint or it is torn, and then nothing is changed.

    In the working folder of a URL what lies there counts, since another machine may have been here later.
    """
    with _sharing():
        fetch(path)
    if not path.is_file():
        return None
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
        values = content["state"]
        values["epochs"] = [Epoch(**point) for point in values["epochs"]]
        values["points"] = [TrainingStep(**point) for point in values["points"]]
        state = TrainingState(**values)
        loaded = {name: content[name] for name in parts}
    except (RuntimeError, OSError, EOFError, KeyError, TypeError, ValueError, zipfile.BadZipFile, UnpicklingError) as error:
        log.warning("%s cannot be read (%s); the training begins anew", path, type(error).__name__)
        return None
    for name, part in parts.items():
        part.load_state_dict(loaded[name])
    return state


def remove_checkpoint(path: Path) -> None:
    """The training is done."""
    path.unlink(missing_ok=True)
    with _sharing():
        remove(path)


@contextmanager
def _sharing() -> Iterator[None]:
    """A training does not end because other machines cannot see for a while how far it is."""
    try:
        yield
    except StageError as error:
        log.warning("%s; the training goes on without", error)
