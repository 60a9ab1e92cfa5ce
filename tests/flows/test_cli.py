import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import yaml
from PIL import Image
from typer.testing import CliRunner

from flows.cli import app
from pipeline.models import build_model
from pipeline.records import Architecture

VGG = Architecture(source="builtin", name="vgg", kwargs={"widths": (8, "M", 16)}, num_classes=10, input_shape=(1, 8, 8))


def images(root: Path) -> str:
    """A folder of images in which one class has none to train on."""
    for part, name, count in (("train", "cat", 4), ("train", "dog", 0), ("test", "cat", 1), ("test", "dog", 1)):
        (root / part / name).mkdir(parents=True)
        for i in range(count):
            Image.new("RGB", (8, 8)).save(root / part / name / f"{i}.png")
    return str(root)


def checkpoint(path: Path, content: object) -> str:
    torch.save(content, path)
    return str(path)


def occupied(path: Path) -> str:
    path.write_text("a file, no folder")
    return str(path)


Change = Callable[[Path], dict[str, object]]
BAD_INPUT: dict[str, tuple[Change, str]] = {
    "unknown key": (lambda _: {"trian": {}}, "unknown key trian"),
    "tolerance of zero": (lambda _: {"allocate": {"tolerances": [0.0]}}, "allocate.tolerances.0 = 0.0 is refused"),
    "tolerance above one": (lambda _: {"allocate": {"tolerances": [1.2]}}, "allocate.tolerances.0 = 1.2 is refused"),
    "unknown model": (lambda _: {"model": {"name": "vgg19000"}}, "model vgg19000 is unknown to builtin; did you mean vgg?"),
    "unknown data set": (lambda _: {"data": {"name": "digit"}}, "data.name = 'digit' is refused: Input should be 'digits'"),
    "wrong number of classes": (
        lambda _: {"model": {"name": "vgg", "num_classes": 7}},
        "model.num_classes is 7 but the data has 10 classes",
    ),
    "checkpoint of other shapes": (
        lambda folder: {
            "model": {
                "name": "vgg",
                "kwargs": {"widths": [8, "M", 24]},
                "checkpoint": checkpoint(folder / "c.pt", build_model(VGG).state_dict()),
            }
        },
        "features.4.weight has shape (16, 8, 3, 3), the model expects (24, 8, 3, 3)",
    ),
    "pickled module": (
        lambda folder: {"model": {"name": "vgg", "checkpoint": checkpoint(folder / "m.pt", build_model(VGG))}},
        "holds pickled objects, which may run code when loaded; save model.state_dict()",
    ),
    "missing checkpoint": (
        lambda folder: {"model": {"name": "vgg", "checkpoint": str(folder / "none.pt")}},
        "none.pt does not exist",
    ),
    "empty class": (
        lambda folder: {"data": {"name": "imagefolder", "root": images(folder / "images")}},
        "class dog has no training images",
    ),
    "unwritable output": (lambda folder: {"output": occupied(folder / "taken") + "/runs"}, "cannot write in"),
    "nothing to cut": (
        lambda _: {"model": {"name": "mlp", "kwargs": {"hidden": []}}},
        "nothing in this model can be cut (layers.1: it is the model's output)",
    ),
    "ignored layer that is not there": (
        lambda _: {"model": {"name": "vgg", "ignore": ["head"]}},
        "ignore names 'head', which is not a layer of the model",
    ),
}


@pytest.mark.parametrize("command", ["run", "plan"])
@pytest.mark.parametrize("case", BAD_INPUT)
def test_bad_input_is_one_sentence_and_exit_code_2(tmp_path: Path, case: str, command: str) -> None:
    change, message = BAD_INPUT[case]
    values = {"output": str(tmp_path / "runs"), **change(tmp_path)}
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(values))
    result = CliRunner().invoke(app, [command, str(path)])
    assert result.exit_code == 2
    assert message in result.stderr
    assert result.stderr.startswith("fair-pruner: ")
    assert result.stderr.count("\n") == 1
    assert result.stdout == ""
    assert not list((tmp_path / "runs").glob("*"))  # nothing half-written


@pytest.mark.parametrize(
    ("content", "message"), [(None, "does not exist"), ("a: [1", "is not YAML"), ("just words", "holds a str")]
)
def test_a_config_that_cannot_be_read(tmp_path: Path, content: str | None, message: str) -> None:
    path = tmp_path / "config.yaml"
    if content is not None:
        path.write_text(content)
    result = CliRunner().invoke(app, ["run", str(path)])
    assert (result.exit_code, result.stderr.count("\n")) == (2, 1)
    assert message in result.stderr


def test_the_tolerances_option_wins(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(f"output: {tmp_path / 'runs'}\n")
    result = CliRunner().invoke(app, ["plan", str(path), "--tolerances", "0.1,3"])
    assert result.exit_code == 2
    assert "allocate.tolerances.1 = 3" in result.stderr


def test_plan_shows_what_each_tolerance_costs(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    values = {
        "output": str(tmp_path / "runs"),
        "model": {"name": "vgg", "kwargs": {"widths": [8, "M", 16]}},
        "train": {"epochs": 1},
        "calibrate": {"per_class": 4},
        "score": {"projections": 4},
        "allocate": {"tolerances": [0.2, 0.7]},
    }
    path.write_text(yaml.safe_dump(values))
    result = CliRunner().invoke(app, ["plan", str(path)], env={"COLUMNS": "140"})
    assert result.exit_code == 0
    assert "of 24" in result.stdout
    assert "0.2" in result.stdout
    assert "0.7" in result.stdout


def test_doctor_tells_what_works(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["doctor", "--output", str(tmp_path / "runs")], env={"COLUMNS": "200"})
    assert result.exit_code == 0
    for subject in ("Python", "Training and scoring", "ONNX Runtime", "TensorRT engines", "MLflow", "Prefect"):
        assert subject in result.stdout
    blocked = occupied(tmp_path / "taken")
    assert CliRunner().invoke(app, ["doctor", "--output", blocked + "/runs"]).exit_code == 1


def test_help_is_readable_and_loads_no_torch() -> None:
    command = [sys.executable, "-X", "importtime", "-m", "flows", "--help"]
    result = subprocess.run(command, capture_output=True, text=True, check=True, env={**os.environ, "COLUMNS": "120"})
    for word in ("run", "plan", "doctor"):
        assert word in result.stdout
    loaded = {line.rpartition("|")[2].strip() for line in result.stderr.splitlines()}
    assert not loaded & {"torch", "prefect", "mlflow", "onnx", "onnxruntime"}


def test_the_installed_command_ends_with_2_and_no_traceback(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "flows", "run", str(tmp_path / "none.yaml")]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 2
    assert "Traceback" not in result.stderr
    assert "none.yaml does not exist" in result.stderr


def test_without_the_extras_the_command_says_what_to_install() -> None:
    code = "import sys; sys.modules['typer'] = None; from flows.__main__ import main; main()"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert result.returncode == 2
    assert result.stderr.startswith("fair-pruner: the command needs typer, which is not installed: pip install fair-pruner[cpu]")
