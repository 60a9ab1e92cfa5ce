"""What was measured on the records: accuracy, latency, and everything together in the report of a run."""

from typing import Annotated, Any, ClassVar, Literal, NamedTuple, Self

from pydantic import Field

from pipeline.exported import EngineRecord, OnnxRecord, Precision
from pipeline.latency import LatencyReport, LayerCostRecord, Runtime
from pipeline.quantities import Count, Share
from pipeline.records import FileRef, Goal, ModelRecord, PlanRecord, Record, ScoreRecord, Value


class EvalReport(Record):
    """Accuracy on one split. Shares are in [0, 1]; `recall` is per class, in class order; top-5 from 10 classes up."""

    subject: str = Field(description="digest of the record of the model, ONNX file or engine that was evaluated")
    runtime: Runtime
    split: Literal["validation", "test"]
    samples: Count
    top1: Share
    top5: Share | None
    recall: Annotated[tuple[Share, ...], Field(min_length=1)]
    predictions: FileRef | None = Field(None, description="int32 (2, samples) as .npy: predicted class and label of each image")


class PairedTest(Value):
    """Two classifiers on the same images: McNemar's exact test of whether they are right equally often.

    `lost` images only the first gets right, `gained` only the second. `p_value` is two-sided: how often chance alone parts
    `lost` and `gained` so far, were both classifiers equally good. `points` is top-1 of the second minus the first, in percent.
    """

    samples: int
    lost: int
    gained: int
    points: float
    p_value: float


class Variant(Value):
    """One candidate's file in another precision than fp32; `against` compares it with the fp32 file on the validation images.

    `engine_validation` is the accuracy of the engine itself, None unless it was executed.
    """

    onnx: OnnxRecord
    validation: EvalReport
    against: PairedTest
    engine: EngineRecord
    engine_validation: EvalReport | None = None


class ExportedFile(NamedTuple):
    """One of a candidate's ONNX files with its accuracy on the validation images, and the same of the engine built from it."""

    onnx: OnnxRecord
    validation: EvalReport
    engine: EngineRecord
    engine_validation: EvalReport | None


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
    onnx_validation: EvalReport
    onnx_test: EvalReport
    engine: EngineRecord
    engine_validation: EvalReport | None = Field(None, description="accuracy of the engine itself, if it was executed")
    variants: tuple[Variant, ...] = ()
    stage_seconds: dict[str, float]

    @property
    def files(self) -> tuple[ExportedFile, ...]:
        """In every precision, fp32 first."""
        fp32 = ExportedFile(self.onnx, self.onnx_validation, self.engine, self.engine_validation)
        return fp32, *(ExportedFile(v.onnx, v.validation, v.engine, v.engine_validation) for v in self.variants)


class Recommendation(Value):
    """What to ship, or that nothing should be: `candidate` is empty then. `reason` says why in a sentence.

    `refused` tells for every other file that was measured what speaks against it.
    """

    candidate: str = ""
    precision: Precision = "fp32"
    runtime: Runtime = "onnxruntime"
    reason: str
    refused: dict[str, str] = Field({}, description="by `candidate precision runtime`")


class Trial(Value):
    """One branch that a search trained: what it was cut to, and what it reached. `macs_left` is a share of the dense model's.

    `epochs` were trained in the last round; `stopped` says why it was not trained to its end, empty if it was.
    """

    goal: Goal
    tolerance: float
    macs_left: float
    top1_validation: float
    holds: bool
    epochs: float
    stopped: str = ""

    @classmethod
    def of(cls, plan: PlanRecord, model: ModelRecord, dense: ModelRecord, top1: float, holds: bool) -> Self:
        """From the records of a branch."""
        return cls(
            goal=plan.goal,
            tolerance=plan.tolerance,
            macs_left=model.macs / dense.macs,
            top1_validation=top1,
            holds=holds,
            epochs=model.history[-1].epoch if model.history else 0.0,
            stopped=model.stopped,
        )

    def __str__(self) -> str:
        word = "holds" if self.holds else "does not hold"
        return f"{self.goal} ({self.macs_left:.0%} of the MACs) {word} with {self.top1_validation:.2%}, {self.epochs:g} epochs"


class SearchRecord(Value):
    """How the deepest cut that keeps `floor` of validation top-1 was found; `reference` is the dense model's.

    `considered` cuts could have been trained, for `epochs_a_branch` each after the last round.
    """

    reference: float
    floor: float
    trials: tuple[Trial, ...]
    considered: int
    epochs_a_branch: float

    @property
    def found(self) -> Trial | None:
        """The deepest that holds; None if none does."""
        return min((trial for trial in self.trials if trial.holds), key=lambda trial: trial.macs_left, default=None)

    @property
    def epochs(self) -> float:
        """Epochs of fine-tuning that were spent, in the last rounds."""
        return sum(trial.epochs for trial in self.trials)


class RunReport(Record):
    """The whole sweep. `digests` of the candidates' records are its lineage; `scores` are those of the dense model."""

    UNHASHED: ClassVar[frozenset[str]] = frozenset(
        {"seconds", "folder", "latency", "candidates", "pareto", "recommendation", "flow_run_id", "git_commit"}
    )

    name: str
    folder: str = Field(pattern=r"^[^\x00]+$")
    config: dict[str, Any]
    config_digest: str
    git_commit: str
    rebuilt_from: str = Field("", description="digest of the report whose engines were built anew")
    flow_run_id: str
    candidates: tuple[Candidate, ...]
    latency: LatencyReport
    scores: ScoreRecord
    layer_costs: LayerCostRecord | None = None
    search: SearchRecord | None = None
    recommendation: Recommendation
    pareto: tuple[str, ...] = Field(description="names of the candidates that no other beats in accuracy and latency")


class TrackRecord(Record):
    """Where a run was logged in MLflow. `run_ids` are by candidate name."""

    tracking_uri: str
    experiment_id: str
    parent_run_id: str
    run_ids: dict[str, str]


class RegistryRecord(Record):
    """What became of a file in MLflow's model registry; `reason` says it in a sentence, `promoted` that it has become champion.

    `version` is None if nothing was recommended, and so nothing registered.
    """

    name: str = Field(description="of the registered model")
    version: int | None = None
    aliases: tuple[str, ...] = ()
    promoted: bool = False
    reason: str
