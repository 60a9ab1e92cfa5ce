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
    """All that is needed to build the dense network without its weights. `input_shape` is (channels, height, width)."""

    source: Literal["builtin", "torchvision", "timm"]
    name: str
    kwargs: dict[str, Any] = {}
    num_classes: int
    input_shape: tuple[int, int, int]


class Epoch(Value):
    """One line of a training curve. `top1_validation` is a share in [0, 1]."""

    epoch: int
    lr: float
    loss: float
    top1_validation: float


class ModelRecord(Record):
    """A network: architecture, plan to replay on it (none if dense), weights. `macs` are for one image."""

    stage: Literal["dense", "pruned", "recalibrated", "finetuned"]
    architecture: Architecture
    plan: FileRef | None
    weights: FileRef
    params: int
    macs: int
    history: tuple[Epoch, ...] = ()


class CalibrationSet(Record):
    """Which training images score the units: their indices into the training data."""

    indices: tuple[int, ...]
    per_class: int
    num_classes: int


class ScoreRecord(Record):
    """Scores of all groups: a fair_pruner ScoreTable as JSON."""

    table: FileRef
    groups: int
    units: int


class Depth(Value):
    """What a plan does to one group."""

    group: str
    units: int
    removed: int
    tod: float
    removed_mass: float
    mass_bound: float
    total_mass: float


class PlanRecord(Record):
    """A fair_pruner PruningPlan as JSON, and what it will cost. MACs are for one image; bytes are of the stored weights."""

    plan: FileRef
    tolerance: float
    depths: tuple[Depth, ...]
    units: int
    units_removed: int
    params: int
    macs: int
    weights_bytes: int


class Parity(Value):
    """How closely ONNX Runtime follows torch on real images, at several batch sizes."""

    batch_sizes: tuple[int, ...]
    samples: int
    max_abs_diff: float
    max_relative_diff: float
    top1_agreement: float


class OnnxRecord(Record):
    """An exported model, run in ONNX Runtime and found equal to torch (`verified`)."""

    file: FileRef
    status: Literal["exported", "verified"]
    opset: int
    input_name: str
    output_name: str
    input_shape: tuple[int, int, int]
    num_classes: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    parity: Parity


class EngineRecord(Record):
    """A TensorRT engine, or why there is none. `built` means just that; `executed` only after it ran on a GPU.

    The digest leaves the file out: builders give names to temporaries that differ from one build to the next.
    """

    UNHASHED: ClassVar[frozenset[str]] = frozenset({"seconds", "build_seconds", "file"})

    status: Literal["skipped", "built", "executed"]
    reason: str = Field("", description="why it was skipped, or not executed")
    file: FileRef | None = None
    library: str = ""
    library_version: str = ""
    precision: str = ""
    profile: tuple[int, int, int] | None = None
    build_seconds: float | None = None
