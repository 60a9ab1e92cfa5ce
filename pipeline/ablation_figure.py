"""The figure of a comparison: how each method recovers with fine-tuning."""

import statistics
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from pipeline.ablation import AblationReport, course
from pipeline.drawing import DENSE, DOTS_PER_INCH, GREY, plain, png, title
from pipeline.records import Goal

COLOURS = ("#1d5fa8", "#e3a008", "#0f8a5f", "#8a4fbf", "#c2410c", "#5b6770", "#d15c8e", "#3aa6b9")
MARKS = ("o", "s", "^", "D", "v", "P", "X", "*")


def recovery_figure(report: AblationReport) -> bytes:
    """PNG, a panel a budget: validation top-1 (%) by epochs of fine-tuning, mean and range over the seeds, dense as a line."""
    count = len(report.goals)
    figure = Figure(figsize=(max(6.0, 4.2 * count), 4.2), dpi=DOTS_PER_INCH, layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(1, count, squeeze=False, sharey=True)[0]
    for axes, goal in zip(panels, report.goals, strict=True):
        _panel(axes, report, goal)
    panels[0].set_ylabel("validation top-1, %")
    panels[-1].legend(frameon=False, fontsize=8.5, loc="lower right")
    return png(figure)


def _panel(axes: Any, report: AblationReport, goal: Goal) -> None:
    dense = 100 * report.top1_validation
    axes.axhline(dense, color=DENSE, linewidth=1.2)
    axes.annotate("dense", (0, dense), xytext=(2, 3), textcoords="offset points", fontsize=8, color=DENSE)
    for place, method in enumerate(report.methods):
        found = course(report.of(method, goal))
        low, mean, high = ([100 * of(values) for values in found.values()] for of in (min, statistics.mean, max))
        colour = COLOURS[place % len(COLOURS)]
        axes.fill_between([*found], low, high, color=colour, alpha=0.15, linewidth=0)
        marker = MARKS[place % len(MARKS)]
        axes.plot([*found], mean, marker=marker, color=colour, markersize=5, linewidth=1.4, label=method)
    axes.set_xlabel("epochs of fine-tuning", color=GREY)
    plain(axes)
    title(axes, f"{report.name}, {goal}", f"mean and range of {len(report.seeds)} seeds" if len(report.seeds) > 1 else "one seed")
