"""The sections of a configuration, one frozen section a stage; more in training_, pruning_ and device_sections."""

from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from pipeline import form
from pipeline.memory import what_to_lower
from pipeline.watched_process import Limits

Fraction = Annotated[float, Field(ge=0.01, le=0.5)]
BatchSize = Annotated[int, Field(ge=1, le=4096)]
DOWNLOADABLE = ("fashion_mnist", "cifar10", "cifar100", "svhn")


class Section(BaseModel):
    """A frozen part of the configuration that refuses keys it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid", field_title_generator=form.title, json_schema_extra=form.complete)


class LimitedSection(Section):
    """A section of a stage that calls native libraries in processes of their own, which are killed if they take too much."""

    UNHASHED: ClassVar[frozenset[str]] = frozenset({"max_seconds", "max_memory_mb"})

    max_seconds: float = Field(
        600.0, ge=1, le=10**6, description="A call into a native library that takes longer is ended: its process is killed."
    )
    max_memory_mb: int | None = Field(
        None, ge=16, le=10**8, description="So is one whose process takes more memory than this; default: as much as there is."
    )

    def limits(self, stage: str) -> Limits:
        """What a process of a stage may take; `stage` also tells what to lower if it takes more."""
        return Limits(self.max_seconds, self.max_memory_mb, self._name(), what_to_lower(stage))

    def _name(self) -> str:
        return type(self).__name__.removesuffix("Config").lower()


class DataConfig(Section):
    """Which images, and how they are split."""

    name: Literal["digits", "fashion_mnist", "cifar10", "cifar100", "svhn", "imagenet", "imagefolder", "custom"] = Field(
        "digits", description="The data set."
    )
    root: Path | None = Field(
        None,
        description="Folder of the data; default: data. Needed by imagefolder (train/ and test/ inside) and imagenet (train/ "
        "and val/ inside). custom: nothing is read from it, but results follow changes of its files.",
    )
    download: bool = Field(False, description="Let torchvision download fashion_mnist, cifar10, cifar100 or svhn into `root`.")
    factory: str | None = Field(
        None,
        description="custom: package.module:function that takes nothing and returns (train, test) or (train, test, names).",
    )
    image_size: int | None = Field(
        None, ge=4, le=1024, description="Centre-crop to this many pixels; default: 224 for imagenet, else none."
    )
    resize: int | None = Field(
        None,
        ge=4,
        le=2048,
        description="Resize the shorter side to this many pixels before the crop; default: image_size, imagenet: 256/224 of it.",
    )
    channels: Literal[1, 3] | None = Field(
        None, description="3: repeat grey images for models that want colour; 1: make colour grey."
    )
    train_images: int | None = Field(
        None,
        ge=2,
        le=10**9,
        description="Train on so many of the training images, as many of each class as all have; default: on all.",
    )
    seed: int | None = Field(
        None, ge=0, le=2**31 - 1, description="Draws the validation images and `train_images`; default: the run's seed."
    )
    validation_fraction: Fraction = Field(0.1, description="Share of the training images that is held out and steers the run.")
    mean: tuple[Annotated[float, Field(ge=-1000, le=1000)], ...] | None = Field(
        None, description="Per-channel mean of the normalisation; default: the data set's, for custom 0."
    )
    std: tuple[Annotated[float, Field(ge=1e-6, le=1000)], ...] | None = Field(
        None, description="Per-channel standard deviation, likewise."
    )

    @model_validator(mode="after")
    def _consistent(self) -> "DataConfig":
        if self.name == "custom" and self.factory is None:
            raise ValueError("custom needs data.factory, the package.module:function that returns the data sets")
        if self.name != "custom" and self.factory is not None:
            raise ValueError(f"data.factory is for data.name: custom, the name is {self.name}; remove one of the two")
        if self.download and self.name not in DOWNLOADABLE:
            raise ValueError(f"{self.name} cannot be downloaded, only {', '.join(DOWNLOADABLE)}; remove data.download")
        return self


class ModelConfig(Section):
    """Which classifier is pruned."""

    source: Literal["builtin", "torchvision", "timm", "custom"] = Field(
        "builtin", description="Where the architecture comes from; custom: your own code."
    )
    name: str = Field(
        "resnet20",
        description="Its name there; builtin: resnet8, 14, 20 ... (6n+2), vgg, mlp; custom: package.module:name of the class, or "
        "of a function that returns the module (with its trained weights: set train.epochs to 0).",
    )
    kwargs: dict[str, Any] = Field(
        {}, description='Passed to the architecture\'s constructor, for example {"widths": [32, "M", 64]}.'
    )
    num_classes: int | None = Field(
        None, ge=2, le=100000, description="Expected number of classes; default: as many as the data has."
    )
    checkpoint: Path | None = Field(None, description="Trained weights (.safetensors, or a state dict .pt); none: train here.")
    ignore: tuple[str, ...] = Field((), description="Layers (by name or name prefix) that are never cut.")
    embedding: bool = Field(
        False, description="Cut the width of transformers and of ConvNeXt stages too: the channels that LayerNorms work over."
    )


class CalibrateConfig(Section):
    """The calibration set, drawn from the training images."""

    per_class: int = Field(64, ge=2, le=4096, description="Images per class.")


class RecalibrateConfig(Section):
    """BatchNorm statistics are measured anew on the calibration set before anything else happens to a pruned model."""

    batch_size: BatchSize = Field(128, description="Images a step.")


class EvaluateConfig(LimitedSection):
    """Accuracy measurements."""

    batch_size: BatchSize = Field(256, description="Images a step.")


class ExportConfig(LimitedSection):
    """The ONNX file and how closely it must follow the torch model."""

    opset: int = Field(20, ge=18, le=25, description="ONNX operator set.")
    max_batch: BatchSize = Field(16, description="Largest batch of the parity check.")
    samples: int = Field(256, ge=16, le=10000, description="Real images of the parity check.")
    max_relative_diff: float = Field(1e-4, ge=0, le=1, description="Limit of max|torch - onnx| over max|torch|.")
    min_agreement: float = Field(0.99, ge=0, le=1, description="Least share of images with the same top-1 class.")


class TrackConfig(Section):
    """MLflow."""

    enabled: bool = Field(True, description="Log the run to MLflow.")
    experiment: str = Field("fair-pruner", min_length=1, description="MLflow experiment.")
    registry: bool = Field(True, description="Register the recommended file as a version in MLflow's model registry.")
    registered_model: str | None = Field(
        None,
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._ -]{0,127}$",
        description="Name of the registered model; default: the run's name.",
    )
    promote: bool = Field(
        True, description="Make that version champion if it beats the present champion; else leave it to fair-pruner promote."
    )
