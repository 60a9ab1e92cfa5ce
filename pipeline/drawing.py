"""What all figures of a report have in common: colours, titles, axes, and the same bytes for the same figure."""

from io import BytesIO
from typing import Any

from matplotlib.figure import Figure

INK, GREY, DENSE, CANDIDATE, REMOVED = "#1f2933", "#8a94a0", "#c2410c", "#1d5fa8", "#e3a008"
DOTS_PER_INCH = 150
LONGEST_NAME = 46


def title(axes: Any, text: str, below: str) -> None:
    """A heading above the axes, with a smaller line or more below it."""
    lines = below.count("\n") + 1
    axes.set_title(text, loc="left", fontsize=13, fontweight="bold", color=INK, pad=10 + 13 * lines)
    axes.annotate(
        below,
        (0, 1),
        xytext=(0, 6),
        xycoords="axes fraction",
        textcoords="offset points",
        fontsize=8.5,
        color=GREY,
        linespacing=1.4,
    )


def plain(axes: Any) -> None:
    """No more lines than are needed to read values off."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(GREY)
    axes.tick_params(colors=INK, labelsize=8.5)
    axes.grid(color="#e6e9ed", linewidth=0.8)
    axes.set_axisbelow(True)


def shortened(name: str, longest: int = LONGEST_NAME) -> str:
    """A name with its middle left out if it is too long."""
    half = longest // 2
    return name if len(name) <= longest else f"{name[:half]}…{name[-half:]}"


def png(figure: Figure) -> bytes:
    """The same figure gives the same bytes: nothing of the date or the library's version is written into the file."""
    content = BytesIO()
    figure.savefig(content, format="png", metadata={"Software": None})
    return content.getvalue()
