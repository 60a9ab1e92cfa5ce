"""manifest.json of a bundle: what each file is, how well it was measured to work, and where it comes from."""

from typing import Literal, Self

from pydantic import Field

from pipeline.exported import Parity, Precision
from pipeline.latency import LatencySeries, Machine
from pipeline.measurements import EvalReport, PairedTest
from pipeline.records import Preprocessing, Value


class BundledFile(Value):
    """A file of the bundle, its path relative to the bundle's folder."""

    path: str
    sha256: str
    size_bytes: int


class TensorSpec(Value):
    """An input or output of every ONNX file. A name in `shape` stands for a free dimension; dtype as numpy calls it."""

    name: str
    dtype: str
    shape: tuple[str | int, ...]


class Accuracy(Value):
    """Measured on one split of the data set; shares in [0, 1]."""

    runtime: str
    samples: int
    top1: float
    top5: float | None

    @classmethod
    def of(cls, report: EvalReport) -> Self:
        """What an evaluation found, without the classes one by one."""
        return cls(runtime=report.runtime, samples=report.samples, top1=report.top1, top5=report.top5)


class Tolerance(Value):
    """How far logits on another machine may lie from the golden ones, and how often the top-1 class must be the same.

    `measure` says which difference over all logits must not exceed `max_difference`: the largest, or the root of the mean
    square. `max_difference_gpu` is for GPUs, which may round fp32 to TF32. `min_agreement` is a share of the golden images.
    """

    measure: Literal["largest", "rms"]
    max_difference: float
    max_difference_gpu: float
    min_agreement: float
    reason: str


class ModelFile(BundledFile):
    """An ONNX file. `parity` is against torch for fp32, else against the fp32 file, as is `against_fp32` (McNemar's test).

    `test` is None where only the validation images were evaluated; `producer` is what the file says wrote it.
    """

    precision: Precision
    purpose: str
    opset: int
    producer: str
    record: str = Field(description="digest of the record of its export")
    parity: Parity
    validation: Accuracy
    test: Accuracy | None
    against_fp32: PairedTest | None
    tolerance: Tolerance


class Profile(Value):
    """Batch sizes of a TensorRT engine: smallest, the one it is tuned for, largest."""

    min: int
    opt: int
    max: int


class EngineFile(BundledFile):
    """A TensorRT engine that was executed on the kind of GPU named here; it runs nowhere else, and in no other version."""

    precision: Precision
    library: str
    library_version: str
    profile: Profile
    gpu: str
    compute_capability: str
    parity: Parity | None = Field(description="with its ONNX file in ONNX Runtime")


class Golden(BundledFile):
    """Validation images as the model takes them (`images`), and each precision's logits on them (`logits.<precision>`)."""

    samples: int
    batch_sizes: tuple[int, ...] = Field(description="batches in which verify.py runs them")
    computed_by: str


class Network(Value):
    """The classifier beside the dense one that it was cut from. MACs are for one image; `dense_test` is of the fp32 file."""

    architecture: str
    params: int
    macs: int
    dense_params: int
    dense_macs: int
    dense_test: Accuracy


class Manifest(Value):
    """Everything about a bundle that a program may want to know. No time and no path of the machine that wrote it."""

    schema_version: Literal[1]
    run: str
    candidate: str
    network: Network
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    preprocessing: Preprocessing
    labels: tuple[str, ...] = Field(description="class names in the order of the logits")
    profile: Profile = Field(description="what build_engine.py builds for unless told otherwise")
    models: tuple[ModelFile, ...]
    engines: tuple[EngineFile, ...]
    engines_left_out: dict[Precision, str] = Field(description="why there is no engine of a precision")
    golden: Golden
    triton: dict[str, str] = Field(description="by name of the Triton model: the file that it serves or is built from")
    latency: tuple[LatencySeries, ...] = Field(description="of this candidate; none: not measured")
    latency_threads: int
    machine: Machine | None = Field(description="where `latency` was measured")
    versions: dict[str, str] = Field(description="of the tools that wrote the bundle")
    lineage: dict[str, str] = Field(description="digests of the records that the bundle was made from")
    git_commit: str
