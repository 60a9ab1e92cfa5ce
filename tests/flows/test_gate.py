"""The command that says yes or no to a finished run."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from junitparser import JUnitXml
from typer.testing import CliRunner, Result

from flows.cli import app

from ..pipeline.reporting.conftest import ROWS
from ..pipeline.reporting.finished import finished


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run whose quick candidate loses 1.11 points, and the quicker one 5."""
    finished(tmp_path / "runs" / "digits", "dense", "slower", "quick", "quicker")
    return tmp_path / "runs" / "digits"


def invoke(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["gate", *map(str, arguments)])


def outcomes(file: Path) -> dict[str, str]:
    return {case.name: case.result[0].type if case.result else "passed" for case in next(iter(JUnitXml.fromfile(str(file))))}


@pytest.mark.parametrize(
    ("options", "code", "sentence"),
    [
        (("--max-accuracy-drop", 0.02), 0, "digits passes the gate with tolerance-0.2 in fp32."),
        (("--max-accuracy-drop", 0.06), 0, "digits passes the gate with tolerance-0.4 in fp32."),
        (
            ("--max-accuracy-drop", 0.01, "--candidate", "tolerance-0.4"),
            1,
            "digits does not pass the gate with tolerance-0.4 in fp32: loses 5.00 points on the validation images, 1 are",
        ),
        (
            ("--max-accuracy-drop", 1, "--min-speedup", 3),
            1,
            "digits does not pass the gate with tolerance-0.4 in fp32: its speed-up 2.00 [1.90, 2.10] does not reach 3.",
        ),
        (
            ("--max-accuracy-drop", 1, "--min-speedup", 2),
            1,
            "digits does not pass the gate with tolerance-0.4 in fp32: too noisy to tell whether its speed-up 2.00 [1.90, 2.10] "
            "reaches 2; measure again on a quieter machine, or with more rounds.",
        ),
        (("--max-accuracy-drop", 1, "--batch", 8, "--min-speedup", 2.2, "--precision", "fp32"), 0, "digits passes the gate with"),
        (("--max-accuracy-drop", 1, "--max-p99-ms", 0.4, "--max-bytes", 9999, "--max-parity", 1e-6), 0, "digits passes the gate"),
    ],
)
def test_exit_code_and_words(run: Path, options: tuple[object, ...], code: int, sentence: str) -> None:
    result = invoke(run, *options)
    assert (result.exit_code, result.stderr) == (code, "")
    assert result.stdout.splitlines()[-1].startswith(sentence)
    for title in ("bound", "found", "allowed", "outcome", "speed-up", "accuracy"):
        assert title in result.stdout


def test_the_reports_tell_accuracy_speed_and_noise_apart(run: Path) -> None:
    noisy = ROWS["quick"]._replace(latency={1: (0.45, 1.11, 0.9, 1.3), 8: (2.4, 1.0, 0.9, 1.2)})
    finished(run.parent / "noisy", "dense", noisy)
    file = run.parent / "gate.xml"
    judged = {
        "accuracy": (run, "--candidate", "tolerance-0.4", "--max-accuracy-drop", 0.01),
        "speed": (run, "--candidate", "tolerance-0.1", "--max-accuracy-drop", 1),
        "noise": (run.parent / "noisy", "--max-accuracy-drop", 1),
        "nothing": (run, "--max-accuracy-drop", 1),
    }
    found = {}
    for name, arguments in judged.items():
        assert invoke(*arguments, "--junit", file).exit_code == (0 if name == "nothing" else 1)
        found[name] = outcomes(file)
    assert found == {
        "accuracy": {"speed-up": "passed", "accuracy": "refused"},
        "speed": {"speed-up": "refused", "accuracy": "passed"},
        "noise": {"speed-up": "too noisy to tell", "accuracy": "passed"},
        "nothing": {"speed-up": "passed", "accuracy": "passed"},
    }


def test_the_summary_is_appended_and_the_junit_report_replaced(run: Path) -> None:
    summary, file = run.parent / "job" / "summary.md", run.parent / "job" / "gate.xml"
    for options in (("--max-accuracy-drop", 1), ("--max-accuracy-drop", 0)):
        invoke(run, *options, "--summary", summary, "--junit", file)
    first, second = summary.read_text().split("\n\n## ")
    assert first.startswith("## digits: passes the gate\n")
    assert second.startswith("digits: does not pass the gate\n")
    assert outcomes(file)["accuracy"] == "refused"
    assert sorted(each.name for each in summary.parent.iterdir()) == ["gate.xml", "summary.md"]


def test_an_earlier_run_as_the_baseline(run: Path) -> None:
    earlier = run.parent / "earlier"
    finished(earlier, "dense", ROWS["quick"]._replace(top1=0.98))
    options = (run, "--max-accuracy-drop", 0.02, "--baseline", earlier / "report.json", "--max-slowdown", 1.1)
    assert invoke(*options).exit_code == 0
    refused = invoke(*options, "--max-regression", 0.01)
    assert refused.exit_code == 1
    assert "loses 1.61 points on the validation images against the baseline, 1 are allowed" in refused.stdout
    content = json.loads((earlier / "report.json").read_text())
    content["latency"]["machine"]["cpu"] = "Other CPU"
    (earlier / "report.json").write_text(json.dumps(content))
    apart = invoke(*options)
    assert apart.exit_code == 1
    assert "latencies of different machines are not compared: cpu is Other CPU in the baseline" in apart.stdout


def changed(run: Path, change: Callable[[dict[str, Any]], object]) -> None:
    content = json.loads((run / "report.json").read_bytes())
    change(content)
    (run / "report.json").write_text(json.dumps(content))


Change = Callable[[Path], object]
NOTHING: Change = lambda run: None  # noqa: E731
BAD_INPUT: dict[str, tuple[Change, tuple[object, ...], str]] = {
    "no run": (lambda run: (run / "report.json").unlink(), (), "has no report.json, so it is no finished run"),
    "torn report": (lambda run: (run / "report.json").write_bytes(b'{"name": "di'), (), "report.json cannot be read"),
    "settings of another version": (
        lambda run: changed(run, lambda report: report["config"].update(surprise=1)),
        (),
        "unknown key surprise",
    ),
    "unknown candidate": (NOTHING, ("--candidate", "macs-0.5"), "digits has no candidate macs-0.5; it has dense, tolerance-0.1"),
    "the reference": (NOTHING, ("--candidate", "dense"), "digits has not measured dense beside the dense fp32 file"),
    "unknown precision": (NOTHING, ("--precision", "fp8"), "digits has not measured fp8 beside the dense fp32 file"),
    "batch that was not measured": (
        NOTHING,
        ("--batch", 3),
        "digits was not measured at batch 3; choose with --batch one of 1, 8",
    ),
    "drop above one": (NOTHING, ("--max-accuracy-drop", 2), "--max-accuracy-drop 2.0 is refused"),
    "speed-up below one": (NOTHING, ("--min-speedup", 0.5), "--min-speedup 0.5 is refused"),
    "no latency at all": (NOTHING, ("--max-p99-ms", 0), "--max-p99-ms 0.0 is refused"),
    "not a number": (NOTHING, ("--max-parity", "nan"), "--max-parity nan is refused"),
    "slowdown without a baseline": (NOTHING, ("--max-slowdown", 1.1), "give its report.json as --baseline"),
    "baseline without a bound": (NOTHING, ("--baseline", "report.json"), "--baseline alone bounds nothing"),
    "baseline that is not there": (NOTHING, ("--baseline", "none.json", "--max-slowdown", 1.1), "none.json is no file"),
    "one file for both": (NOTHING, ("--junit", "gate.txt", "--summary", "gate.txt"), "--junit and --summary both name gate.txt"),
    "a folder as file": (NOTHING, ("--junit", "runs"), "runs is a folder; name a file in it"),
    "a file as folder": (NOTHING, ("--junit", "runs/digits/report.json/gate.xml"), "cannot write in"),
}


@pytest.mark.parametrize("case", BAD_INPUT)
def test_bad_input_ends_with_2_in_one_sentence_and_writes_nothing(case: str, run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(run.parents[1])
    change, arguments, message = BAD_INPUT[case]
    change(run)
    before = sorted(run.parents[1].rglob("*"))
    result = invoke(run, *arguments, *(() if "--junit" in arguments else ("--junit", "gate.xml")))
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.startswith("fair-pruner: ")
    assert result.stderr.count("\n") == 1
    assert message in result.stderr
    assert sorted(run.parents[1].rglob("*")) == before


def test_a_full_disk_leaves_both_files_as_they_were(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    summary, file = run.parent / "summary.md", run.parent / "gate.xml"
    summary.write_text("before\n")

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pipeline.whole_files.os.fsync", full)
    result = invoke(run, "--max-accuracy-drop", 1, "--summary", summary, "--junit", file)
    assert (result.exit_code, result.stdout) == (2, "")
    assert "no space left" in result.stderr
    assert summary.read_text() == "before\n"
    assert not file.exists()
