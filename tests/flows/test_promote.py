"""The commands on a real MLflow over SQLite, in which one sweep after the other has been registered."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from flows.cli import app
from pipeline import standings
from pipeline.config import GateConfig, TrackConfig
from pipeline.registry import register
from pipeline.store import Store
from pipeline.track import track

from ..local_mlflow import QUIET, local_mlflow
from ..pipeline.reporting.conftest import ROWS
from ..pipeline.reporting.finished import finished, save

pytestmark = QUIET
BOUNDS = GateConfig(max_accuracy_drop=0.02)


@pytest.fixture(scope="module", autouse=True)
def environment() -> Iterator[None]:
    with local_mlflow():
        yield


def sweep(output: Path, folder: str, tolerance: float, p50: float) -> None:
    """Register a pruned model with a median of its own, in the models `digits` and `careful`, the latter by hand only."""
    row = ROWS["quick"]._replace(tolerance=tolerance, latency={1: (p50, 1.25, 1.20, 1.31)})
    report = finished(output / folder, ROWS["dense"]._replace(latency={1: (0.5, 1, 1, 1)}), row)
    report = report.model_copy(update={"config": report.config | {"gate": BOUNDS.model_dump(mode="json")}})
    save(report)
    (output / folder / "report.md").write_text("a report")
    config = TrackConfig(registered_model="digits")
    tracked = track(report, config, output, Store(output / "store"))
    register(report, tracked, config, BOUNDS)
    register(report, tracked, TrackConfig(registered_model="careful", promote=False), BOUNDS)


@pytest.fixture(scope="module")
def output(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("output")
    for name, tolerance, p50 in (("first", 0.2, 0.4), ("similar", 0.25, 0.39), ("better", 0.3, 0.3)):
        sweep(folder, name, tolerance, p50)
    return folder


def invoke(output: Path, *arguments: str) -> Result:
    return CliRunner().invoke(app, [*arguments, "--output", str(output)])


def row(output: Path, model: str) -> list[str]:
    """What the list tells of a model: how many versions, champion, challenger, previous."""
    line = next(line for line in invoke(output, "promote").stdout.splitlines() if f"│ {model} " in line)
    return [cell.strip() for cell in line.strip("│").split("│")][1:]


def test_one_model_from_its_first_champion_to_rollback(output: Path) -> None:
    assert row(output, "careful") == ["3", "-", "3: tolerance-0.3 fp32", "-"]
    result = invoke(output, "promote", "careful", "--version", "1")
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout == "version 1 of careful has become champion: it passes the gate and there was no champion.\n"
    result = invoke(output, "promote", "careful", "--version", "2")
    assert (result.exit_code, result.stderr) == (1, "")
    assert result.stdout.startswith("version 2 of careful has not become champion in place of version 1: it is not surely faster")
    assert invoke(output, "promote", "careful", "--version", "2", "--force").exit_code == 0
    assert row(output, "careful") == ["3", "2: tolerance-0.25 fp32", "3: tolerance-0.3 fp32", "1: tolerance-0.2 fp32"]
    assert invoke(output, "promote", "careful").exit_code == 0
    result = invoke(output, "promote", "careful", "--version", "3")
    assert (result.exit_code, result.stdout) == (0, "version 3 of careful is the champion already.\n")
    result = invoke(output, "rollback", "careful")
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout == "version 2 of careful has become champion again, in place of version 3.\n"
    assert row(output, "careful") == ["3", "2: tolerance-0.25 fp32", "-", "-"]
    result = invoke(output, "rollback", "careful")
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr == (
        "fair-pruner: careful has no previous champion; choose a version with fair-pruner promote careful --version\n"
    )


def test_sweeps_promote_by_themselves_what_is_better(output: Path) -> None:
    assert row(output, "digits") == ["3", "3: tolerance-0.3 fp32", "-", "1: tolerance-0.2 fp32"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("promote", "unknown"), "MLflow has no registered model unknown; fair-pruner promote without a name lists those"),
        (("rollback", "unknown"), "MLflow has no registered model unknown"),
        (("promote", "digits", "--version", "9", "--force"), "digits has no version 9; it has 1, 2, 3"),
        (("promote", "--version", "2"), "--version and --force need the name of a registered model; give it first"),
        (("promote", "--force"), "--version and --force need the name of a registered model; give it first"),
    ],
)
def test_bad_input_ends_with_2_in_one_sentence(output: Path, arguments: tuple[str, ...], words: str) -> None:
    result = invoke(output, *arguments)
    assert (result.exit_code, result.stdout, result.stderr.count("\n")) == (2, "", 1)
    assert words in result.stderr


@pytest.mark.parametrize("arguments", [("promote",), ("promote", "digits"), ("rollback", "digits")])
def test_a_folder_without_a_database_stays_as_it_is(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    result = invoke(tmp_path, *arguments)
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr == (
        f"fair-pruner: {tmp_path}/mlflow.db does not exist, so nothing is registered; give --output as for the run\n"
    )
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("arguments", [("promote",), ("promote", "digits"), ("rollback", "digits")])
def test_a_server_that_is_down_ends_with_1_in_one_sentence(
    output: Path, arguments: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    result = invoke(output, *arguments)
    assert (result.exit_code, result.stdout, result.stderr.count("\n")) == (1, "", 1)
    assert result.stderr.startswith("fair-pruner: MLflow at http://127.0.0.1:9 refused: ")


def test_a_database_without_registered_models_is_said(output: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(standings, "OURS", "fair_pruner.nothing")
    result = invoke(output, "promote")
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout == "no run has registered a model in MLflow; one does when it recommends a file\n"
