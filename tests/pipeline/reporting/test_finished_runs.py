"""The list of runs: what each came to, whether its files are there, and broken reports named rather than raised."""

import os
from datetime import datetime
from pathlib import Path

import pytest

from pipeline.finished_runs import BrokenRun, FinishedRun, finished_runs

from .finished import finished, save


@pytest.fixture
def output(tmp_path: Path) -> Path:
    return tmp_path / "runs"


def only(output: Path) -> FinishedRun:
    (found,) = finished_runs(output)
    assert isinstance(found, FinishedRun)
    return found


def test_a_run_has_the_time_of_its_report_and_the_file_it_recommends(output):
    report = finished(output / "a", "dense", "quick", "quicker")
    os.utime(output / "a" / "report.json", (1_800_000_000, 1_800_000_000))
    found = only(output)
    assert found.written == datetime.fromtimestamp(1_800_000_000)
    assert found.report == report
    # quicker is faster still, and loses too much
    assert (found.best.candidate, found.best.precision, found.best.batch_size) == ("tolerance-0.2", "fp32", 1)
    assert (found.points, found.split) == (pytest.approx(-1.11), "test")


def test_where_nothing_is_recommended_it_is_the_file_with_the_largest_speedup(output):
    report = finished(output / "a", "dense", "quick", "quicker", max_accuracy_drop=0)
    assert report.recommendation.candidate == ""
    assert only(output).best.candidate == "tolerance-0.4"


def test_other_precisions_are_held_against_the_dense_model_on_the_validation_images(output):
    finished(output / "a", "dense", "quick", int8=True)
    found = only(output)
    assert (found.best.candidate, found.best.precision) == ("tolerance-0.2", "int8-cpu")
    assert (found.points, found.split) == (pytest.approx(-1.11 - 0.5), "validation")


def test_a_run_of_the_dense_model_alone_has_no_best_file(output):
    finished(output / "a", "dense")
    assert (only(output).best, only(output).points) == (None, None)


def test_files_that_are_gone_or_cut_short_are_counted(output):
    report = finished(output / "a", "dense", "quick", int8=True)
    whole = only(output)
    # by candidate ONNX file, weights, engine and its int8 file; the plan of the pruned one; both int8 files are the same
    assert (whole.files, whole.missing) == (2 * 3 + 1 + 1, 0)
    store = output / "store"
    (store / report.candidates[0].onnx.file.path).unlink()
    (store / report.candidates[1].model.weights.path).write_bytes(b"torn")
    assert only(output).missing == 2


def test_broken_reports_are_listed_with_the_reason(output):
    report = finished(output / "whole", "dense", "quick")
    broken = {"empty": b"", "short": b'{"name": "x"}', "torn": report.model_dump_json().encode()[:-1], "bytes": b"\xff\xfe"}
    for folder, content in broken.items():
        (output / folder).mkdir()
        (output / folder / "report.json").write_bytes(content)
    save(report.model_copy(update={"folder": str(output / "nobody"), "candidates": ()}))
    save(report.model_copy(update={"folder": str(output / "one-missing"), "candidates": report.candidates[:1]}))
    found = {each.folder.name: each for each in finished_runs(output)}
    assert list(found) == ["bytes", "empty", "nobody", "one-missing", "short", "torn", "whole"]
    assert isinstance(found.pop("whole"), FinishedRun)
    assert all(isinstance(each, BrokenRun) and "run again" in each.reason for each in found.values())
    assert "Invalid JSON" in found["torn"].reason
    assert "Field required" in found["short"].reason
    assert "it holds no candidates or no latencies" in found["nobody"].reason
    assert "it has latencies of tolerance-0.2 fp32, which it does not hold" in found["one-missing"].reason


@pytest.mark.parametrize("name", ["../outside", "/etc/passwd", "..", "", "a\nb"])
def test_no_name_in_a_report_leads_out_of_a_folder(output, name):
    report = finished(output / "whole", "dense", "quick")
    dense = report.candidates[0]
    elsewhere = dense.onnx.file.model_copy(update={"path": name})
    changes = {
        "name": name,
        "candidates": (
            dense.model_copy(update={"onnx": dense.onnx.model_copy(update={"file": elsewhere})}),
            report.candidates[1],
        ),
        "scores": report.scores.model_copy(update={"table": elsewhere}),
    }
    for field, value in changes.items():
        save(report.model_copy(update={"folder": str(output / field), field: value}))
        (found,) = (each for each in finished_runs(output) if each.folder.name == field)
        assert isinstance(found, BrokenRun)
        assert f"it names {name!r}, which is no plain name" in found.reason


def test_nothing_is_listed_where_there_is_nothing(output):
    assert finished_runs(output) == ()
    (output / "store").mkdir(parents=True)
    (output / "notes.txt").write_text("x")
    assert finished_runs(output) == ()
