"""Accuracy against latency as an SVG that stands in a page: points with both intervals, labels, the Pareto front."""

import math
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

from pipeline.drawing import shortened
from pipeline.html_tags import Markup, joined, tag
from pipeline.label_places import MARK, Box, label_places

WIDE, NARROW = (900, 480), (380, 440)  # px; the page shows the one that fits
LEFT, RIGHT, TOP, BOTTOM = 52, 14, 34, 46
CHARACTER, LINE = 7.3, 15  # px of a 12 px monospace letter, at most
LONGEST_LABEL = 26
CAP = 3.5
SHAPES = ("circle", "square", "triangle", "diamond", "cross", "hexagon")
OUTLINES = {
    "square": "M-5 -5H5V5H-5Z",
    "triangle": "M0 -6.5L6 4.5H-6Z",
    "diamond": "M0 -6.8L6.8 0L0 6.8L-6.8 0Z",
    "cross": "M-2 -6H2V-2H6V2H2V6H-2V2H-6V-2H-2Z",
    "hexagon": "M-3.2 -5.6H3.2L6.4 0L3.2 5.6H-3.2L-6.4 0Z",
}


class Mark(NamedTuple):
    """One file in the chart. `x` and `y` are (value, low, high): ms, and top-1 in percent. `kind` decides colour and shape.

    `target` is the id of its row in the table, `words` say all of it for a tooltip and for those who cannot see it.
    """

    x: tuple[float, float, float]
    y: tuple[float, float, float]
    kind: int
    label: str
    words: str
    target: str
    on_front: bool
    recommended: bool


class Scale(NamedTuple):
    """Values from `low` to `high` lie between the pixels `start` and `end`."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        """The pixel of a value."""
        return self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start)


def scatter(marks: Sequence[Mark], title: str, across: str, up: str) -> Markup:
    """The chart twice, for wide and for narrow windows; `title` is read to those who cannot see it, the others name the axes."""
    return joined(*(_svg(marks, size, name, title, across, up) for size, name in ((WIDE, "wide"), (NARROW, "narrow"))))


def symbol(kind: int, *, filled: bool = True) -> Markup:
    """The shape of one kind, for a legend."""
    shape = tag("g", _shape(kind), class_=f"k{kind % len(SHAPES)}{' front' * filled}", transform="translate(8 8)")
    return tag("svg", shape, class_="symbol", width=16, height=16, aria_hidden="true")


def _svg(marks: Sequence[Mark], size: tuple[int, int], name: str, title: str, across: str, up: str) -> Markup:
    width, height = size
    area = Box(LEFT, TOP, width - RIGHT, height - BOTTOM)
    x = Scale(*_limits([value for mark in marks for value in mark.x]), area.left, area.right)
    y = Scale(*_limits([value for mark in marks for value in mark.y]), area.bottom, area.top)
    front = sorted((x(mark.x[0]), y(mark.y[0])) for mark in marks if mark.on_front)
    order = sorted(marks, key=lambda mark: (not mark.recommended, not mark.on_front))
    return tag(
        "svg",
        *_axes(x, y, area, size, across, up),
        tag("polyline", class_="frontline", points=" ".join(f"{_px(a)},{_px(b)}" for a, b in front)),
        *(_mark(mark, x, y) for mark in reversed(order)),
        *_labels(order, x, y, area, front),
        class_=f"chart {name}",
        viewBox=f"0 0 {width} {height}",
        role="group",
        aria_label=title,
    )


def _axes(x: Scale, y: Scale, area: Box, size: tuple[int, int], across: str, up: str) -> Iterator[Markup]:
    for value, text in _ticks(x, 85):
        yield tag("line", class_="grid", x1=_px(x(value)), x2=_px(x(value)), y1=_px(area.top), y2=_px(area.bottom))
        yield tag("text", text, class_="tick middle", x=_px(x(value)), y=_px(area.bottom + 16))
    for value, text in _ticks(y._replace(high=min(y.high, 100.0), end=y(min(y.high, 100.0))), 50):
        yield tag("line", class_="grid", x1=_px(area.left), x2=_px(area.right), y1=_px(y(value)), y2=_px(y(value)))
        yield tag("text", text, class_="tick end", x=_px(area.left - 7), y=_px(y(value) + 4))
    yield tag("text", across, class_="axis end", x=_px(area.right), y=_px(size[1] - 8))
    yield tag("text", up, class_="axis", x=4, y=16)


def _mark(mark: Mark, x: Scale, y: Scale) -> Markup:
    cx, left, right = (x(value) for value in mark.x)
    cy, low, high = (y(value) for value in mark.y)
    bars = (
        f"M{_px(left)} {_px(cy)}H{_px(right)}M{_px(cx)} {_px(low)}V{_px(high)}"
        f"M{_px(left)} {_px(cy - CAP)}v{2 * CAP}M{_px(right)} {_px(cy - CAP)}v{2 * CAP}"
        f"M{_px(cx - CAP)} {_px(low)}h{2 * CAP}M{_px(cx - CAP)} {_px(high)}h{2 * CAP}"
    )
    ring = tag("circle", class_="ring", r=11) if mark.recommended else None
    hit = tag("circle", class_="hit", r=14)
    place = f"translate({_px(cx)} {_px(cy)})"
    return tag(
        "a",
        tag("path", class_="bars", d=bars),
        tag("g", hit, ring, _shape(mark.kind), transform=place),
        class_=f"mark k{mark.kind % len(SHAPES)}{' front' * mark.on_front}",
        href=f"#{mark.target}",
        data_row=mark.target,
        data_kind=mark.kind,
        aria_label=mark.words,
    )


def _shape(kind: int) -> Markup:
    name = SHAPES[kind % len(SHAPES)]
    return tag("circle", class_="shape", r=5.5) if name == "circle" else tag("path", class_="shape", d=OUTLINES[name])


def _labels(marks: Sequence[Mark], x: Scale, y: Scale, area: Box, front: list[tuple[float, float]]) -> Iterator[Markup]:
    points = [(x(mark.x[0]), y(mark.y[0])) for mark in marks]
    texts = [shortened(mark.label, LONGEST_LABEL) for mark in marks]
    soft = [bar for mark in marks for bar in _bars(mark, x, y)] + _along(front)
    sizes = [(CHARACTER * len(text), LINE) for text in texts]
    places = label_places(points, sizes, area, soft)
    for mark, (cx, cy), text, place in zip(marks, points, texts, places, strict=True):
        if place is None:
            continue  # the tooltip and the table name it
        box, colour = place.box, f"k{mark.kind % len(SHAPES)}"
        if place.leader:
            to_x, to_y = min(max(cx, box.left), box.right), min(max(cy, box.top), box.bottom)
            begin = MARK / math.hypot(to_x - cx, to_y - cy)  # at the mark's edge
            from_x, from_y = cx + begin * (to_x - cx), cy + begin * (to_y - cy)
            yield tag("line", class_=f"leader {colour}", x1=_px(from_x), y1=_px(from_y), x2=_px(to_x), y2=_px(to_y))
        yield tag("text", text, class_=f"label {colour}", x=_px(box.left), y=_px(box.bottom - 4))


def _bars(mark: Mark, x: Scale, y: Scale) -> tuple[Box, Box]:
    cx, left, right = (x(value) for value in mark.x)
    cy, low, high = (y(value) for value in mark.y)
    return Box(left, cy - 1, right, cy + 1), Box(cx - 1, high, cx + 1, low)


def _along(line: list[tuple[float, float]]) -> list[Box]:
    """Small boxes along a line."""
    boxes = []
    for (x1, y1), (x2, y2) in pairwise(line):
        steps = max(1, round(math.hypot(x2 - x1, y2 - y1) / 8))
        for step in range(steps):
            cx, cy = x1 + (x2 - x1) * step / steps, y1 + (y2 - y1) * step / steps
            boxes.append(Box(cx - 3, cy - 3, cx + 3, cy + 3))
    return boxes


def _limits(values: list[float]) -> tuple[float, float]:
    low, high = min(values), max(values)
    margin = 0.07 * (high - low) or 0.05 * abs(high) or 1.0
    return low - margin, high + margin


def _ticks(scale: Scale, spacing: float) -> Iterator[tuple[float, str]]:
    """Round values about `spacing` px apart, with their texts."""
    span = scale.high - scale.low
    rough = span * spacing / abs(scale.end - scale.start)
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * (1 - 1e-9))
    decimals = max(0, -math.floor(math.log10(step) + 1e-9))
    for index in range(math.ceil(scale.low / step), math.floor(scale.high / step) + 1):
        yield index * step, f"{index * step:.{decimals}f}"


def _px(value: float) -> str:
    return f"{value:.1f}"
