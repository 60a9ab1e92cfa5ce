"""A report that somebody has changed is refused in one line that names its file; one that is read can be used everywhere."""

import json
import tempfile
from collections.abc import Callable
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pipeline.compare import compare
from pipeline.compare_html import compare_html
from pipeline.config import GateConfig
from pipeline.errors import InputError, PipelineError
from pipeline.finished_runs import FinishedRun, finished_runs
from pipeline.gate import Baseline, gate, gate_config
from pipeline.gate_text import gate_text
from pipeline.junit import junit
from pipeline.latency import LayerCostRecord
from pipeline.measurements import RunReport, SearchRecord, Trial
from pipeline.promotion import contender, objection
from pipeline.records import Goal
from pipeline.regression import RegressionConfig
from pipeline.report_text import report_text
from pipeline.run_summary import run_summary
from pipeline.saved_report import read_report
from pipeline.track_values import (
    candidate_metrics,
    candidate_params,
    candidate_tags,
    parent_metrics,
    parent_params,
    parent_tags,
)
from pipeline.verify_run import verify_run

from ...json_changes import GONE, TWICE, Change, changed, changes, torn
from .finished import finished, save

BOUNDS = {"max_p99_ms": 1.0, "max_bytes": 10, "max_parity": 0.1}
AGAINST = RegressionConfig(max_regression=0.1, max_slowdown=2)


def rich(folder: Path) -> RunReport:
    """A finished run with everything in its report that may be there, written into `folder`."""
    report = finished(folder, "dense", "quick", "slower", int8=True)
    table, machine = report.scores.table, report.latency.machine
    dense, quick, slower = report.candidates
    assert quick.plan
    engine = quick.engine.model_copy(update={"parity": quick.onnx.parity, "log": table})
    predicted = quick.plan.model_copy(update={"latency_ms": 0.4})
    quick = quick.model_copy(update={"plan": predicted, "engine": engine, "engine_validation": quick.onnx_validation})
    trial = Trial(goal=Goal(quantity="macs", value=0.5), tolerance=0.1, macs_left=0.5, top1_validation=0.9, holds=True, epochs=3)
    added = {
        "candidates": (dense, quick, slower),
        "layer_costs": LayerCostRecord(table=table, batch_size=1, threads=1, dense_ms=0.5, layers=3, points=9, machine=machine),
        "search": SearchRecord(reference=0.97, floor=0.95, trials=(trial,), considered=3, epochs_a_branch=4),
    }
    report = report.model_copy(update=added)
    save(report)
    return report


@cache
def document() -> Any:
    with tempfile.TemporaryDirectory() as folder:
        return json.loads(rich(Path(folder, "runs", "digits")).model_dump_json())


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunReport:
    """One run for all tests here, whose report.json they write anew."""
    return rich(tmp_path_factory.mktemp("output") / "digits")


@settings(max_examples=100, deadline=None)
@example(made=[(("candidates", 1, "onnx_test", "samples"), 0)])
@example(made=[(("candidates", 1, "onnx_test", "top1"), 2**63)])
@example(made=[(("candidates", 1, "onnx_test", "top1"), "nan")])
@example(made=[(("candidates", 1, "onnx_test", "recall"), [])])
@example(made=[(("candidates", 1, "onnx_test", "recall", 0), GONE)])
@example(made=[(("candidates", 1, "model", "macs"), 0)])
@example(made=[(("candidates", 0, "model", "params"), 0)])
@example(made=[(("candidates", 1, "plan", "units"), 0)])
@example(made=[(("candidates", 2, "plan", "depths", 0, "units"), 0)])
@example(made=[(("candidates", 2, "plan", "depths", 0, "removed"), 10**400)])
@example(made=[(("candidates", 1, "variants", 0, "onnx", "file", "path"), "x" * 300)])
@example(made=[(("candidates", 1), TWICE)])
@example(made=[(("latency", "series", 2, "p50_ms"), 0)])
@example(made=[(("latency", "series", 2, "p99_ms"), float("inf"))])
@example(made=[(("latency", "series", 7, "fp32_speedup_low"), None)])
@example(made=[(("latency", "series", 1, "precision"), "\n")])
@example(made=[(("config", "data"), 0.5)])
@example(made=[(("folder",), "\0")])
@example(made=[(("config", "seed"), 10**400)])
@given(made=st.deferred(lambda: changes(document())))
def test_whatever_is_changed_it_is_refused_or_can_be_used(made: list[Change], run: RunReport) -> None:
    used_or_refused(run, json.dumps(changed(document(), made)).encode())


@settings(max_examples=100, deadline=None)
@given(at=st.floats(0, 1, exclude_max=True), new=st.binary(max_size=4), length=st.integers(0, 4))
def test_whatever_the_bytes_are_it_is_refused_or_can_be_used(at: float, new: bytes, length: int, run: RunReport) -> None:
    used_or_refused(run, torn(json.dumps(document()).encode(), at, new, length))


def used_or_refused(run: RunReport, content: bytes) -> None:
    folder = Path(run.folder)
    (folder / "report.json").write_bytes(content)
    (listed,) = finished_runs(folder.parent)
    try:
        report = read_report(folder)
    except InputError as error:
        assert str(error).startswith(f"{folder / 'report.json'} cannot be ")
        assert len(str(error).splitlines()) == 1
        assert not isinstance(listed, FinishedRun)
    else:
        assert isinstance(listed, FinishedRun)
        assert verify_run(folder)
        use(report, run)


def use(report: RunReport, whole: RunReport) -> None:
    """Whatever a command makes of a report, alone and beside a whole one, in bytes as it is written."""
    said(lambda: report_text(report, ("pareto.png", "depth.png")))
    said(lambda: run_summary(report))
    for one, other in ((report, whole), (whole, report)):
        said(lambda one=one, other=other: judged(one, other))
        said(lambda one=one, other=other: champion(one, other))
    for reports in ([report], [report, whole], [whole, report]):
        runs = [(Path(str(place)), each) for place, each in enumerate(reports)]
        said(lambda runs=runs: compare_html(compare(runs)).decode())
    said(lambda: f"{parent_tags(report)} {parent_params(report)} {parent_metrics(report)}")
    for each in report.candidates:
        said(lambda each=each: f"{candidate_tags(report, each)} {candidate_params(each)} {candidate_metrics(report, each)}")


def judged(report: RunReport, baseline: RunReport) -> str:
    result = gate(report, gate_config(report, BOUNDS), baseline=Baseline(baseline, AGAINST))
    return gate_text(report, result) + junit(result, datetime(2026, 1, 1)).decode()


def champion(report: RunReport, present: RunReport) -> str:
    of = [
        contender(each, best.candidate, best.precision, best.runtime)
        for each in (report, present)
        for best in (each.recommendation,)
    ]
    return objection(of[0], of[1], GateConfig())


def said(what: Callable[[], str]) -> None:
    try:
        what().encode()  # as files and terminals take it
    except PipelineError as error:
        assert len(str(error).splitlines()) == 1
