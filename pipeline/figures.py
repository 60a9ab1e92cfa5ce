"""The two kinds of figure of a report, as PNG: accuracy against latency, and what a plan removes from each group."""

from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.path import Path
from matplotlib.patheffects import withStroke
from matplotlib.text import Text
from matplotlib.transforms import Bbox

from fair_pruner.ranking import number_name
from pipeline.drawing import CANDIDATE, DENSE, DOTS_PER_INCH, GREY, INK, REMOVED, plain, png, shortened, title
from pipeline.findings import RUNTIME_NAMES, batch_sizes, runtimes, series_of, wilson
from pipeline.measurements import RunReport
from pipeline.records import PlanRecord

LABEL_OFFSETS = [
    (x * far, y * far) for far in (1.0, 2.0, 3.2) for x, y in ((9, 9), (9, -19), (-9, 9), (-9, -19), (0, 15), (0, -26))
]
LEGEND = "filled and joined: beaten by no other in both"
MARKER = 24  # pixels
Point = tuple[float, float]


def pareto_figure(report: RunReport) -> bytes:
    """PNG of top-1 of the ONNX files on the test split (%, up is better) against median latency (ms, left is better).

    Bars: 95 % Wilson interval of the accuracy and 95 % bootstrap interval of the median, at the first batch size. Filled and
    joined: candidates that no other beats. A square: the dense model.
    """
    batch_size = batch_sizes(report.latency)[0]
    figure = Figure(figsize=(8.0, 5.4), dpi=DOTS_PER_INCH, layout="constrained")
    axes = figure.add_subplot()
    points, labels, front = [], [], []
    for candidate in report.candidates:
        series = series_of(report.latency, candidate.name, batch_size)
        test = candidate.onnx_test
        low, high = wilson(test.top1, test.samples)
        x, y = series.p50_ms, 100 * test.top1
        colour = CANDIDATE if candidate.plan else DENSE
        on_front = candidate.name in report.pareto
        axes.errorbar(
            x,
            y,
            xerr=[[max(0.0, x - series.p50_low_ms)], [max(0.0, series.p50_high_ms - x)]],
            yerr=[[y - 100 * low], [100 * high - y]],
            fmt="o" if candidate.plan else "s",
            markersize=8,
            color=colour,
            markerfacecolor=colour if on_front else "white",
            ecolor=colour + "66",
            elinewidth=1.1,
            capsize=2.5,
            zorder=3,
        )
        points.append((x, y))
        labels.append(str(candidate.plan.goal) if candidate.plan else candidate.name)
        front += [(x, y)] if on_front else []
    axes.plot(
        *zip(*sorted(front), strict=True),
        "--",
        color=GREY,
        linewidth=1.2,
        zorder=2,
        label=LEGEND,
    )
    samples, latency = report.candidates[0].onnx_test.samples, report.latency
    conditions = (
        f"batch {batch_size} · {samples} test images · bars: 95% intervals\n"
        f"{latency.machine.cpu} · {RUNTIME_NAMES[runtimes(latency)[0]]}, threads: {latency.threads}"
    )
    title(axes, f"{shortened(report.name)}: accuracy against latency", conditions)
    axes.set_xlabel(f"median latency of a batch of {batch_size} [ms], left is better")
    axes.set_ylabel("top-1 on the test images [%], up is better")
    axes.margins(x=0.12, y=0.12)
    figure.legend(loc="outside lower right", frameon=False, fontsize=8.5)
    plain(axes)
    _place_labels(figure, axes, points, labels, sorted(front))
    return png(figure)


def depth_figure(plan: PlanRecord, name: str) -> bytes:
    """PNG of one plan: units kept and removed per group, first group of the network on top. `name` is the run's."""
    count = len(plan.depths)
    figure = Figure(figsize=(8.0, 1.5 + 0.27 * max(count, 3)), dpi=DOTS_PER_INCH, layout="constrained")
    axes = figure.add_subplot()
    rows = range(count)
    kept = [depth.units - depth.removed for depth in plan.depths]
    removed = [depth.removed for depth in plan.depths]
    axes.barh(rows, kept, height=0.72, color=CANDIDATE, label="kept")
    axes.barh(
        rows,
        removed,
        left=kept,
        height=0.72,
        color="white",
        edgecolor=REMOVED,
        hatch="////",
        linewidth=0.8,
        label="removed",
    )
    for row, depth in enumerate(plan.depths):
        text = f" {depth.removed} of {depth.units} ({depth.removed / depth.units:.0%})"
        axes.text(depth.units, row, text, va="center", fontsize=7.5, color=INK)
    axes.set_yticks(list(rows), [shortened(depth.group) for depth in plan.depths], fontsize=8)
    axes.set_ylim(count - 0.4, -0.6)
    axes.set_xlim(0, 1.2 * max(depth.units for depth in plan.depths))
    axes.set_xlabel("units of the group")
    share = plan.units_removed / plan.units
    removed_in_all = f"{plan.units_removed} of {plan.units} units removed ({share:.1%})"
    found = f", {number_name(plan.rule)} {plan.tolerance:.4g}" if plan.goal.is_budget else ""
    title(axes, f"{shortened(name)}: units per group, {plan.goal}", removed_in_all + found)
    figure.legend(loc="outside lower right", ncols=2, frameon=False, fontsize=8.5)
    plain(axes)
    axes.grid(axis="y", visible=False)
    return png(figure)


def _place_labels(figure: Figure, axes: Any, points: list[Point], labels: list[str], front: list[Point]) -> None:
    """Write each label where it covers the least: points, labels written before, the line along the front."""
    canvas: Any = FigureCanvasAgg(figure)
    renderer = canvas.get_renderer()
    figure.draw_without_rendering()
    figure.set_layout_engine("none")
    taken = [Bbox.from_bounds(x - MARKER / 2, y - MARKER / 2, MARKER, MARKER) for x, y in axes.transData.transform(points)]
    line = Path(axes.transData.transform(front))
    for point, label in zip(points, labels, strict=True):
        options = []
        for near, offset in enumerate(LABEL_OFFSETS):
            text = _label(axes, label, point, offset)
            text.update_positions(renderer)
            box = Text.get_window_extent(text, renderer)  # the words without their leader line
            outside = 0 if axes.bbox.containsx(box.x0) and axes.bbox.containsx(box.x1) and axes.bbox.containsy(box.y1) else 10
            covered = sum(box.overlaps(other) for other in taken) + 0.5 * line.intersects_bbox(box, filled=False)
            options.append((outside + covered, near, box))
            text.remove()
        _, near, box = min(options, key=lambda option: option[:2])
        _label(axes, label, point, LABEL_OFFSETS[near])
        taken.append(box.padded(4))


def _label(axes: Any, label: str, point: Point, offset: Point) -> Any:
    return axes.annotate(
        label,
        point,
        xytext=offset,
        textcoords="offset points",
        ha="left" if offset[0] > 0 else "right" if offset[0] < 0 else "center",
        fontsize=9,
        color=INK,
        zorder=4,
        path_effects=[withStroke(linewidth=2.5, foreground="white")],
        arrowprops={"arrowstyle": "-", "color": GREY, "linewidth": 0.7, "shrinkB": 5},
    )
