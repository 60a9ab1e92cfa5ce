"""The figure of all ToD curves, as PNG: one small panel a group, with the tolerances and where they cut."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from fair_pruner.ranking import RankedGroup, number_name
from pipeline.drawing import DOTS_PER_INCH, GREY, INK, plain, png, shortened
from pipeline.records import PlanRecord

CURVES = "tod-curves.png"
PANEL = (2.05, 1.5)  # inches, the least
WIDTH = 7.4  # of all panels together, at least
MARGINS = {"left": 0.62, "right": 0.18, "top": 1.12, "bottom": 0.62}
COLUMNS = ((3, 3), (8, 4), (30, 5), (math.inf, 6))  # up to so many groups: so many columns
NAME = 27
IMPOSSIBLE = "#eceff2"
LEGEND_ENTRY = 0.075  # inches a letter


def curves_figure(groups: Sequence[RankedGroup], plans: Sequence[PlanRecord], name: str) -> bytes:
    """PNG of ToD at every depth of every group; `plans` are those whose cuts are marked, `name` is the run's.

    A line: a tolerance. A dot: where it cuts. The grey corner: what no ranking could reach, since the units that go and
    those that are protected must overlap beyond half of the group.
    """
    columns = max(1, min(len(groups), next(columns for most, columns in COLUMNS if len(groups) <= most)))
    rows = math.ceil(len(groups) / columns)
    panel = max(PANEL[0], WIDTH / columns)
    width = MARGINS["left"] + columns * panel + MARGINS["right"]
    legend = _legend(plans)
    longest = max((len(handle.get_label()) for handle in legend), default=0)
    entries = max(1, int(columns * panel / (0.5 + LEGEND_ENTRY * longest)))
    top = MARGINS["top"] + 0.2 * (math.ceil(len(legend) / entries) - 1)
    height = top + rows * max(PANEL[1], min(0.73 * panel, 2.4)) + MARGINS["bottom"]
    figure = Figure(figsize=(width, height), dpi=DOTS_PER_INCH)
    panels = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
    figure.subplots_adjust(
        left=MARGINS["left"] / width,
        right=1 - MARGINS["right"] / width,
        top=1 - top / height,
        bottom=MARGINS["bottom"] / height,
        hspace=0.34,
        wspace=0.12,
    )
    for index, axes in enumerate(panels.flat):
        if index >= len(groups):
            axes.set_axis_off()
            continue
        _panel(axes, groups[index], plans)
        if index + columns >= len(groups):
            axes.tick_params(labelbottom=True)
    at = MARGINS["left"] / width
    figure.text(at, 1 - 0.28 / height, f"{shortened(name)}: ToD curves", fontsize=13, fontweight="bold", color=INK, va="center")
    about = "dots: where the first cut ends · grey: what no ranking can reach"
    figure.text(at, 1 - 0.52 / height, about, fontsize=8.5, color=GREY, va="center")
    figure.legend(
        handles=legend,
        loc="upper left",
        bbox_to_anchor=(at, 1 - 0.62 / height),
        bbox_transform=figure.transFigure,
        ncols=entries,
        frameon=False,
        fontsize=8,
        borderaxespad=0,
        handletextpad=0.5,
        columnspacing=1.4,
    )
    figure.supxlabel("share of the group's units removed", fontsize=9, color=INK, y=0.16 / height, va="center")
    middle = (MARGINS["bottom"] + height - top) / 2 / height
    figure.supylabel("ToD: protected share of what goes", fontsize=9, color=INK, x=0.14 / width, y=middle, ha="center")
    return png(figure)


def _panel(axes: Any, group: RankedGroup, plans: Sequence[PlanRecord]) -> None:
    x = np.linspace(0.5, 1, 60)
    axes.fill_between(x, 0, 2 - 1 / x, color=IMPOSSIBLE, linewidth=0)
    shares = np.arange(group.units + 1) / max(1, group.units)
    axes.plot(shares, group.curve.numpy(), color=INK, linewidth=1.1, solid_joinstyle="round", zorder=3)
    seen: list[int] = []
    for index, plan in enumerate(plans):
        colour = _colour(index, len(plans))
        if plan.rule == "tod":
            axes.axhline(plan.tolerance, color=colour, linewidth=0.8, alpha=0.75, zorder=2)
        depth = next((depth for depth in plan.depths if depth.group == group.name), None)
        if depth:
            rings = seen.count(depth.removed)  # cuts at the same depth are rings around the first
            axes.plot(
                depth.removed / depth.units,
                depth.tod,
                "o",
                markersize=4.5 + 2.6 * rings,
                color=colour,
                markeredgecolor="white",
                markeredgewidth=0.6,
                zorder=5 - 0.1 * rings,
            )
            seen.append(depth.removed)
    axes.set_title(shortened(group.name, NAME), loc="left", fontsize=7.2, color=INK, pad=2.5)
    axes.set_title(f"{group.units} units", loc="right", fontsize=7.2, color=GREY, pad=2.5)
    axes.set_xlim(-0.03, 1.03)
    axes.set_ylim(-0.05, 1.05)
    axes.set_xticks([0, 0.5, 1], ["0", "0.5", "1"])
    axes.set_yticks([0, 0.5, 1], ["0", "0.5", "1"])
    plain(axes)
    axes.tick_params(labelsize=7, length=2)


def _legend(plans: Sequence[PlanRecord]) -> list[Any]:
    handles: list[Any] = []
    for index, plan in enumerate(plans):
        found = f" ({number_name(plan.rule)} {plan.tolerance:.3g})" if plan.goal.is_budget else ""
        width = 1 if plan.rule == "tod" else 0
        colour = _colour(index, len(plans))
        handles.append(Line2D([], [], color=colour, label=f"{plan.goal}{found}", marker="o", markersize=5, linewidth=width))
    return handles


def _colour(index: int, count: int) -> Any:
    return colormaps["plasma"](0.08 + 0.76 * index / max(1, count - 1))
