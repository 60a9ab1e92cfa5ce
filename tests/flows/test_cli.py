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
    "layer costs in a precision that no file has": (
        lambda _: {"layer_costs": {"precision": "int8-cpu"}, "quantize": {"precisions": ["fp16"]}},
        "layer_costs.precision is int8-cpu, a file that no candidate has: quantize.precisions is fp16; add int8-cpu there",
    ),
    "unknown key": (lambda _: {"trian": {}}, "unknown key trian"),
    "tolerance of zero": (lambda _: {"allocate": {"tolerances": [0.0]}}, "allocate.tolerances.0 = 0.0 is refused"),
    "tolerance above one": (lambda _: {"allocate": {"tolerances": [1.2]}}, "allocate.tolerances.0 = 1.2 is refused"),
    "tolerances and budgets": (
        lambda _: {"allocate": {"tolerances": [0.1], "budgets": [{"macs": 0.5}]}},
        "both tolerances and budgets are given; keep one of them",
    ),
    "budget of two": (
        lambda _: {"allocate": {"budgets": [{"macs": 0.5, "params": 0.5}]}},
        "a budget names exactly one of macs, params, bytes and latency_ms, not 2",
    ),
    "budget above one": (
        lambda _: {"allocate": {"budgets": [{"macs": 1.5}]}},
        "macs = 1.5 is refused: Value error, a budget is a share of the dense model from 0.0001 to 1 or a whole number",
    ),
    "too many rounds": (lambda _: {"allocate": {"rounds": 11}}, "allocate.rounds = 11 is refused"),
    "unknown rule": (lambda _: {"allocate": {"rule": "tods"}}, "allocate.rule = 'tods' is refused"),
    "unknown removal signal": (
        lambda _: {"score": {"removal": "wassertein"}},
        "score.removal = 'wassertein' is refused: Value error, choose one of wasserstein, l1",
    ),
    "removal function that nobody allowed": (
        lambda _: {"score": {"removal": "math:signal"}},
        "score.removal asks to run the code math:signal, which nobody has allowed here; give --allow-code",
    ),
    "data set by code that nobody allowed": (
        lambda _: {"data": {"name": "custom", "factory": "antigravity:geohash"}},
        "data.factory asks to run the code antigravity:geohash, which nobody has allowed here",
    ),
    "network by code that nobody allowed": (
        lambda _: {"model": {"source": "custom", "name": "antigravity:geohash"}},
        "model.name asks to run the code antigravity:geohash, which nobody has allowed here",
    ),
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
    "runtime without a GPU": (
        lambda _: {"benchmark": {"runtimes": ["onnxruntime", "tensorrt"]}},
        "benchmark.runtimes names tensorrt, which needs a GPU, and there is none; remove it",
    ),
    "latency budget of nothing": (
        lambda _: {"allocate": {"budgets": [{"latency_ms": 0}]}},
        "latency_ms = 0 is refused: Input should be greater than or equal to 0.001",
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


@pytest.mark.parametrize("command", ["run", "plan", "explain"])
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
    ("removal", "message"),
    [
        ("math:signal", "score.removal: math has no signal"),
        ("math:pi", "score.removal: math:pi is no function; it must take a group and the model"),
    ],
)
@pytest.mark.parametrize("command", ["run", "plan", "explain"])
def test_code_is_looked_for_where_it_is_allowed(tmp_path: Path, command: str, removal: str, message: str) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump({"output": str(tmp_path / "runs"), "score": {"removal": removal}}))
    result = CliRunner().invoke(app, [command, str(path), "--allow-code"])
    assert (result.exit_code, result.stderr.count("\n")) == (2, 1)
    assert message in result.stderr


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


def small(folder: Path, **changes: object) -> str:
    """The path of a config of seconds."""
    path = folder / "config.yaml"
    values = {
        "name": "small",
        "output": str(folder / "runs"),
        "model": {"name": "vgg", "kwargs": {"widths": [8, "M", 16]}},
        "train": {"epochs": 1},
        "calibrate": {"per_class": 4},
        "score": {"projections": 4},
        "allocate": {"tolerances": [0.2, 0.7]},
    }
    path.write_text(yaml.safe_dump(values | changes))
    return str(path)


def test_plan_shows_what_each_tolerance_costs(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["plan", small(tmp_path)])
    assert result.exit_code == 0
    for words in ("of 24", "tolerance-0.2", "tolerance-0.7"):
        assert words in result.stdout
    assert "rounds" not in result.stdout


def test_plan_shows_budgets_and_the_tolerances_they_need(tmp_path: Path) -> None:
    path = small(tmp_path, allocate={"budgets": [{"macs": 0.5}, {"params": 1200}], "rounds": 2})
    result = CliRunner().invoke(app, ["plan", path])
    assert result.exit_code == 0
    for words in ("macs-0.5", "params-1200", "tolerance", "the first of 2 rounds"):
        assert words in result.stdout
    instead = CliRunner().invoke(app, ["plan", path, "--tolerances", "0.3"])
    assert "tolerance-0.3" in instead.stdout
    assert "macs-0.5" not in instead.stdout


@pytest.mark.parametrize("command", ["plan", "explain"])
def test_a_budget_out_of_reach_is_one_sentence_and_exit_code_2(tmp_path: Path, command: str) -> None:
    result = CliRunner().invoke(app, [command, small(tmp_path, allocate={"budgets": [{"macs": 2}]})])
    assert result.exit_code == 2
    assert result.stdout == ""
    last = result.stderr.splitlines()[-1]
    assert last.startswith("fair-pruner: no tolerance brings macs down to 2: ")
    assert not list((tmp_path / "runs" / "cache").glob("prune-*"))
    assert not (tmp_path / "runs" / "small").exists()


def test_explain_shows_every_group_and_draws_the_curves(tmp_path: Path) -> None:
    path = small(tmp_path)
    result = CliRunner().invoke(app, ["explain", path])
    assert result.exit_code == 0
    for words in ("features.0", "features.4", "channel", "correlation", "classifier: it is the model's output"):
        assert words in result.stdout
    figure = tmp_path / "runs" / "small" / "tod-curves.png"
    assert str(figure) in result.stdout
    assert figure.read_bytes().startswith(b"\x89PNG")
    before = {file.name for file in (tmp_path / "runs" / "cache").iterdir()}

    one = CliRunner().invoke(app, ["explain", path, "--group", "features.4", "--set", "allocate.round_to=8"])
    assert one.exit_code == 0
    for words in (
        "features.4: 16 units (channel)",
        "ToD at each depth",
        "tolerance 0.2: ",
        "at random",
        "since round_to 8 keeps",
    ):
        assert words in one.stdout
    made = {file.name for file in (tmp_path / "runs" / "cache").iterdir()} - before
    assert all(name.startswith("allocate-") for name in made)  # model and scores came from the cache


@pytest.mark.parametrize(
    ("group", "message"),
    [
        ("feature.4", "there is no group feature.4; did you mean features.4"),
        ("???", "there is no group ???; the first are features.0, features.4"),
        ("classifier", "group classifier is left out: it is the model's output"),
    ],
)
def test_explain_names_the_closest_groups_before_anything_is_trained(tmp_path: Path, group: str, message: str) -> None:
    result = CliRunner().invoke(app, ["explain", small(tmp_path), "--group", group])
    assert result.exit_code == 2
    assert result.stderr.startswith(f"fair-pruner: {message}")
    assert result.stderr.count("\n") == 1
    assert result.stdout == ""
    assert not list((tmp_path / "runs").glob("*"))


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
    for word in ("run", "plan", "explain", "doctor"):
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
