"""The runs that lie under an output folder, with what each of them came to."""

from datetime import datetime
from pathlib import Path
from typing import NamedTuple

from pipeline.errors import InputError
from pipeline.findings import batch_sizes, runtimes
from pipeline.latency import LatencySeries
from pipeline.measurements import Candidate, RunReport
from pipeline.records import FileRef
from pipeline.saved_report import REPORT, read_report, store_of


class FinishedRun(NamedTuple):
    """One run. `written` is the time of its report; `missing` of its `files` are gone from the store or have another size.

    `best` is the file it recommends or, where it recommends none, the one with the largest speed-up by the lower end of its
    interval, at the first batch size in the first runtime; None if only the dense model was measured. `points` is that file's
    top-1 minus the dense model's, in percent: of fp32 on the test images, else on the validation images (`split`).
    """

    folder: Path
    written: datetime
    report: RunReport
    best: LatencySeries | None
    points: float | None
    split: str
    files: int
    missing: int


class BrokenRun(NamedTuple):
    """A folder whose report cannot be used, and why."""

    folder: Path
    reason: str


def finished_runs(output: Path) -> tuple[FinishedRun | BrokenRun, ...]:
    """Every folder in `output` with a report, by name; none if the folder does not exist. No content is hashed."""
    return tuple(_finished(file.parent) for file in sorted(output.glob(f"*/{REPORT}")))


def _finished(folder: Path) -> FinishedRun | BrokenRun:
    try:
        report = read_report(folder)
        written = (folder / REPORT).stat().st_mtime
    except (InputError, OSError) as error:
        return BrokenRun(folder, str(error))
    best = _best(report)
    points, split = _points(report, best) if best else (None, "test")
    root = store_of(folder).root
    files = {file for candidate in report.candidates for file in files_of(candidate)}
    return FinishedRun(
        folder=folder,
        written=datetime.fromtimestamp(written),
        report=report,
        best=best,
        points=points,
        split=split,
        files=len(files),
        missing=sum(not _there(root / file.path, file) for file in files),
    )


def _best(report: RunReport) -> LatencySeries | None:
    size, runtime = batch_sizes(report.latency)[0], runtimes(report.latency)[0]
    measured = [s for s in report.latency.series if (s.batch_size, s.runtime) == (size, runtime) and s.verdict != "reference"]
    shipped = (report.recommendation.candidate, report.recommendation.precision)
    chosen = [series for series in measured if (series.candidate, series.precision) == shipped]
    return max(chosen or measured, key=lambda series: series.speedup_low, default=None)


def _points(report: RunReport, series: LatencySeries) -> tuple[float, str]:
    """How much more accurate a file is than the dense model's in fp32, and on which images."""
    dense = report.candidates[0]
    candidate = next(each for each in report.candidates if each.name == series.candidate)
    for variant in candidate.variants:
        if variant.onnx.precision == series.precision:
            return 100 * (variant.validation.top1 - dense.onnx_validation.top1), "validation"
    return 100 * (candidate.onnx_test.top1 - dense.onnx_test.top1), "test"


def files_of(candidate: Candidate) -> set[FileRef]:
    """Every file of the store that a candidate's records name."""
    plans = (candidate.plan,) if candidate.plan else ()
    variants = [record for each in candidate.variants for record in (each.onnx, each.engine)]
    return {file for record in (*plans, candidate.model, candidate.onnx, candidate.engine, *variants) for file in record.files()}


def _there(path: Path, file: FileRef) -> bool:
    return path.is_file() and path.stat().st_size == file.size_bytes
