"""A part of a Markdown report: heading, explanation, table."""

from collections.abc import Iterable, Sequence
from textwrap import fill

WIDTH = 130


def section(title: str, note: str, titles: Sequence[str], rows: Iterable[Sequence[str]], width: int = WIDTH) -> str:
    """A heading, what the table means in lines of `width` characters, and the table with aligned columns."""
    cells = [[cell.replace("|", "\\|").replace("\n", " ") for cell in row] for row in (titles, *rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = ["| " + " | ".join(map(str.ljust, row, widths)) + " |" for row in cells]
    rule = "|" + "|".join("-" * (width + 2) for width in widths) + "|"
    return "\n".join((f"## {title}", "", fill(note, width), "", lines[0], rule, *lines[1:]))
