"""The figures: images that can be read, the same bytes each time, no label over another."""

import struct
import zlib

import pytest
from matplotlib.text import Annotation, Text

from pipeline import figures
from pipeline.figures import depth_figure, pareto_figure
from pipeline.records import Depth

PIXELS_AT_LEAST = 400


def size_of(png: bytes) -> tuple[int, int]:
    """Width and height from the header of a PNG whose checksum of the header is right."""
    assert png.startswith(b"\x89PNG\r\n\x1a\n")
    assert zlib.crc32(png[12:29]) == struct.unpack(">I", png[29:33])[0]
    width, height = struct.unpack(">II", png[16:24])
    return width, height


@pytest.fixture
def result(make_report):
    return make_report("dense", "not_faster", "slower", "quick", "quicker")


def test_pareto_figure_is_the_same_each_time(result):
    first = pareto_figure(result)
    assert min(size_of(first)) > PIXELS_AT_LEAST
    assert pareto_figure(result) == first


def test_labels_cover_neither_each_other_nor_leave_the_axes(make_report, monkeypatch):
    crowded = {"latency": {1: (0.495, 1.01, 0.97, 1.06)}}
    near = {name: crowded | {"top1": 0.9745 - 0.001 * i} for i, name in enumerate(("not_faster", "slower", "quick"))}
    dense = {"latency": {1: (0.5, 1, 1, 1)}}
    result = make_report("dense", *near, "quicker", dense=dense, **near)
    drawn = []
    monkeypatch.setattr(figures, "png", lambda figure: drawn.append(figure) or b"")
    pareto_figure(result)
    (axes,) = drawn[0].axes
    drawn[0].canvas.draw()
    labels = [text for text in axes.texts if isinstance(text, Annotation) and text.get_text().startswith(("dense", "tol"))]
    assert len(labels) == 5
    boxes = [Text.get_window_extent(label) for label in labels]
    assert not any(one.overlaps(other) for i, one in enumerate(boxes) for other in boxes[:i])
    assert all(axes.bbox.x0 <= box.x0 and box.x1 <= axes.bbox.x1 for box in boxes)


def test_depth_figure_grows_with_the_groups(result):
    plan = result.candidates[-1].plan
    groups = tuple(Depth(**(plan.depths[0].model_dump() | {"group": f"a.very.long.name.of.a.layer.{i}" * 3})) for i in range(40))
    small, large = depth_figure(plan, "digits"), depth_figure(plan.model_copy(update={"depths": groups}), "digits")
    assert size_of(small)[0] == size_of(large)[0]
    assert size_of(large)[1] > 2 * size_of(small)[1]


def test_perfect_accuracy_and_a_lone_dense_model_can_be_drawn(make_report):
    assert size_of(pareto_figure(make_report("dense", dense={"top1": 1.0})))
