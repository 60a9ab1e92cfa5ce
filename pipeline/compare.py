"""What several runs say together: every measured file beside those that it may be compared with, and apart from the others."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from pipeline.comparable import comparable_key, why_apart
from pipeline.errors import InputError
from pipeline.exported import EngineRecord, OnnxRecord
from pipeline.findings import batch_sizes, pareto
from pipeline.latency import LatencySeries
from pipeline.measurements import Candidate, EvalReport, PairedTest, RunReport
from pipeline.records import FileRef


@dataclass(frozen=True, eq=False)
class Run:
    """A finished run under a name that no other run of the comparison has."""

    name: str
    report: RunReport


class Row(NamedTuple):
    """One measured file: a candidate in one precision in one runtime, at the comparison's batch size.

    `test` is the accuracy of the exported file on the test images, None for other precisions than fp32: those are measured on
    the validation images alone (`validation`; `against` compares them with their fp32 file there). `file` is what ran.
    `on_front`: no other file of the block with a test accuracy is better in both.
    """

    run: Run
    candidate: Candidate
    file: FileRef
    series: LatencySeries
    test: EvalReport | None
    validation: EvalReport
    against: PairedTest | None
    recommended: bool
    on_front: bool = False


class Block(NamedTuple):
    """Runs on one machine, with as many threads, on the same images; rows by median latency, quickest first.

    `apart` says in sentences why it is not one with the first block; it is empty for that one. `drift` is the largest ratio of
    two runs' medians of the same file, None where no file was measured in two runs.
    """

    runs: tuple[Run, ...]
    rows: tuple[Row, ...]
    apart: tuple[str, ...]
    drift: float | None


class Comparison(NamedTuple):
    """The runs in blocks, in the order they were given in."""

    batch_size: int
    blocks: tuple[Block, ...]

    @property
    def runs(self) -> tuple[Run, ...]:
        """All runs."""
        return tuple(run for block in self.blocks for run in block.runs)


def compare(reports: Sequence[tuple[Path, RunReport]], batch_size: int | None = None) -> Comparison:
    """Compare runs, each given with its folder, at one batch size: by default the first one that all have measured.

    Raises InputError if a run is given twice, or not all runs have measured the batch size.
    """
    runs = _named(reports)
    size = _common_batch_size(runs, batch_size)
    blocks: dict[str, list[Run]] = {}
    for run in runs:
        blocks.setdefault(comparable_key(run.report), []).append(run)
    first, *others = blocks.values()
    return Comparison(size, (_block(first, size), *(_block(members, size, first) for members in others)))


def _named(reports: Sequence[tuple[Path, RunReport]]) -> list[Run]:
    folders = [folder.resolve() for folder, _ in reports]
    for folder, _ in reports:
        if folders.count(folder.resolve()) > 1:
            raise InputError(f"{folder} is given more than once; name each run once")
    names = [report.name for _, report in reports]
    return [
        Run(report.name if names.count(report.name) == 1 else f"{report.name} ({folder})", report) for folder, report in reports
    ]


def _common_batch_size(runs: list[Run], wanted: int | None) -> int:
    measured = {run.name: batch_sizes(run.report.latency) for run in runs}
    common = [size for size in measured[runs[0].name] if all(size in sizes for sizes in measured.values())]
    if wanted is None and common:
        return common[0]
    if wanted in common:
        return wanted
    what = "no batch size was measured in all runs" if wanted is None else f"batch size {wanted} was not measured in all runs"
    there = "; ".join(f"{name}: {', '.join(map(str, sizes))}" for name, sizes in measured.items())
    advice = f"choose with --batch one of {', '.join(map(str, common))}" if common else "compare fewer runs at once"
    raise InputError(f"{what} (measured were {there}); {advice}")


def _block(runs: list[Run], batch_size: int, first: list[Run] | None = None) -> Block:
    rows = sorted((row for run in runs for row in _rows(run, batch_size)), key=lambda row: row.series.p50_ms)
    tested = [(index, row.test.top1) for index, row in enumerate(rows) if row.test]
    for place in pareto([(top1, rows[index].series.p50_ms) for index, top1 in tested]):
        index = tested[place][0]
        rows[index] = rows[index]._replace(on_front=True)
    return Block(tuple(runs), tuple(rows), _apart(first, runs) if first else (), _drift(rows))


def _apart(first: list[Run], second: list[Run]) -> tuple[str, ...]:
    here, there = (" and ".join(run.name for run in runs) for runs in (first, second))
    return why_apart(first[0].report, second[0].report, here, there)


def _rows(run: Run, batch_size: int) -> list[Row]:
    best, rows = run.report.recommendation, []
    by_name = {candidate.name: candidate for candidate in run.report.candidates}
    for series in run.report.latency.series:
        if series.batch_size != batch_size:
            continue
        candidate = by_name[series.candidate]
        variant = next((each for each in candidate.variants if each.onnx.precision == series.precision), None)
        onnx, engine = (variant.onnx, variant.engine) if variant else (candidate.onnx, candidate.engine)
        named = (best.candidate, best.precision, best.runtime)
        row = Row(
            run=run,
            candidate=candidate,
            file=_file(onnx, engine, series),
            series=series,
            test=None if variant else candidate.onnx_test,
            validation=variant.validation if variant else candidate.onnx_validation,
            against=variant.against if variant else None,
            recommended=named == (candidate.name, series.precision, series.runtime),
        )
        rows.append(row)
    return rows


def _file(onnx: OnnxRecord, engine: EngineRecord, series: LatencySeries) -> FileRef:
    return engine.file if series.runtime == "tensorrt" and engine.file else onnx.file


def _drift(rows: list[Row]) -> float | None:
    medians: dict[tuple[str, str], dict[str, float]] = {}
    for row in rows:
        medians.setdefault((row.file.sha256, row.series.runtime), {})[row.run.name] = row.series.p50_ms
    ratios = [max(of_runs.values()) / min(of_runs.values()) for of_runs in medians.values() if len(of_runs) > 1]
    return max(ratios, default=None)
