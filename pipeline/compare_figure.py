"""The figure of a comparison: files as points of accuracy and latency, with a legend below."""

from collections.abc import Sequence
from typing import NamedTuple

from pipeline.compare import Row
from pipeline.compare_chart import Mark, scatter
from pipeline.compare_text import median, speedup
from pipeline.findings import wilson
from pipeline.html_tags import Markup, tag
from pipeline.measurements import EvalReport


class Point(NamedTuple):
    """A row of the table with the id `target`, at the accuracy that was `measured`; `kind` is its run's number."""

    row: Row
    target: str
    measured: EvalReport
    on_front: bool
    kind: int


def figure(points: Sequence[Point], title: str, legend: Markup) -> Markup:
    """The chart of one or more points; all are measured on images of one split."""
    runtimes = {point.row.series.runtime for point in points}
    marks = [_mark(point, len(runtimes) > 1) for point in points]
    across = f"median of a batch of {points[0].row.series.batch_size} [ms], left is better"
    up = f"top-1 on the {points[0].measured.split} images [%], up is better"
    return tag("figure", scatter(marks, title, across, up), tag("figcaption", legend))


def _mark(point: Point, several_runtimes: bool) -> Mark:
    row, series, measured = point.row, point.row.series, point.measured
    low, high = wilson(measured.top1, measured.samples)
    label = (row.candidate.name, series.precision * (series.precision != "fp32"), series.runtime * several_runtimes)
    words = (
        f"{row.run.name}: {row.candidate.name}, {series.precision}, {series.runtime}",
        f"top-1 {measured.top1:.2%} ({low:.2%} to {high:.2%})",
        f"median {' '.join(median(row))}",
        f"speed-up {' '.join(speedup(row)).strip()}, {series.verdict}",
        "recommended by its run" * row.recommended,
    )
    return Mark(
        x=(series.p50_ms, series.p50_low_ms, series.p50_high_ms),
        y=(100 * measured.top1, 100 * low, 100 * high),
        kind=point.kind,
        label=" ".join(filter(None, label)),
        words="\n".join(filter(None, words)),
        target=point.target,
        on_front=point.on_front,
        recommended=row.recommended,
    )
