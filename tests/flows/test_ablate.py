"""The comparison of ways to prune: a real flow on digits, the command on a network of one's own, and bad input."""

import logging
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from flows.ablate import _load
from flows.ablation import ablation
from flows.cli import app
from flows.tasks import FlowRunner
from pipeline.ablation import FILES, AblationReport, methods
from pipeline.data import load_data

from .conftest import tiny

NETWORK = """
from torch import nn

class Net(nn.Sequential):
    def __init__(self, num_classes: int):
        super().__init__(nn.Flatten(), nn.Linear(64, 24), nn.ReLU(), nn.Linear(24, num_classes))
"""
Calls = list[tuple[str, dict[str, Any]]]


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Calls:
    """Tasks that ran, or came from the cache, by stage and arguments."""
    found: Calls = []
    run = FlowRunner.__call__

    def noted(self: FlowRunner, stage: Any, about: str, **arguments: Any) -> Any:
        found.append((stage.name, arguments))
        return run(self, stage, about, **arguments)

    monkeypatch.setattr(FlowRunner, "__call__", noted)
    return found


@pytest.fixture
def lines() -> Iterator[list[str]]:
    """What the pipeline logs."""
    texts: list[str] = []
    handler, logger = logging.Handler(logging.INFO), logging.getLogger("pipeline")
    handler.emit = lambda record: texts.append(record.getMessage())  # type: ignore[method-assign]
    logger.addHandler(handler)
    yield texts
    logger.removeHandler(handler)


@pytest.mark.usefixtures("prefect_server")
def test_all_methods_are_cut_to_the_same_cost_from_one_model_and_a_second_call_reuses_them(
    tmp_path: Path, calls: Calls, lines: list[str]
) -> None:
    config = tiny(
        tmp_path / "runs",
        model={"name": "mlp", "kwargs": {"hidden": [128, 64]}},  # small, and a unit is less than 1 % of it
        train={"epochs": 2, "batch_size": 64, "lr": 0.05},
        allocate={"budgets": [{"macs": 0.5}]},
    )
    compared = methods("fair,l1-uniform")
    report = ablation(config, compared, (0, 1), latency=False)
    assert [(cell.method, cell.seed) for cell in report.cells] == [
        ("fair", 0),
        ("l1-uniform", 0),
        ("fair", 1),
        ("l1-uniform", 1),
    ]
    assert [cell.plan.rule for cell in report.cells] == ["tod", "uniform"] * 2
    for cell in report.cells:
        assert 0.495 <= cell.macs / report.dense.macs <= 0.5
        assert cell.history[-1].epoch == 1
    assert len({(cell.top1_recalibrated, cell.top1_validation, cell.top1_test) for cell in report.cells}) > 1

    assert [stage for stage, _ in calls].count("dense") == 1
    assert {arguments["dense"].digest for stage, arguments in calls if stage == "allocate"} == {report.dense.digest}
    on_data = [arguments for _, arguments in calls if "data" in arguments]
    assert {arguments["seed"] for arguments in on_data} == {0, 1}
    assert len({load_data(arguments["data"], arguments["seed"]).validation_indices for arguments in on_data}) == 1
    drawn = [arguments["calibration"].indices for stage, arguments in calls if stage == "score"]
    assert drawn[0] == drawn[1] != drawn[2] == drawn[3]

    folder = config.output / report.full_name
    assert {file.name for file in folder.iterdir()} == set(FILES)
    assert AblationReport.model_validate_json((folder / "ablation.json").read_text()) == report
    assert not (config.output / "mlflow.db").exists()  # track.enabled is false

    again = ablation(config, compared, (0, 1), latency=False)
    assert (again, again.digest) == (report, report.digest)
    counts = [text for text in lines if "from the cache" in text]
    assert counts == [f"{len(calls) // 2} tasks, {cached} of them from the cache" for cached in (0, len(calls) // 2 - 1)]


@pytest.mark.usefixtures("prefect_server")
def test_one_command_compares_on_a_network_of_ones_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "net_to_compare.py").write_text(NETWORK)
    settings = {
        "name": "mine",
        "output": str(tmp_path / "runs"),
        "model": {"source": "custom", "name": "net_to_compare:Net"},
        "train": {"epochs": 2, "batch_size": 64},
        "finetune": {"epochs": 1, "batch_size": 64},
        "calibrate": {"per_class": 8},
        "benchmark": {"batch_sizes": [1], "rounds": 5, "min_runs": 50, "min_seconds": 0.05, "warmup_seconds": 0},
    }
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(settings))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(app, ["ablate", "mine.yaml", "--methods", "fair,l1-uniform", "--seeds", "1", "--allow-code"])
    assert result.exit_code == 0, result.stderr
    for words in ("# mine: fair against l1-uniform", "net_to_compare:Net", "One seed", "## macs 0.5", "| fair ", "## Latency"):
        assert words in result.stdout
    text = (tmp_path / "runs" / "mine-ablation" / "ablation.md").read_text()
    assert text.partition("\n![")[0].strip() in result.stdout
    assert result.stdout.endswith("runs/mine-ablation/ablation.md\n")
    assert (tmp_path / "runs" / "mlflow.db").is_file()


BAD_INPUT: dict[str, tuple[list[str], dict[str, Any], str]] = {
    "unknown method": (["--methods", "fair,l3-uniform"], {}, "method l3-uniform is none; give fair, or a signal and a rule"),
    "function that is not there": (["--methods", "math:signal-tod", "--allow-code"], {}, "math has no signal"),
    "function that nobody allowed": (["--methods", "math:fsum-tod"], {}, "score.removal asks to run the code math:fsum, which"),
    "a network that the authors' package cannot score": (["--methods", "network_pruner-tod"], {}, "network_pruner cannot"),
    "no method": (["--methods", ","], {}, "no methods are named"),
    "budget above 1": (["--budgets", "0.5,1.5"], {}, "--budgets holds 1.5; expected shares of the dense MACs between 0 and 1"),
    "budget of 0": (["--budgets", "0"], {}, "--budgets holds 0; expected shares"),
    "budget that is no number": (["--budgets", "half"], {}, "--budgets holds half; expected shares"),
    "unknown key": ([], {"trian": {}}, "unknown key trian"),
    "rounds in the file": (
        [],
        {"allocate": {"rounds": 2}},
        "allocate.rounds is for a run; a comparison takes rounds by the method",
    ),
    "latency budget": ([], {"allocate": {"budgets": [{"latency_ms": 1}]}}, "a comparison measures no layer costs"),
    "rounding by latency": ([], {"allocate": {"round_to": "auto"}}, "a comparison measures no layer costs"),
}


@pytest.mark.parametrize("case", BAD_INPUT)
def test_bad_input_is_one_sentence_and_exit_code_2(tmp_path: Path, case: str) -> None:
    options, settings, message = BAD_INPUT[case]
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump({"output": str(tmp_path / "runs"), **settings}))
    result = CliRunner().invoke(app, ["ablate", str(path), *options])
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.startswith(f"fair-pruner: {message}") or message in result.stderr
    assert result.stderr.count("\n") == 1
    assert not list((tmp_path / "runs").glob("*"))  # nothing half-written


@pytest.mark.parametrize("seeds", ["0", "101", "two"])
def test_a_number_of_seeds_that_is_none_is_refused(tmp_path: Path, seeds: str) -> None:
    result = CliRunner().invoke(app, ["ablate", str(tmp_path / "config.yaml"), "--seeds", seeds])
    assert (result.exit_code, result.stdout) == (2, "")
    assert "'--seeds'" in result.stderr


def test_budgets_stand_in_for_whatever_else_the_file_asks_for(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    for allocate in ({"tolerances": [0.1]}, {"budgets": [{"params": 0.3}]}, {"max_accuracy_drop": 0.01}):
        path.write_text(yaml.safe_dump({"allocate": allocate}))
        found = _load(path, "0.5, 0.25", None).allocate
        assert [budget.macs for budget in found.budgets] == [0.5, 0.25]
        assert (found.tolerances, found.max_accuracy_drop) == ((), None)
    path.write_text(yaml.safe_dump({"allocate": {"budgets": [{"params": 0.3}]}}))
    assert [budget.params for budget in _load(path, None, None).allocate.budgets] == [0.3]
