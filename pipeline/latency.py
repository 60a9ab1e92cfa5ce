"""Records of latency: who takes part in a measurement, where it was made, and what came of it."""

from typing import ClassVar, Literal, Self

from pydantic import Field, model_validator

from pipeline.exported import EngineRecord, OnnxRecord, Precision
from pipeline.quantities import Count, Milliseconds, Ratio
from pipeline.records import FileRef, Record, Value

Runtime = Literal["torch", "onnxruntime", "onnxruntime-cuda", "onnxruntime-tensorrt", "openvino", "tensorrt"]
Verdict = Literal["reference", "faster", "not faster", "slower", "too noisy to tell"]


class Contestant(Value):
    """One file that takes part in a benchmark, and what runs it. `macs` are for one image, None if nobody counted them.

    `file` is an ONNX file, for the runtime `tensorrt` an engine. `precision` is empty where an engine does not tell it.
    `input_shape` is that of one image.
    """

    name: str = Field(description="the candidate's name, or for somebody's own file the file's")
    precision: str = "fp32"
    runtime: Runtime = "onnxruntime"
    subject: str = Field("", description="digest of the record of the file")
    file: FileRef
    input_name: str
    output_name: str
    input_shape: tuple[int, ...]
    macs: int | None = None

    @classmethod
    def of(
        cls, name: str, onnx: OnnxRecord, macs: int, runtime: Runtime = "onnxruntime", engine: EngineRecord | None = None
    ) -> Self:
        """A candidate's ONNX file, or the engine built from it."""
        record = engine or onnx
        if record.file is None:
            raise ValueError(f"{name} has no engine to measure")
        return cls(
            name=name,
            precision=onnx.precision,
            runtime=runtime,
            subject=record.digest,
            file=record.file,
            input_name=onnx.input_name,
            output_name=onnx.output_name,
            input_shape=onnx.input_shape,
            macs=macs,
        )


class Machine(Value):
    """Where a latency was measured, and what could have disturbed it. Two measurements compare only if `identity` is equal."""

    cpu: str
    cores: int
    system: str
    gpu: str = Field("", description="name of the GPU, its driver and power limit; empty without one")
    governor: str = Field("", description="frequency governor of the CPU, empty where the system does not tell")
    mhz: float | None = Field(None, description="clock of the measuring core when the measurement began, if the system tells")
    throttled: int | None = Field(None, description="times that the CPU slowed down for heat during the measurement, likewise")
    versions: dict[str, str] = Field(description="version by library: python, and what ran the models")
    load_average: float = Field(description="one-minute load average when the measurement began")
    busy_cores: float = Field(description="cores that other work kept busy in the second before the measurement")

    @property
    def identity(self) -> dict[str, str]:
        """What must be equal for latencies of two measurements to be compared."""
        return {
            "cpu": self.cpu,
            "cores": str(self.cores),
            "gpu": self.gpu,
            "governor": self.governor,
            **{f"version of {name}": version for name, version in sorted(self.versions.items())},
        }


class LatencySeries(Value):
    """Latency of one file at one batch size, in ms per batch.

    `speedup` is against the reference of the same runtime (the first contestant in fp32, of one's own files simply the
    first), 1 = equal, the median over the rounds; `fp32_speedup` is against the same candidate's fp32 file, None if it is
    that itself or there is none. `_low` and `_high` bound 95 % bootstrap intervals. `cpu_ms` is the median CPU time of the
    whole process, all threads together, None on a GPU.
    """

    candidate: str
    precision: str = "fp32"
    runtime: Runtime = "onnxruntime"
    batch_size: Count
    runs: Count
    p50_ms: Milliseconds
    p50_low_ms: Milliseconds
    p50_high_ms: Milliseconds
    p90_ms: Milliseconds
    p95_ms: Milliseconds
    p99_ms: Milliseconds
    mean_ms: Milliseconds
    cpu_ms: float | None = None
    throughput: float = Field(description="images a second at the median")
    macs_ratio: float | None = Field(None, description="MACs of the reference over this model's MACs")
    speedup: Ratio
    speedup_low: Ratio
    speedup_high: Ratio
    fp32_speedup: Ratio | None = None
    fp32_speedup_low: Ratio | None = None
    fp32_speedup_high: Ratio | None = None
    verdict: Verdict

    @model_validator(mode="after")
    def _whole(self) -> Self:
        known = [value is not None for value in (self.fp32_speedup, self.fp32_speedup_low, self.fp32_speedup_high)]
        if any(known) and not all(known):
            raise ValueError("fp32_speedup and its interval are known together, or not at all")
        return self


class LatencyReport(Record):
    """All contestants, measured interleaved; every round ran in a process of its own."""

    UNHASHED: ClassVar[frozenset[str]] = frozenset({"seconds", "machine", "series", "pinned", "rounds"})

    machine: Machine
    threads: int
    pinned: tuple[int, ...] = Field((), description="cores that the measuring process was held to; empty: any")
    rounds: int
    warmup_seconds: float = 0.0
    widest_interval: float = Field(0.1, description="an interval that tells nothing and is wider than this share is noise")
    series: tuple[LatencySeries, ...]


class LayerCostRecord(Record):
    """Latency of every kind of layer of one model by its channel counts, in one precision, measured on one machine.

    `dense_ms` is the median latency of the whole dense file there, for one batch of `batch_size`; what the layers' sum differs
    from it by is known through it.
    """

    UNHASHED: ClassVar[frozenset[str]] = frozenset({"seconds", "machine"})

    table: FileRef
    runtime: Runtime = "onnxruntime"
    precision: Precision = "fp32"
    batch_size: int
    threads: int
    dense_ms: float
    layers: int
    points: int = Field(description="measured layers of one shape each")
    machine: Machine
