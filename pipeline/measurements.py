"""What was measured on the records: accuracy, latency, and everything together in the report of a run."""

from typing import Any, ClassVar, Literal

from pydantic import Field

from pipeline.records import EngineRecord, ModelRecord, OnnxRecord, PlanRecord, Record, ScoreRecord, Value


class EvalReport(Record):
    """Accuracy on one split. Shares are in [0, 1]; `recall` is per class, in class order; top-5 from 10 classes up."""

    subject: str = Field(description="digest of the model or ONNX record that was evaluated")
    runtime: Literal["torch", "onnxruntime"]
    split: Literal["validation", "test"]
    samples: int
    top1: float
    top5: float | None
    recall: tuple[float, ...]


class Machine(Value):
    """Where a latency was measured."""

    cpu: str
    cores: int
    system: str
    python: str
    onnxruntime: str
    load_average: float = Field(description="one-minute load average when the measurement began")
    busy_cores: float = Field(description="cores that other work kept busy in the second before the measurement")


class LatencySeries(Value):
    """Latency of one model at one batch size, in ms per batch, and its speed-up against the dense model (1 = equal).

    `_low` and `_high` bound a 95 % bootstrap interval.
    """

    candidate: str
    batch_size: int
    runs: int
    p50_ms: float
    p50_low_ms: float
    p50_high_ms: float
    p90_ms: float
    p99_ms: float
    mean_ms: float
    throughput: float = Field(description="images a second at the median")
    macs_ratio: float = Field(description="dense MACs over this model's MACs")
    speedup: float
    speedup_low: float
    speedup_high: float
    verdict: Literal["reference", "faster", "not faster", "slower"]


class Contestant(Value):
    """One model that takes part in a benchmark. `macs` are for one image."""

    name: str
    onnx: OnnxRecord
    macs: int


class LatencyReport(Record):
    """All candidates and the dense model, measured interleaved."""

    UNHASHED: ClassVar[frozenset[str]] = frozenset({"seconds", "machine", "series"})

    machine: Machine
    threads: int
    rounds: int
    series: tuple[LatencySeries, ...]


class Candidate(Value):
    """Everything known about one model of the sweep: the dense one (`tolerance` and `plan` None), or one that was cut.

    `tolerance` is the plan's. After several rounds the plan is that of all together, and the rest is of the last round.
    """

    name: str
    tolerance: float | None
    plan: PlanRecord | None
    model: ModelRecord
    recalibrated_validation: EvalReport | None
    torch_validation: EvalReport
    torch_test: EvalReport
    onnx: OnnxRecord
    onnx_test: EvalReport
    engine: EngineRecord
    stage_seconds: dict[str, float]


class RunReport(Record):
    """The whole sweep. `digests` of the candidates' records are its lineage; `scores` are those of the dense model."""

    UNHASHED: ClassVar[frozenset[str]] = frozenset(
        {"seconds", "folder", "latency", "candidates", "pareto", "flow_run_id", "git_commit"}
    )

    name: str
    folder: str
    config: dict[str, Any]
    config_digest: str
    git_commit: str
    flow_run_id: str
    candidates: tuple[Candidate, ...]
    latency: LatencyReport
    scores: ScoreRecord
    pareto: tuple[str, ...] = Field(description="names of the candidates that no other beats in accuracy and latency")


class TrackRecord(Record):
    """Where a run was logged in MLflow. `run_ids` are by candidate name."""

    tracking_uri: str
    experiment_id: str
    parent_run_id: str
    run_ids: dict[str, str]
