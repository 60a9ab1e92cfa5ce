"""Records of the files that leave torch: a model as ONNX in one precision, and a TensorRT engine built from it."""

from typing import ClassVar, Literal

from pydantic import Field

from pipeline.records import FileRef, Preprocessing, Record, Value

# int8-trt: symmetric, as TensorRT wants it; int8-cpu: unsigned activations, as ONNX Runtime and OpenVINO are fast with on CPUs
Precision = Literal["fp32", "fp16", "int8-cpu", "int8-trt"]


class Parity(Value):
    """How closely a file follows its reference on real images: fp32 follows torch, every other precision the fp32 file.

    `sqnr_db` is the signal-to-quantisation-noise ratio of the logits, 10 log10(sum ref^2 / sum diff^2), None where all is equal.
    """

    batch_sizes: tuple[int, ...]
    samples: int
    max_abs_diff: float
    max_relative_diff: float
    top1_agreement: float
    sqnr_db: float | None = None


class OnnxRecord(Record):
    """A model as ONNX file in one precision, run in ONNX Runtime and compared with its reference (`verified`)."""

    file: FileRef
    precision: Precision = "fp32"
    status: Literal["exported", "verified"]
    opset: int
    input_name: str
    output_name: str
    input_shape: tuple[int, int, int]
    num_classes: int
    preprocessing: Preprocessing
    parity: Parity


class EngineRecord(Record):
    """A TensorRT engine, or why there is none. `built` means just that; `executed` only after it ran on a GPU.

    The digest leaves the file out: builders give names to temporaries that differ from one build to the next.
    `peak_memory_bytes` is the largest resident memory of the building process seen during the build. `gpu` and its
    `compute_capability` ("8.6") are those of the machine that built it, empty without one; `targets` are the compute
    capabilities that TensorRT-RTX was told to compile for, empty: all that it knows.
    """

    UNHASHED: ClassVar[frozenset[str]] = frozenset({"seconds", "build_seconds", "peak_memory_bytes", "file", "log"})

    status: Literal["skipped", "built", "executed"]
    reason: str = Field("", description="why it was skipped, or not executed")
    file: FileRef | None = None
    log: FileRef | None = Field(None, description="what the builder said, line by line")
    library: str = ""
    library_version: str = ""
    precision: str = ""
    profile: tuple[int, int, int] | None = None
    gpu: str = ""
    compute_capability: str = ""
    targets: tuple[str, ...] = ()
    parity: Parity | None = Field(None, description="of an executed engine with its ONNX file in ONNX Runtime")
    build_seconds: float | None = None
    peak_memory_bytes: int | None = None
