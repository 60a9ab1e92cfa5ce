"""Ways to prune, compared on one model: what each kept of its accuracy at the same cost, and whether that is more than chance."""

import math
import re
import statistics
from collections.abc import Iterable, Sequence
from typing import Any, Literal, NamedTuple, get_args

from scipy.stats import t as student

from fair_pruner.types import Rule
from pipeline.errors import InputError
from pipeline.latency import LatencyReport
from pipeline.pruning_sections import FUNCTION, SIGNALS, ScoreConfig
from pipeline.records import Epoch, Goal, ModelRecord, PlanRecord, Record, Value, digest_of
from pipeline.removal import check_removal
from pipeline.training_sections import FinetuneConfig

FAIR = "fair"
FILES = ("ablation.json", "ablation.md", "recovery.png")  # of a comparison, in its folder
NEAR = 0.02  # a measurement so close to the epochs asked for, relatively, is meant: it falls on a whole step
WAY = re.compile(rf"(?P<removal>[a-z0-9_]+|{FUNCTION.pattern})-(?P<rule>{'|'.join(get_args(Rule))})(@(?P<rounds>[1-9]\d?))?")
ROUNDING = 1e-9  # an accuracy of exactly the limit reaches it
Reading = Literal["recalibrated", "validation", "test"]


class Method(NamedTuple):
    """A removal signal, an allocation rule and in how many rounds is cut; `name` is how a person calls them together."""

    name: str
    removal: str
    rule: Rule
    rounds: int = 1

    def recipe(self, whole: FinetuneConfig) -> FinetuneConfig:
        """The epochs of a recipe shared out over the rounds, so that none of two methods is trained longer; rest to the last.

        Raises InputError if there are fewer epochs than rounds.
        """
        if self.rounds == 1:
            return whole
        each = whole.epochs // self.rounds
        if whole.epochs and not each:
            raise InputError(
                f"{self.name} shares finetune.epochs out over {self.rounds} rounds, and there are {whole.epochs}; set more epochs"
            )
        return whole.model_copy(update={"round_epochs": each, "epochs": whole.epochs - each * (self.rounds - 1)})


def methods(names: str) -> tuple[Method, ...]:
    """From "fair,l1-uniform,fair@3,...": signal and rule with a dash between, `fair` for wasserstein-tod, @rounds if several.

    Raises InputError if there is no such signal, function or rule, or the authors' package is asked for and not installed.
    """
    found = []
    for name in dict.fromkeys(part.strip() for part in names.split(",") if part.strip()):
        match = WAY.fullmatch(re.sub(rf"^{FAIR}(?=@|$)", "wasserstein-tod", name))
        removal = match["removal"] if match else ""
        if not match or (removal not in SIGNALS and ":" not in removal):
            raise InputError(
                f"method {name} is none; give fair, or a signal and a rule with a dash between, as in l1-uniform, and @3 behind "
                f"it for 3 rounds. Signals: {', '.join(SIGNALS)} or package.module:function; rules: {', '.join(get_args(Rule))}"
            )
        check_removal(ScoreConfig(removal=removal))  # what is not there is told before anything is trained
        found.append(Method(name, removal, match["rule"], int(match["rounds"] or 1)))  # type: ignore[arg-type]
    if not found:
        raise InputError("no methods are named; give some, for example --methods fair,l1-uniform")
    return tuple(found)


class Cell(Value):
    """One model of the comparison. Accuracies are shares of top-1 in [0, 1]: of the model before and after fine-tuning on the

    validation images, and of the ONNX file on the test images. `history` are the measurements in between. After several rounds
    all are of the last one, which `epochs_before` epochs of fine-tuning went before.
    """

    method: str
    goal: Goal
    seed: int
    plan: PlanRecord
    params: int
    macs: int
    epochs_before: float = 0.0
    top1_recalibrated: float
    history: tuple[Epoch, ...]
    top1_validation: float
    top1_test: float
    candidate: str = ""

    def top1(self, reading: Reading) -> float:
        """One of the three accuracies."""
        return {"recalibrated": self.top1_recalibrated, "validation": self.top1_validation, "test": self.top1_test}[reading]

    def after(self, epochs: float) -> float | None:
        """Validation accuracy after so many epochs of fine-tuning; None if it was not measured there."""
        if epochs == self.epochs_before:
            return self.top1_recalibrated
        near = [each for each in self.history if math.isclose(each.epoch, epochs, rel_tol=NEAR)]
        return min(near, key=lambda each: abs(each.epoch - epochs)).top1_validation if near else None


class AblationReport(Record):
    """A whole comparison; the first of `methods` is what the others are compared with. `latency` is of the first seed's files."""

    name: str
    config: dict[str, Any]
    methods: tuple[str, ...]
    seeds: tuple[int, ...]
    dense: ModelRecord
    top1_validation: float
    top1_test: float
    validation_samples: int
    test_samples: int
    cells: tuple[Cell, ...]
    latency: LatencyReport | None

    @property
    def digest(self) -> str:
        """SHA-256 over the content without the latency, and without the seconds that its records took to make."""
        plan = set(PlanRecord.UNHASHED)
        left_out: dict[str, Any] = {"seconds": True, "latency": True, "dense": {"seconds"}, "cells": {"__all__": {"plan": plan}}}
        return digest_of(self.model_dump(mode="json", exclude=left_out))

    @property
    def full_name(self) -> str:
        """What its folder is called, and its run in MLflow."""
        return f"{self.name}-ablation"

    def of(self, method: str, goal: Goal) -> tuple[Cell, ...]:
        """One method's cells at one budget, in the order of the seeds."""
        return tuple(cell for cell in self.cells if cell.method == method and cell.goal == goal)

    @property
    def goals(self) -> tuple[Goal, ...]:
        """The budgets, in the order given."""
        return tuple(dict.fromkeys(cell.goal for cell in self.cells))


class Spread(NamedTuple):
    """Mean and sample standard deviation over the seeds, `sd` None for one seed."""

    mean: float
    sd: float | None

    @classmethod
    def of(cls, values: Iterable[float]) -> "Spread":
        """Of one value or more."""
        found = list(values)
        return cls(statistics.mean(found), statistics.stdev(found) if len(found) > 1 else None)


class Difference(NamedTuple):
    """How much more one method has than another, in points, seed by seed: the mean, and its 95 % interval (Student's t).

    `low` and `high` are None for one seed, which says nothing of the spread.
    """

    mean: float
    low: float | None
    high: float | None

    @property
    def sure(self) -> bool:
        """Whether the interval leaves 0 out; never if all seeds agree to the image, since then it has no width to tell by."""
        return self.low is not None and self.high is not None and self.low < self.high and not self.low <= 0 <= self.high


def difference(first: Sequence[float], second: Sequence[float]) -> Difference:
    """Of two methods' shares in [0, 1], in the same order of seeds."""
    points = [round(100 * (a - b), 9) for a, b in zip(first, second, strict=True)]
    mean = statistics.mean(points)
    if len(points) == 1:
        return Difference(mean, None, None)
    half = float(student.ppf(0.975, len(points) - 1)) * statistics.stdev(points) / math.sqrt(len(points))
    return Difference(mean, mean - half, mean + half)


def course(cells: Sequence[Cell]) -> dict[float, tuple[float, ...]]:
    """Validation accuracy of each of the cells by epochs of fine-tuning, ascending from 0 (before it).

    Only epochs after which all of them were measured: some may have stopped early.
    """
    marks = sorted({*(cell.epochs_before for cell in cells), *(each.epoch for cell in cells for each in cell.history)})
    found = {mark: tuple(top1 for cell in cells if (top1 := cell.after(mark)) is not None) for mark in marks}
    return {mark: values for mark, values in found.items() if len(values) == len(cells)}


def recovered_after(cells: Sequence[Cell], dense: float, within: float = 0.005) -> float | None:
    """Epochs until the mean over the seeds is no more than `within` below the dense model's accuracy; None: not reached."""
    least = dense - within - ROUNDING
    return next((epochs for epochs, found in course(cells).items() if statistics.mean(found) >= least), None)
