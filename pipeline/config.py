"""RunConfig: everything a person decides about a run, one frozen section a stage, in the order of the stages."""

from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from pipeline.errors import InputError

Tolerance = Annotated[float, Field(gt=0, le=1)]
Fraction = Annotated[float, Field(ge=0.01, le=0.5)]
BatchSize = Annotated[int, Field(ge=1, le=4096)]


class Section(BaseModel):
    """A frozen part of the configuration that refuses keys it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class DataConfig(Section):
    """Which images, and how they are split."""

    name: Literal["digits", "fashion_mnist", "imagefolder"] = Field("digits", description="The data set.")
    root: Path | None = Field(None, description="Folder of the data; needed by imagefolder (train/ and test/ inside).")
    download: bool = Field(False, description="Let torchvision download fashion_mnist into `root`.")
    image_size: int | None = Field(None, ge=4, le=1024, description="imagefolder: resize and centre-crop to this many pixels.")
    channels: Literal[1, 3] | None = Field(None, description="Repeat grey images to 3 channels for models that expect colour.")
    validation_fraction: Fraction = Field(0.1, description="Share of the training images that is held out and steers the run.")
    mean: tuple[Annotated[float, Field(ge=-1000, le=1000)], ...] | None = Field(
        None, description="Per-channel mean of the normalisation; default: the data set's."
    )
    std: tuple[Annotated[float, Field(gt=0, le=1000)], ...] | None = Field(None, description="Per-channel deviation, likewise.")


class ModelConfig(Section):
    """Which classifier is pruned."""

    source: Literal["builtin", "torchvision", "timm"] = Field("builtin", description="Where the architecture comes from.")
    name: str = Field("resnet20", description="Its name there; builtin: resnet8, 14, 20 ... (6n+2), vgg, mlp.")
    kwargs: dict[str, Any] = Field(default_factory=dict, description="Passed to the architecture's constructor.")
    num_classes: int | None = Field(
        None, ge=2, le=100000, description="Expected number of classes; default: as many as the data has."
    )
    checkpoint: Path | None = Field(None, description="Trained weights (.safetensors, or a state dict .pt); none: train here.")
    ignore: tuple[str, ...] = Field((), description="Layers (by name or name prefix) that are never cut.")


class TrainConfig(Section):
    """A training recipe: SGD with Nesterov momentum, linear warm-up, cosine decay to zero."""

    epochs: int = Field(30, ge=0, le=1000, description="Passes over the training images.")
    batch_size: BatchSize = Field(128, description="Images a step.")
    lr: float = Field(0.1, gt=0, le=10, description="Peak learning rate.")
    momentum: float = Field(0.9, ge=0, lt=1, description="SGD momentum.")
    weight_decay: float = Field(5e-4, ge=0, le=1, description="L2 penalty on all weights.")
    warmup_epochs: float = Field(1.0, ge=0, le=100, description="Epochs of linear warm-up.")
    label_smoothing: float = Field(0.0, ge=0, le=0.5, description="Label smoothing of the cross-entropy.")
    crop_padding: int = Field(0, ge=0, le=64, description="Random shifts by up to this many pixels.")
    flip: bool = Field(False, description="Random horizontal flips.")
    precision: Literal["fp32", "bf16"] = Field("fp32", description="bf16: autocast, with channels_last memory format.")


class CalibrateConfig(Section):
    """The calibration set, drawn from the training images."""

    per_class: int = Field(64, ge=2, le=4096, description="Images per class.")


class ScoreConfig(Section):
    """How units are scored."""

    projections: int = Field(128, ge=1, le=4096, description="Random directions of the sliced Wasserstein distance.")
    batch_size: BatchSize = Field(64, description="Images a step.")


class AllocateConfig(Section):
    """How deep each group is cut."""

    tolerances: tuple[Tolerance, ...] = Field((0.05, 0.1, 0.2, 0.4), min_length=1, description="One candidate a tolerance.")
    round_to: int = Field(1, ge=1, le=256, description="Keep a multiple of this many units in each group.")
    min_units: int = Field(1, ge=1, le=4096, description="Units that each group keeps at least.")

    @field_validator("tolerances")
    @classmethod
    def _unique(cls, values: tuple[float, ...]) -> tuple[float, ...]:
        return tuple(sorted(set(values)))


class RecalibrateConfig(Section):
    """BatchNorm statistics are measured anew on the calibration set before anything else happens to a pruned model."""

    batch_size: BatchSize = Field(128, description="Images a step.")


class FinetuneConfig(TrainConfig):
    """The recipe after the cut; the epoch with the best validation accuracy is kept."""

    epochs: int = Field(3, ge=0, le=1000, description="Passes over the training images; 0 keeps the recalibrated model.")
    lr: float = Field(0.02, gt=0, le=10, description="Peak learning rate.")
    warmup_epochs: float = Field(0.0, ge=0, le=100, description="Epochs of linear warm-up.")


class EvaluateConfig(Section):
    """Accuracy measurements."""

    batch_size: BatchSize = Field(256, description="Images a step.")


class ExportConfig(Section):
    """The ONNX file and how closely it must follow the torch model."""

    opset: int = Field(20, ge=18, le=25, description="ONNX operator set.")
    max_batch: BatchSize = Field(16, description="Largest batch of the parity check.")
    samples: int = Field(256, ge=16, le=10000, description="Real images of the parity check.")
    max_relative_diff: float = Field(1e-4, gt=0, le=1, description="Limit of max|torch - onnx| over max|torch|.")
    min_agreement: float = Field(0.99, ge=0, le=1, description="Least share of images with the same top-1 class.")


class EngineConfig(Section):
    """The TensorRT engine: one optimisation profile, precision as in the ONNX file."""

    enabled: bool = Field(True, description="Build an engine for each candidate when a TensorRT library is there.")
    min_batch: BatchSize = Field(1, description="Smallest batch of the profile.")
    opt_batch: BatchSize = Field(8, description="Batch the engine is tuned for.")
    max_batch: BatchSize = Field(16, description="Largest batch of the profile.")
    workspace_mib: int = Field(1024, ge=16, le=65536, description="Memory the builder may plan for, in MiB.")

    @model_validator(mode="after")
    def _ordered(self) -> "EngineConfig":
        if not self.min_batch <= self.opt_batch <= self.max_batch:
            raise ValueError(f"batches must rise: min {self.min_batch} <= opt {self.opt_batch} <= max {self.max_batch}")
        return self


class BenchmarkConfig(Section):
    """The latency measurement in ONNX Runtime on this machine's CPU, dense and candidates interleaved."""

    batch_sizes: tuple[BatchSize, ...] = Field((1, 8), min_length=1, description="Measured one after another.")
    threads: int = Field(1, ge=1, le=256, description="Threads of ONNX Runtime.")
    rounds: int = Field(20, ge=5, le=1000, description="Interleaved rounds; the interval resamples these.")
    min_runs: int = Field(100, ge=50, le=100000, description="Runs of each model at each batch size, at least.")
    min_seconds: float = Field(1.0, ge=0.05, le=600, description="Time spent on each model at each batch size, at least.")
    warmup_seconds: float = Field(0.2, ge=0, le=60, description="Unmeasured running of each model beforehand.")


class TrackConfig(Section):
    """MLflow."""

    enabled: bool = Field(True, description="Log the run to MLflow.")
    experiment: str = Field("fair-pruner", min_length=1, description="MLflow experiment.")


class RunConfig(Section):
    """One sweep: a dense model, one candidate a tolerance, all measured."""

    name: str = Field("run", pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$", description="Names the run and its folder.")
    seed: int = Field(0, ge=0, le=2**31 - 1, description="Seeds every random choice.")
    output: Path = Field(Path("runs"), description="Folder for everything a run leaves behind.")
    data: DataConfig = Field(default_factory=DataConfig)
    model: ModelConfig = Field(default_factory=ModelConfig)
    train: TrainConfig = Field(default_factory=TrainConfig)
    calibrate: CalibrateConfig = Field(default_factory=CalibrateConfig)
    score: ScoreConfig = Field(default_factory=ScoreConfig)
    allocate: AllocateConfig = Field(default_factory=AllocateConfig)
    recalibrate: RecalibrateConfig = Field(default_factory=RecalibrateConfig)
    finetune: FinetuneConfig = Field(default_factory=FinetuneConfig)
    evaluate: EvaluateConfig = Field(default_factory=EvaluateConfig)
    export: ExportConfig = Field(default_factory=ExportConfig)
    engine: EngineConfig = Field(default_factory=EngineConfig)
    benchmark: BenchmarkConfig = Field(default_factory=BenchmarkConfig)
    track: TrackConfig = Field(default_factory=TrackConfig)


def load_config(path: Path, overrides: tuple[str, ...] = ()) -> RunConfig:
    """Read a YAML file, apply `a.b=value` overrides (values are YAML), and validate. Raises InputError in one sentence."""
    if not path.is_file():
        raise InputError(f"config file {path} does not exist; give the path of a YAML file such as deploy/configs/digits.yaml")
    try:
        values = yaml.safe_load(path.read_text())
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"{path} is not YAML: {' '.join(str(error).split())}") from error
    if not isinstance(values, dict):
        found = "nothing" if values is None else f"a {type(values).__name__}"
        raise InputError(f"{path} holds {found}; expected a mapping of sections such as `data:` and `model:`")
    for override in overrides:
        _override(values, override)
    try:
        return RunConfig.model_validate(values)
    except ValidationError as error:
        raise InputError(f"{path}: {_sentence(error)}") from error


def _override(values: dict[str, Any], override: str) -> None:
    key, separator, text = override.partition("=")
    if not separator or not key:
        raise InputError(f"--set {override} is not of the form section.key=value, for example --set train.epochs=10")
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise InputError(f"--set {override}: the value is not YAML") from error
    *sections, last = key.split(".")
    for section in sections:
        values = values.setdefault(section, {})
        if not isinstance(values, dict):
            raise InputError(f"--set {override}: {section} is a value, not a section")
    values[last] = value


def _sentence(error: ValidationError) -> str:
    """The first finding of pydantic in words, with how many more there are."""
    first, *more = error.errors()
    where = ".".join(str(part) for part in first["loc"]) or "config"
    if first["type"] == "extra_forbidden":
        what = f"unknown key {where}; check its spelling and the section it stands in"
    else:
        what = f"{where} = {first['input']!r} is refused: {first['msg']}"
    return what + (f" (and {len(more)} more)" if more else "")
