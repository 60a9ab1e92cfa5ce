"""The sections of a configuration that train: the recipe of the dense model, and that of the repair after the cut."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field, WithJsonSchema, model_validator

from pipeline.sections import BatchSize, Section

# a constant cannot be chosen in a form, one of one can
Auto = Annotated[Literal["auto"], WithJsonSchema({"type": "string", "enum": ["auto"]})]
LearningRate = Annotated[float, Field(ge=1e-6, le=10)]
Epochs = Annotated[float, Field(ge=0.001, le=1000)]


class TrainConfig(Section):
    """A training recipe: an optimiser of timm, linear warm-up, cosine decay to zero.

    What is in UNHASHED decides nothing about the weights that come out.
    """

    UNHASHED: ClassVar[frozenset[str]] = frozenset({"checkpoint_seconds"})

    epochs: int = Field(30, ge=0, le=1000, description="Passes over the training images.")
    batch_size: BatchSize = Field(128, description="Images a step, over all processes together.")
    optimizer: str = Field(
        "sgd",
        pattern=r"^[a-z0-9]+$",
        description="An optimiser by its name in timm: sgd (with Nesterov momentum), adamw, lamb, lion, ...",
    )
    lr: LearningRate | Auto = Field(
        0.1, description="Peak learning rate. auto: a tenth of the rate at which the loss of a short test run is lowest."
    )
    momentum: float = Field(0.9, ge=0, le=0.999, description="Momentum of the optimisers that have one.")
    weight_decay: float = Field(5e-4, ge=0, le=1, description="L2 penalty on the weights; biases and norms have none.")
    warmup_epochs: float = Field(1.0, ge=0, le=100, description="Epochs of linear warm-up.")
    label_smoothing: float = Field(0.0, ge=0, le=0.5, description="Label smoothing of the cross-entropy.")
    crop_padding: int = Field(0, ge=0, le=64, description="Random shifts by up to this many pixels.")
    flip: bool = Field(False, description="Random horizontal flips.")
    mixup: float = Field(0.0, ge=0, le=10, description="Mixup, arXiv:1710.09412: its alpha; 0: none.")
    cutmix: float = Field(0.0, ge=0, le=10, description="CutMix, arXiv:1905.04899: its alpha; with mixup half of the steps each.")
    ema_decay: float = Field(
        0.0,
        ge=0,
        le=0.99999,
        description="Keep the exponential moving average of the weights; its decay grows up to this. 0: keep the weights.",
    )
    patience: int = Field(0, ge=0, le=1000, description="Stop after so many epochs without better validation accuracy; 0: never.")
    measure_at: tuple[Epochs, ...] = Field(
        (), description="Epochs, beside every whole one, after which validation accuracy is measured, such as 0.25."
    )
    precision: Literal["fp32", "bf16"] = Field("fp32", description="bf16: autocast.")
    processes: int = Field(
        1, ge=1, le=64, description="Processes that train together (DDP), each on its own GPU if there are enough."
    )
    checkpoint_seconds: float = Field(
        120.0, ge=0, le=86400, description="A training that is killed goes on from its last checkpoint; one is written so often."
    )

    @model_validator(mode="after")
    def _images_for_every_process(self) -> "TrainConfig":
        if self.processes > 1 and self.batch_size < 2 * self.processes:
            raise ValueError(
                f"a batch of {self.batch_size} leaves {self.processes} processes fewer than 2 images each; raise batch_size"
            )
        return self


class DistillationConfig(Section):
    """Knowledge distillation, arXiv:1503.02531: the pruned model learns from the dense one, beside the labels."""

    weight: float = Field(0.0, ge=0, le=1, description="Share of the teacher in the loss; 0: no distillation.")
    temperature: float = Field(4.0, ge=0.1, le=100, description="What logits are divided by before they are compared.")
    features: float = Field(
        0.0,
        ge=0,
        le=100,
        description="Weight of feature matching, arXiv:1412.6550: outputs of the pruned layers beside the teacher's outputs of "
        "the units that were kept; 0: none.",
    )


class FinetuneConfig(TrainConfig):
    """The recipe after the cut; the epoch with the best validation accuracy is kept."""

    epochs: int = Field(3, ge=0, le=1000, description="Passes over the training images; 0 keeps the recalibrated model.")
    lr: LearningRate | Auto = Field(
        0.02, description="Peak learning rate. auto: a tenth of the rate at which the loss of a short test run is lowest."
    )
    warmup_epochs: float = Field(0.0, ge=0, le=100, description="Epochs of linear warm-up.")
    round_epochs: int | None = Field(
        None,
        ge=0,
        le=1000,
        description="Epochs after each of several rounds but the last one; default: `epochs`, as after the last.",
    )
    distillation: DistillationConfig = Field(default_factory=DistillationConfig)
    recalibrate: bool = Field(False, description="Measure BatchNorm statistics on the calibration set once more, after training.")

    def of_round(self, last: bool) -> "FinetuneConfig":
        """The recipe after the last round, or after one before it."""
        return self if last or self.round_epochs is None else self.model_copy(update={"epochs": self.round_epochs})

    @model_validator(mode="after")
    def _labels_that_a_teacher_has(self) -> "FinetuneConfig":
        if self.distillation.features and not self.distillation.weight:
            raise ValueError("distillation.features needs a teacher; set distillation.weight above 0")
        return self
