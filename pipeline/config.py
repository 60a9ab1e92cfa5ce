"""RunConfig: everything a person decides about a run, and how it is read from a file."""

import copy
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError

from pipeline.device_sections import BenchmarkConfig, EngineConfig, GateConfig, QuantizeConfig
from pipeline.errors import InputError
from pipeline.input_size import CONFIG_MIB, read_limited
from pipeline.output import DEFAULT, Place, default_output
from pipeline.pruning_sections import AllocateConfig, BudgetConfig, LayerCostConfig, ScoreConfig
from pipeline.sections import (
    CalibrateConfig,
    DataConfig,
    EvaluateConfig,
    ExportConfig,
    ModelConfig,
    RecalibrateConfig,
    Section,
    TrackConfig,
)
from pipeline.training_sections import DistillationConfig, FinetuneConfig, TrainConfig
from pipeline.yaml_text import read_yaml

__all__ = [
    "AllocateConfig",
    "BenchmarkConfig",
    "BudgetConfig",
    "CalibrateConfig",
    "DataConfig",
    "DistillationConfig",
    "EngineConfig",
    "EvaluateConfig",
    "ExportConfig",
    "FinetuneConfig",
    "GateConfig",
    "LayerCostConfig",
    "ModelConfig",
    "QuantizeConfig",
    "RecalibrateConfig",
    "RunConfig",
    "ScoreConfig",
    "TrackConfig",
    "TrainConfig",
    "load_config",
]


class RunConfig(Section):
    """One sweep: a dense model, one candidate a tolerance, all measured."""

    name: str = Field("run", pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$", description="Names the run and its folder.")
    seed: int = Field(0, ge=0, le=2**31 - 1, description="Seeds every random choice.")
    output: Place = Field(
        default_factory=default_output,
        description="Folder for everything a run leaves behind, or the URL of a place that machines share: s3://bucket/prefix.",
        json_schema_extra={"default": DEFAULT},
    )
    branches: Literal["inline", "deployment", "dask"] = Field(
        "inline",
        description="What computes the branches of a sweep: the sweep itself, the workers of a Prefect pool, or a Dask cluster.",
    )
    data: DataConfig = Field(default_factory=DataConfig)
    model: ModelConfig = Field(default_factory=ModelConfig)
    train: TrainConfig = Field(default_factory=TrainConfig)
    calibrate: CalibrateConfig = Field(default_factory=CalibrateConfig)
    score: ScoreConfig = Field(default_factory=ScoreConfig)
    layer_costs: LayerCostConfig = Field(default_factory=LayerCostConfig)
    allocate: AllocateConfig = Field(default_factory=AllocateConfig)
    recalibrate: RecalibrateConfig = Field(default_factory=RecalibrateConfig)
    finetune: FinetuneConfig = Field(default_factory=FinetuneConfig)
    evaluate: EvaluateConfig = Field(default_factory=EvaluateConfig)
    export: ExportConfig = Field(default_factory=ExportConfig)
    quantize: QuantizeConfig = Field(default_factory=QuantizeConfig)
    engine: EngineConfig = Field(default_factory=EngineConfig)
    benchmark: BenchmarkConfig = Field(default_factory=BenchmarkConfig)
    gate: GateConfig = Field(default_factory=GateConfig)
    track: TrackConfig = Field(default_factory=TrackConfig)


def load_config(path: Path, overrides: tuple[str, ...] = ()) -> RunConfig:
    """Read a YAML file, apply `a.b=value` overrides (values are YAML), and validate. Raises InputError in one sentence."""
    if not path.is_file():
        raise InputError(f"config file {path} does not exist; give the path of a YAML file such as deploy/configs/digits.yaml")
    values = read_yaml(read_limited(path, CONFIG_MIB), str(path))
    if not isinstance(values, dict):
        found = "nothing" if values is None else f"a {type(values).__name__}"
        raise InputError(f"{path} holds {found}; expected a mapping of sections such as `data:` and `model:`")
    for override in overrides:
        _override(values, override)
    return _validated(values, str(path))


def override_config(values: dict[str, Any], overrides: tuple[str, ...]) -> RunConfig:
    """An earlier run's settings with `a.b=value` overrides. Raises InputError in one sentence."""
    changed = copy.deepcopy(values)
    for override in overrides:
        _override(changed, override)
    return _validated(changed, "the run's config")


def _validated(values: dict[str, Any], where: str) -> RunConfig:
    try:
        return RunConfig.model_validate(values)
    except ValidationError as error:
        raise InputError(f"{where}: {_sentence(error)}") from error
    except InputError as error:  # of the output, which is a place
        raise InputError(f"{where}: {error}") from error


def _override(values: dict[str, Any], override: str) -> None:
    key, separator, text = override.partition("=")
    if not separator or not key:
        raise InputError(f"--set {override} is not of the form section.key=value, for example --set train.epochs=10")
    value = read_yaml(text, f"--set {key}: the value")
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
        what = f"{where} = {repr(first['input'])[:100]} is refused: {first['msg']}"
    return what + (f" (and {len(more)} more)" if more else "")
