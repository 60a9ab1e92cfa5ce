"""The sections of a configuration that decide which units go: how they are scored, and how deep groups are cut."""

import re
from contextlib import suppress
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, WithJsonSchema, field_validator, model_validator

from pipeline.sections import BatchSize, Section
from pipeline.training_sections import Auto

REMOVALS = (
    *("wasserstein", "l1", "l2", "group_norm", "bn_scale", "fpgm", "lamp", "hrank", "mean_activation", "random"),
    *("taylor", "hessian"),
)
NETWORK_PRUNER = "network_pruner"  # the authors' package; the library does not know it
SIGNALS = (*REMOVALS, NETWORK_PRUNER)
FUNCTION = re.compile(r"[\w.]+:\w+")
SMALLEST, LARGEST = 0.0001, 10**15
Tolerance = Annotated[float, Field(ge=SMALLEST, le=1)]


def _share_or_number(value: Any) -> Any:
    """A share stays a float, a number becomes an int, as 1e6 in YAML is a text and 1.0e6 a float."""
    if value is None:
        return None
    with suppress(ValueError, TypeError, OverflowError):
        if not isinstance(value, int):
            value = float(value)
        if not isinstance(value, bool) and (SMALLEST <= value <= 1 or (0 < value <= LARGEST and value == int(value))):
            return value if isinstance(value, float) and value <= 1 else int(value)
    raise ValueError(f"a budget is a share of the dense model from {SMALLEST} to 1 or a whole number")


Share = Annotated[float, Field(ge=SMALLEST, le=1)]
Number = Annotated[int, Field(ge=1, le=LARGEST)]
# one kind of number: between two kinds a form jumps while somebody types
SHARE_OR_NUMBER = {
    "type": "number",
    "minimum": SMALLEST,
    "maximum": LARGEST,
    "if": {"exclusiveMinimum": 1},
    "then": {"multipleOf": 1},
}
Amount = Annotated[
    Number | Share | None,
    BeforeValidator(_share_or_number),
    WithJsonSchema({"anyOf": [SHARE_OR_NUMBER, {"type": "null"}]}),
]


class ScoreConfig(Section):
    """How units are scored."""

    removal: str = Field(
        "wasserstein",
        json_schema_extra={"pattern": rf"^({'|'.join(SIGNALS)}|{FUNCTION.pattern})$"},
        description=f"What proposes units for removal, low = removable: {', '.join(REMOVALS)}; {NETWORK_PRUNER}, which is the "
        "authors' package with its own protection (extra bench, networks without shortcuts); or your own function as "
        "package.module:function. It gets a group and the model and returns one value a unit.",
    )
    observe: Literal["producer", "norm", "activation"] = Field(
        "activation", description="Where outputs are read: of the layer itself, behind its norm, or behind norm and activation."
    )
    aggregate: Literal["max", "mean"] = Field(
        "mean", description="How the layers of one group count together: the largest value, or the mean of each layer's share."
    )
    protection: Literal["signed", "absolute"] = Field(
        "absolute", description="How the R-Score adds up over samples: with signs, or absolute values sample by sample."
    )
    projections: int = Field(64, ge=1, le=4096, description="Random directions of the sliced Wasserstein distance.")
    batch_size: BatchSize = Field(64, description="Images a step.")
    memory_mb: int = Field(
        2048, ge=64, le=2**24, description="Memory for what is held of the data, in MiB; with less, the data is read more often."
    )
    processes: int = Field(
        1, ge=1, le=64, description="Processes that share the calibration images, each on its own GPU if there are enough."
    )

    @field_validator("removal")
    @classmethod
    def _known(cls, value: str) -> str:
        if value not in SIGNALS and not FUNCTION.fullmatch(value):
            raise ValueError(f"choose one of {', '.join(SIGNALS)}, or name your own function as package.module:function")
        return value

    @model_validator(mode="after")
    def _one_process_for_the_peer(self) -> "ScoreConfig":
        if self.processes > 1 and self.removal == NETWORK_PRUNER:
            raise ValueError(f"{NETWORK_PRUNER} scores in one process only; set processes to 1")
        return self

    @property
    def function(self) -> str | None:
        """The path of the person's own function, if `removal` is one."""
        return self.removal if self.removal not in SIGNALS else None


class BudgetConfig(Section):
    """What a pruned model may cost: exactly one of these, as a share of the dense model (0.5) or as a number (1000000).

    A candidate is cut as little as meets it.
    """

    macs: Amount = Field(None, description="Multiply-accumulates of one image.")
    params: Amount = Field(None, description="Parameters.")
    bytes: Amount = Field(None, description="Bytes of the stored weights.")
    latency_ms: float | None = Field(
        None,
        ge=0.001,
        le=1e6,
        description="Milliseconds of one batch of `layer_costs.batch_size`, as the layer costs predict.",
    )

    @model_validator(mode="after")
    def _one(self) -> "BudgetConfig":
        given = [name for name in type(self).model_fields if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(f"a budget names exactly one of macs, params, bytes and latency_ms, not {len(given)}")
        return self


class LayerCostConfig(Section):
    """Latency by layer and channel count, measured on this machine: for `round_to: auto`, latency budgets and predictions."""

    enabled: bool = Field(False, description="Measure them even if no plan depends on them, to have every latency predicted.")
    batch_size: BatchSize = Field(1, description="Images of one batch.")
    precision: Literal["fp32", "int8-cpu"] = Field(
        "fp32", description="The files whose latency is meant. int8-cpu must then stand in quantize.precisions."
    )
    points: int = Field(5, ge=2, le=16, description="Channel counts measured along each side of a layer.")


class AllocateConfig(Section):
    """How deep each group is cut: one candidate for each tolerance, or one for each budget."""

    rule: Literal["tod", "uniform", "global"] = Field(
        "tod",
        description="What the numbers in `tolerances` mean. tod: the tolerance of the method. The two baselines read them as "
        "pruning ratios: uniform removes this share of every group, global this share of all units, lowest signal first.",
    )
    tolerances: tuple[Tolerance, ...] = Field((0.05, 0.1, 0.2, 0.4), description="One candidate a number; larger cuts deeper.")
    budgets: tuple[BudgetConfig, ...] = Field(
        (),
        description="Instead of tolerances: one candidate a budget, such as {macs: 0.5}, {params: 1000000} or {bytes: 0.25}, cut "
        "as little as meets it: at the smallest number of the rule that does, and units are given back while it is met "
        "(not for latency_ms or round_to auto).",
    )
    max_accuracy_drop: float | None = Field(
        None,
        ge=0,
        le=1,
        description="Instead of tolerances: find the deepest cut that loses no more than this share of validation top-1 after "
        "fine-tuning, by training a few of `steps` cuts. 0.005 is half a point.",
    )
    steps: int = Field(16, ge=2, le=64, description="Cuts that `max_accuracy_drop` chooses from, evenly spread over the MACs.")
    rounds: int = Field(
        1,
        ge=1,
        le=10,
        description="Rounds in which each candidate is cut, every one with its own scores, recalibration and fine-tuning "
        "(finetune.round_epochs). The same tolerance in each round; a budget is approached in equal ratios.",
    )
    round_to: Auto | Annotated[int, Field(ge=1, le=256)] = Field(
        1,
        description="Keep a multiple of this many units in each group; never cuts deeper. auto: in each group the one that the "
        "measured layer costs find fastest.",
    )
    min_units: int = Field(1, ge=1, le=4096, description="Units that each group keeps at least.")

    @property
    def needs_layer_costs(self) -> bool:
        """Whether plans depend on the latency of this machine."""
        return self.round_to == "auto" or any(budget.latency_ms is not None for budget in self.budgets)

    @model_validator(mode="before")
    @classmethod
    def _default_gives_way(cls, values: Any) -> Any:
        """What is asked for instead stands in place of the default tolerances."""
        if not isinstance(values, dict) or "tolerances" in values:
            return values
        instead = values.get("budgets") or values.get("max_accuracy_drop") is not None
        return values | {"tolerances": ()} if instead else values

    @field_validator("tolerances")
    @classmethod
    def _unique(cls, values: tuple[float, ...]) -> tuple[float, ...]:
        return tuple(sorted({round(value, 12) for value in values}))  # 0.1 + 0.2 is not quite 0.3, and it names folders

    @field_validator("budgets")
    @classmethod
    def _once(cls, values: tuple[BudgetConfig, ...]) -> tuple[BudgetConfig, ...]:
        return tuple(dict.fromkeys(values))

    @model_validator(mode="after")
    def _one_of_two(self) -> "AllocateConfig":
        given = {"tolerances": self.tolerances, "budgets": self.budgets, "max_accuracy_drop": self.max_accuracy_drop is not None}
        asked = [name for name, value in given.items() if value]
        if len(asked) > 1:
            raise ValueError(f"both {' and '.join(asked)} are given; keep one of them")
        if not asked:
            raise ValueError(f"none of {', '.join(given)} is given; name one of them")
        return self
