from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from flows.cli import app

from ..pipeline.reporting.finished import finished


def invoke(output: Path) -> Result:
    return CliRunner().invoke(app, ["runs", "--output", str(output)])


@pytest.fixture
def output(tmp_path: Path) -> Path:
    return tmp_path / "runs"


def test_every_run_is_a_row(output: Path) -> None:
    finished(output / "good", "dense", "quick", "quicker")
    finished(output / "none", "dense", "quick", max_accuracy_drop=0, machine={"gpu": "Orin, 540.4"})
    finished(output / "small", "dense", "quick", int8=True)
    result = invoke(output)
    assert (result.exit_code, result.stderr) == (0, "")
    good, none, small = (
        next(line for line in result.stdout.splitlines() if f"│ {name} " in line) for name in ("good", "none", "small")
    )
    for words in (" 3 ", "tolerance-0.2 fp32", "1.25 [1.20, 1.31]", "-1.11 points", "Model CPU 3000", "intact"):
        assert words in good
    for words in (" 2 ", "│ none", "1.25 [1.20, 1.31]", "-1.11 points", "Orin, 540.4"):
        assert words in none
    for words in ("tolerance-0.2 int8-cpu", "2.00 [1.92, 2.10]", "-1.61 points"):
        assert words in small
    assert "broken" not in result.stdout


def test_missing_files_and_broken_reports_are_told(output: Path) -> None:
    report = finished(output / "a", "dense", "quick")
    (output / "store" / report.candidates[1].onnx.file.path).unlink()
    (output / "torn").mkdir()
    (output / "torn" / "report.json").write_text("{")
    result = invoke(output)
    assert result.exit_code == 0
    assert "1 of 7 missing" in result.stdout
    (line,) = (line for line in result.stdout.splitlines() if line.startswith("broken: "))
    assert line.startswith(f"broken: {output / 'torn' / 'report.json'} cannot be read: ")
    assert line.endswith("run again with this version to write it anew")


def test_names_are_no_markup(output: Path) -> None:
    finished(output / "[bold]x", "dense")
    assert "[bold]x" in invoke(output).stdout


def test_nothing_there_is_one_sentence(output: Path) -> None:
    result = invoke(output)
    assert result.exit_code == 0
    assert result.stdout == f"no finished run in {output}; fair-pruner run makes one, or name another folder with --output\n"
