"""Finished runs on disk: reports with made-up numbers in their folders, the small files they name in the store beside them."""

from pathlib import Path
from typing import Any

from pipeline.config import GateConfig
from pipeline.findings import pareto, series_of
from pipeline.latency import LatencyReport
from pipeline.measurements import Candidate, PairedTest, RunReport, Variant
from pipeline.recommend import recommend
from pipeline.store import Store

from .conftest import ROWS, Row, candidate, latency_report, score_record, variant

INT8_SPEEDUP = 1.6


def finished(
    folder: Path,
    *rows: str | Row,
    name: str | None = None,
    machine: dict[str, Any] | None = None,
    data: dict[str, Any] | None = None,
    threads: int = 1,
    int8: bool = False,
    max_accuracy_drop: float = 0.02,
) -> RunReport:
    """A report of `rows` (or names of ROWS), which is written into `folder`; with `int8` every candidate has such a file too."""
    store = Store(folder.parent / "store")
    numbers = tuple(ROWS[row] if isinstance(row, str) else row for row in rows)
    candidates = tuple(candidate(store, row) for row in numbers)
    latency = latency_report(numbers, candidates).model_copy(update={"threads": threads})
    latency = latency.model_copy(update={"machine": latency.machine.model_copy(update=machine or {})})
    if int8:
        candidates, latency = _with_int8(store, candidates, latency)
    front = pareto([(c.onnx_test.top1, series_of(latency, c.name, 1).p50_ms) for c in candidates])
    report = RunReport(
        name=name or folder.name,
        folder=str(folder),
        config={"name": folder.name, "seed": 0, "data": {"name": "digits"} | (data or {})},
        config_digest="c0" * 32,
        git_commit="0123456789abcdef",
        flow_run_id="flow-1",
        candidates=candidates,
        latency=latency,
        scores=score_record(store),
        recommendation=recommend(candidates, latency, GateConfig(max_accuracy_drop=max_accuracy_drop)),
        pareto=tuple(candidates[index].name for index in front),
    )
    save(report)
    return report


def save(report: RunReport) -> None:
    """Write a report where it says it lies."""
    folder = Path(report.folder)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "report.json").write_text(report.model_dump_json())


def _with_int8(
    store: Store, candidates: tuple[Candidate, ...], latency: LatencyReport
) -> tuple[tuple[Candidate, ...], LatencyReport]:
    series = list(latency.series)
    for each in latency.series:
        faster = {key: getattr(each, key) / INT8_SPEEDUP for key in ("p50_ms", "p50_low_ms", "p50_high_ms")}
        ratios = {key: getattr(each, key) * INT8_SPEEDUP for key in ("speedup", "speedup_low", "speedup_high")}
        changes = {
            "precision": "int8-cpu",
            "verdict": "faster",
            "fp32_speedup": INT8_SPEEDUP,
            "fp32_speedup_low": 1.5,
            "fp32_speedup_high": 1.7,
        }
        series.append(each.model_copy(update=faster | ratios | changes))
    members = tuple(each.model_copy(update={"variants": (_int8(store, each),)}) for each in candidates)
    return members, latency.model_copy(update={"series": tuple(series)})


def _int8(store: Store, of: Candidate) -> Variant:
    """Half a point below the candidate's fp32 file."""
    made = variant(store, of, "int8-cpu")
    validation = made.validation.model_copy(update={"top1": of.onnx_validation.top1 - 0.005})
    against = PairedTest(samples=validation.samples, lost=3, gained=1, points=-0.5, p_value=0.6)
    return made.model_copy(update={"validation": validation, "against": against})
