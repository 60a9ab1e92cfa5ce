from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from flows.cli import app

from ..pipeline.reporting.finished import finished, save


def invoke(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["compare", *map(str, arguments)])


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    finished(tmp_path / "runs" / "first", "dense", "not_faster", "quick", "quicker", int8=True)
    finished(tmp_path / "runs" / "second", "dense", "quick")
    finished(tmp_path / "runs" / "edge", "dense", "quick", machine={"cpu": "Other CPU"})
    return tmp_path / "runs"


def test_one_run_is_a_table_of_its_files(runs: Path) -> None:
    result = invoke(runs / "second")
    assert (result.exit_code, result.stderr) == (0, "")
    for words in ("tolerance-0.2 *", "recommended", "96.39%", "93.92% to 97.88%", "0.400 ms", "0.388 to 0.416", "1.20 to 1.31"):
        assert words in result.stdout
    for words in ("21.9%", "800,000", "faster", "reference", "onnxruntime", "360 test images", "To ship: tolerance-0.2 in fp32"):
        assert words in result.stdout
    assert "validation, " not in result.stdout
    assert "different times" not in result.stdout


def test_runs_of_other_machines_are_shown_apart_with_the_reason(runs: Path) -> None:
    result = invoke(runs / "first", runs / "second", runs / "edge")
    assert result.exit_code == 0
    assert result.stdout.count("━┓") == 2
    together, apart = result.stdout.split("Kept apart: ")
    assert apart.startswith(
        "latencies of different machines are not compared: cpu is Model CPU 3000 in first and second and Other"
    )
    assert "int8-cpu" in together
    assert "validation, -0.50" in together
    assert "The same file's median differs by up to 0.0% from run to run" in together


def test_another_batch_size_can_be_asked_for(runs: Path) -> None:
    assert "1.800 ms" in invoke(runs / "second", "--batch", 8).stdout


def test_the_html_report_is_written_where_it_is_wanted(runs: Path) -> None:
    target = runs.parent / "new" / "compare.html"
    result = invoke(runs / "first", runs / "second", "--html", target)
    assert result.exit_code == 0
    assert result.stdout.splitlines()[-1] == f"report: {target}"
    assert target.read_text().startswith("<!doctype html>\n")
    assert [path.name for path in target.parent.iterdir()] == ["compare.html"]


def test_a_name_that_is_none_is_refused_and_not_obeyed(runs: Path) -> None:
    report = finished(runs / "third", "dense", "quick", name="[red]x[/red]\x1b[2J[/]")
    save(report.model_copy(update={"folder": str(runs / "third")}))
    result = invoke(runs / "third")
    assert result.exit_code == 2
    assert "it names '[red]x[/red]\\x1b[2J[/]', which is no plain name of a run" in " ".join(result.stderr.split())


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("missing",), "missing has no report.json, so it is no finished run; give a run's folder"),
        (("second", "--batch", 4), "batch size 4 was not measured in all runs (measured were second: 1, 8); choose with --batch"),
        (("second", "second"), "second is given more than once; name each run once"),
        (("second", "--html", "."), "is a folder; give the name of a file, for example compare.html"),
        (("second", "--html", "taken/compare.html"), "cannot write in taken"),
        (("torn",), "report.json cannot be read"),
    ],
)
def test_bad_input_ends_with_2_in_one_sentence(
    arguments: tuple[object, ...], words: str, runs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(runs)
    (runs / "taken").write_text("a file")
    (runs / "torn").mkdir()
    (runs / "torn" / "report.json").write_text("{")
    before = sorted(runs.rglob("*"))
    result = invoke(*arguments)
    assert (result.exit_code, result.stdout) == (2, "")
    assert words in result.stderr
    assert result.stderr.count("\n") == 1
    assert sorted(runs.rglob("*")) == before
