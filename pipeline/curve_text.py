"""A ToD curve drawn with characters, for a terminal."""

from collections.abc import Sequence

BLOCKS = " ▁▂▃▄▅▆▇█"
LETTERS = "abcdefghijklmnopqrstuvwxyz"
ROWS, WIDTH = 8, 65


def curve_text(curve: Sequence[float], marks: Sequence[int], width: int = WIDTH, rows: int = ROWS) -> list[str]:
    """Lines of a plot of ToD (0 to 1, upwards) at depth 0..n; below it a letter at each depth in `marks`: a, b, c ...

    Where several columns fall on one depth or the other way round, a column shows the depth nearest to it. Marks on the
    same column stand below each other.
    """
    deepest = len(curve) - 1
    columns = [round(column * deepest / (width - 1)) for column in range(width)]
    heights = [round(min(1.0, curve[depth]) * rows * (len(BLOCKS) - 1)) for depth in columns]
    lines = []
    for row in reversed(range(rows)):
        cells = (max(0, min(len(BLOCKS) - 1, height - row * (len(BLOCKS) - 1))) for height in heights)
        label = f"{(row + 1) / rows:4.2f}" if row % 2 else " " * 4
        lines.append(f"{label} │{''.join(BLOCKS[cell] for cell in cells)}")
    end = str(deepest)
    lines.append("   0 └" + "─" * width)
    lines.append("      0" + end.rjust(width - 1))
    below: list[list[str]] = []
    for index, depth in enumerate(marks):
        column = round(depth * (width - 1) / max(1, deepest))
        line = next((line for line in below if line[column] == " "), None)
        if line is None:
            line = [" "] * width
            below.append(line)
        line[column] = LETTERS[index % len(LETTERS)]
    return lines + ["      " + "".join(line).rstrip() for line in below]
