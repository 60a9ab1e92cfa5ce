"""A network of a person's own: found by its import path, given its classes, pinned to its source, failures in a sentence."""

import sys
from pathlib import Path

import pytest
import torch

from fair_pruner import UnsupportedModelError
from pipeline import builtin_models
from pipeline.config import ModelConfig, RunConfig
from pipeline.data import load_data
from pipeline.errors import InputError
from pipeline.models import architecture_of, build_model
from pipeline.preflight import preflight
from pipeline.records import Architecture

pytestmark = pytest.mark.usefixtures("code_allowed")

SOURCE = """
import functools
import torch
from torch import nn

class Net(nn.Sequential):
    def __init__(self, num_classes: int, width: int = 8):
        super().__init__(nn.Flatten(), nn.Linear(64, width), nn.ReLU(), nn.Linear(width, num_classes))

def ten(width=8):
    return Net(10, width)

narrow = functools.partial(Net, width=4)
def eleven(): return Net(11)
def pair(): return Split()
def text(): return "no module"
def broken(): raise KeyError("lost")
model = Net(10)

class Split(Net):
    def __init__(self): super().__init__(10)
    def forward(self, x):
        y = super().forward(x)
        return {"logits": y, "twice": y * 2}
"""


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunConfig:
    (tmp_path / "nets_of_mine.py").write_text(SOURCE)
    monkeypatch.delitem(sys.modules, "nets_of_mine", raising=False)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.chdir(tmp_path)
    return RunConfig(output=tmp_path / "run", model=ModelConfig(source="custom", name="nets_of_mine:Net"))


def wanted(config: RunConfig, name: str, **kwargs: object) -> Architecture:
    model = ModelConfig(source="custom", name=f"nets_of_mine:{name}", kwargs=kwargs)
    return architecture_of(model, load_data(config.data, config.seed))


@pytest.mark.parametrize(("name", "kwargs", "width"), [("Net", {}, 8), ("ten", {"width": 6}, 6), ("narrow", {}, 4)])
def test_a_class_a_function_and_a_partial_are_called(config: RunConfig, name: str, kwargs: dict[str, int], width: int) -> None:
    model = build_model(wanted(config, name, **kwargs))
    assert model(torch.zeros(2, 1, 8, 8)).shape == (2, 10)
    assert model.get_parameter("1.weight").shape == (width, 64)


def test_a_factory_of_an_installed_package_is_called(config: RunConfig) -> None:
    other = Architecture(
        source="custom",
        name="pipeline.builtin_models:MLP",
        kwargs={"inputs": 64},
        num_classes=3,
        input_shape=(1, 8, 8),
        source_digest=architecture_of(
            ModelConfig(source="custom", name="pipeline.builtin_models:MLP"), load_data(config.data, 0)
        ).source_digest,
    )
    model = build_model(other)
    assert isinstance(model, builtin_models.MLP)
    assert model(torch.zeros(2, 1, 8, 8)).shape == (2, 3)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("Nett", "nets_of_mine has no Nett; did you mean Net?"),
        ("text", "returns a str; expected a torch.nn.Module"),
        ("broken", "broken raises KeyError: 'lost'; check it and model.kwargs"),
        ("model", "is a Net; expected a function or class"),
        ("eleven", r"returns shape \(2, 11\) for 2 images; expected \(2, 10\)"),
        ("pair", "returns a dict; it must return one tensor, the logits"),
    ],
)
def test_what_is_no_classifier_is_refused(config: RunConfig, name: str, message: str) -> None:
    with pytest.raises((InputError, UnsupportedModelError), match=message):
        preflight(config.model_copy(update={"model": ModelConfig(source="custom", name=f"nets_of_mine:{name}")}))


def test_a_wrong_path_and_wrong_arguments_are_refused(config: RunConfig) -> None:
    for path, message in (("no_such.module:Net", "there is no module no_such"), ("Net", "expected package.module:function")):
        with pytest.raises(InputError, match=message):
            preflight(config.model_copy(update={"model": ModelConfig(source="custom", name=path)}))
    with pytest.raises(InputError, match="unexpected keyword argument 'depth'"):
        build_model(wanted(config, "Net", depth=3))


def test_a_recorded_model_is_not_built_from_changed_source(config: RunConfig) -> None:
    recorded = wanted(config, "Net")
    Path("nets_of_mine.py").write_text(SOURCE.replace("width: int = 8", "width: int = 9"))
    assert wanted(config, "Net") != recorded
    with pytest.raises(InputError, match="source file of nets_of_mine:Net is not the one this model was made with"):
        build_model(recorded)
