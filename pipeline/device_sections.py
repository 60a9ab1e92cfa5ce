"""The sections of a configuration that concern the device: precisions, engines, latency, and what may be recommended."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from pipeline.latency import Runtime
from pipeline.sections import BatchSize, LimitedSection, Section

Target = Literal["SM75", "SM80", "SM86", "SM89", "SM120", "SM121"]


class QuantizeConfig(LimitedSection):
    """Further ONNX files of every candidate, in lower precision; each with its own parity and validation accuracy."""

    precisions: tuple[Literal["fp16", "int8-cpu", "int8-trt"], ...] = Field(
        ("fp16", "int8-cpu", "int8-trt"),
        description="int8-cpu is for ONNX Runtime and OpenVINO on a CPU, int8-trt for TensorRT: neither is of use to the other.",
    )
    samples: int = Field(256, ge=16, le=10000, description="Images of the calibration set that int8 takes its ranges from.")


class EngineConfig(LimitedSection):
    """TensorRT engines: one optimisation profile, precision as in the ONNX file."""

    max_seconds: float = Field(3600.0, ge=1, le=10**6, description="A build that takes longer is ended: its process is killed.")
    enabled: bool = Field(True, description="Build engines for each candidate when a TensorRT library is there.")
    min_batch: BatchSize = Field(1, description="Smallest batch of the profile.")
    opt_batch: BatchSize = Field(8, description="Batch the engine is tuned for.")
    max_batch: BatchSize = Field(16, description="Largest batch of the profile.")
    workspace_mib: int = Field(1024, ge=16, le=65536, description="Memory the builder may plan for, in MiB.")
    timing_cache: bool = Field(True, description="TensorRT: keep what the builder has timed, so that later builds are quicker.")
    targets: tuple[Target, ...] = Field(
        (), description="TensorRT-RTX: compute capabilities to compile for; none: all RTX cards that it knows."
    )

    @model_validator(mode="after")
    def _ordered(self) -> "EngineConfig":
        if not self.min_batch <= self.opt_batch <= self.max_batch:
            raise ValueError(f"batches must rise: min {self.min_batch} <= opt {self.opt_batch} <= max {self.max_batch}")
        return self


class BenchmarkConfig(LimitedSection):
    """The latency measurement on this machine, dense and candidates interleaved."""

    runtimes: tuple[Runtime, ...] = Field(
        ("onnxruntime",),
        min_length=1,
        description="What runs the files: onnxruntime and openvino on the CPU, torch anywhere; onnxruntime-cuda, "
        "onnxruntime-tensorrt and tensorrt on a GPU. Each is compared with the dense model in the same runtime.",
    )
    batch_sizes: tuple[BatchSize, ...] = Field((1, 8), min_length=1, description="Measured one after another.")
    threads: int = Field(1, ge=1, le=256, description="Threads of the runtime.")
    pin: bool = Field(True, description="Hold the measuring process to as many cores as it has threads (Linux).")
    rounds: int = Field(
        20, ge=5, le=1000, description="Interleaved rounds, each in its own process; the interval resamples them."
    )
    min_runs: int = Field(50, ge=50, le=100000, description="Runs of each file at each batch size, at least.")
    min_seconds: float = Field(3.0, ge=0.05, le=600, description="Time spent on each file at each batch size, at least.")
    warmup_seconds: float = Field(0.2, ge=0, le=60, description="Unmeasured running of each file in each round.")
    widest_interval: float = Field(
        0.1,
        ge=0.001,
        le=10,
        description="An interval around 1 that is wider than this share is called too noisy to tell, not 'not faster'.",
    )


class GateConfig(Section):
    """What a candidate must be to be recommended. It must have the verdict `faster`, whatever stands here."""

    max_accuracy_drop: float = Field(
        0.01, ge=0, le=1, description="Share of validation top-1 that may be lost against the dense fp32 file: 0.01 is one point."
    )
    min_speedup: Annotated[float, Field(ge=1, le=1000)] = Field(
        1.0, description="The speed-up that the lower end of its interval must reach, at the first batch size."
    )
    max_p99_ms: float | None = Field(
        None, ge=0.001, le=1e6, description="Largest 99th percentile of latency at the first batch size, in ms."
    )
    max_bytes: int | None = Field(None, ge=1, le=10**12, description="Largest size of the ONNX file.")
    max_parity: float | None = Field(
        None, ge=0, le=1, description="Largest max|torch - onnx| over max|torch| of the candidate's fp32 file on real images."
    )
