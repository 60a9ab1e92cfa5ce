"""The values that travel between the stages: small, frozen, and known by the digest of what they say.

A record never holds a tensor or a module; it names files in the store by their SHA-256. `digest` covers everything that
decides what the record is, and leaves out what merely was measured about making it (`seconds`), so that the same inputs
give the same digest on every run.
"""

import hashlib
import json
import time
from collections.abc import Callable
from functools import wraps
from typing import Any, ClassVar, Literal, ParamSpec, TypeVar

from pydantic import BaseModel, ConfigDict, Field

from pipeline.quantities import Count

P = ParamSpec("P")
R = TypeVar("R", bound="Record")


class Value(BaseModel):
    """A frozen value inside a record."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class FileRef(Value):
    """A file of the store. `path` is relative to the store's root; `size_bytes` and `sha256` are those of its content."""

    path: str
    sha256: str
    size_bytes: int


class Record(Value):
    """A value that one stage hands to the next. `parents` are the digests of the records it was made from."""

    UNHASHED: ClassVar[frozenset[str]] = frozenset({"seconds"})

    parents: tuple[str, ...] = ()
    seconds: float = Field(0.0, description="wall time of the stage that made it")

    @property
    def digest(self) -> str:
        """SHA-256 over the record's content without what is in UNHASHED."""
        return digest_of(self.model_dump(mode="json", exclude=set(self.UNHASHED)))

    def __hash__(self) -> int:
        return hash(self.digest)

    def files(self) -> tuple[FileRef, ...]:
        """Every file the record names."""
        return tuple(value for _, value in self if isinstance(value, FileRef))


def digest_of(value: Any) -> str:
    """SHA-256 of a JSON-compatible value in canonical form."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def timed(stage: Callable[P, R]) -> Callable[P, R]:
    """Write the wall time of a stage into the record it returns."""

    @wraps(stage)
    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        start = time.perf_counter()
        record = stage(*args, **kwargs)
        return record.model_copy(update={"seconds": time.perf_counter() - start})

    return run


class Architecture(Value):
    """All that is needed to build the dense network without its weights. `input_shape` is (channels, height, width).

    `source_digest` is the SHA-256 of the file that a network of one's own stands in; empty for the libraries'.
    """

    source: Literal["builtin", "torchvision", "timm", "custom"]
    name: str
    kwargs: dict[str, Any] = {}
    num_classes: int
    input_shape: tuple[int, int, int]
    source_digest: str = ""


class Epoch(Value):
    """A point of a training curve at which validation accuracy was measured: after so many epochs, and steps of the optimiser.

    `loss` is the mean over the images since the last whole epoch, `lr` that of its first step, `top1_validation` a share in
    [0, 1] that the weights reach which would be kept (the moving average if there is one).
    """

    epoch: float
    step: int
    lr: float
    loss: float
    top1_validation: float


class TrainingStep(Value):
    """The mean loss of the steps of an optimiser since the last such point, up to number `step` (from 1), and its rate."""

    step: int
    lr: float
    loss: float


class Curve(Value):
    """How a training went. `stopped` says why it ended early; empty if it did not."""

    epochs: tuple[Epoch, ...] = ()
    steps: tuple[TrainingStep, ...] = ()
    stopped: str = ""


class ModelRecord(Record):
    """A network: architecture, plan to replay on it (none if dense), weights. `macs` are for one image.

    After several rounds the plan is that of all rounds together, in the dense numbering; `history`, `steps` and
    `stopped` are of the last round's training, see Curve.
    """

    stage: Literal["dense", "pruned", "recalibrated", "finetuned"]
    architecture: Architecture
    plan: FileRef | None
    weights: FileRef
    params: Count
    macs: Count
    history: tuple[Epoch, ...] = ()
    steps: tuple[TrainingStep, ...] = ()
    stopped: str = ""


class CalibrationSet(Record):
    """Which training images score the units: their indices into the training data."""

    indices: tuple[int, ...]
    per_class: int
    num_classes: int


class ScoreRecord(Record):
    """Scores of all groups: a fair_pruner ScoreTable as JSON, and how they were taken.

    `removal` is the signal's name, or the package.module:function that computed it; `source` the digest of that one's file.
    """

    table: FileRef
    groups: int
    units: int
    removal: str
    source: str = ""
    observe: str
    aggregate: str
    protection: str
    samples: int
    classes: int


class Goal(Value):
    """What one candidate is cut to: a number of the rule (tolerance, pruning ratio), or a budget.

    A budget's `value` is a share of the dense model if it is a float, else a number; of latency_ms always milliseconds.
    """

    quantity: Literal["tolerance", "ratio", "macs", "params", "bytes", "latency_ms"]
    value: int | float

    @property
    def name(self) -> str:
        """As the candidate is called."""
        return f"{self.quantity}-{self.value}"

    @property
    def is_budget(self) -> bool:
        """Whether a number of the rule has to be found for it."""
        return self.quantity not in ("tolerance", "ratio")

    def __str__(self) -> str:
        return f"{self.quantity} {self.value}"


class Depth(Value):
    """What a plan does to one group; the masses are as in PlanRecord. After several rounds `total_mass` is the first one's.

    `round_to` is what the number of channels that stay was rounded up to a multiple of.
    """

    group: str
    kind: str
    units: Count
    removed: int
    tod: float
    removed_mass: float
    mass_bound: float
    random_mass: float
    total_mass: float
    round_to: int = 1


class PlanRecord(Record):
    """A fair_pruner PruningPlan as JSON, and what it will cost. MACs are for one image; bytes are of the stored weights.

    `tolerance` is the rule's number: the one asked for, or the one found for a budget (of several rounds the largest);
    `limit` is that budget as a number. `latency_ms` is what the layer costs predict for one batch, if they were measured.
    R-masses are summed over groups and rounds: what goes, what that cannot
    exceed, what removal at random and a uniform plan would take for as many units. `exchange_margin` is `uniform_mass` -
    `removed_mass`. The digest leaves the prediction of latency out, since a plan is the same on every machine.
    """

    UNHASHED: ClassVar[frozenset[str]] = frozenset({"seconds", "latency_ms"})

    plan: FileRef
    goal: Goal
    rule: Literal["tod", "uniform", "global"]
    rounds: int = Field(description="cuts that led to it")
    tolerance: float
    limit: float | None
    depths: tuple[Depth, ...]
    units: Count
    units_removed: int
    params: int
    macs: int
    weights_bytes: int
    latency_ms: float | None = None
    removed_mass: float
    mass_bound: float
    random_mass: float
    uniform_mass: float
    exchange_margin: float


class Preprocessing(Value):
    """How a decoded image becomes the model's input, in the order of the fields; `pipeline.preprocess` does it.

    `resize` is the shorter side in pixels, `crop` (height, width) from the centre; none: not done. Then
    (pixel * scale - mean) / std, where mean and std have one value a channel. With `normalised_by_dataset` the data set's
    own code does all this, and the other fields say nothing about it.
    """

    channels: int
    resize: int | None = None
    crop: tuple[int, int] | None = None
    scale: float = 1 / 255
    mean: tuple[float, ...]
    std: tuple[float, ...]
    normalised_by_dataset: bool = False
