"""Labels never cover a point or one another, wherever the points lie."""

from hypothesis import given
from hypothesis import strategies as st

from pipeline.label_places import MARK, Box, label_places

AREA = Box(50, 30, 400, 300)
points = st.lists(st.tuples(st.floats(60, 390), st.floats(40, 290)), max_size=30)


@given(points, st.integers(20, 150))
def test_labels_lie_in_the_area_and_over_nothing(found, width):
    places = label_places(found, [(width, 15)] * len(found), AREA, [])
    boxes = [place.box for place in places if place]
    assert len(places) == len(found)
    assert all(box.within(AREA) for box in boxes)
    assert not any(one.overlaps(other) for i, one in enumerate(boxes) for other in boxes[:i])
    marks = [Box(x - MARK, y - MARK, x + MARK, y + MARK) for x, y in found]
    assert not any(box.overlaps(mark) for box in boxes for mark in marks)


def test_a_lone_label_stands_at_its_point_and_lines_are_avoided():
    (free,) = label_places([(200, 150)], [(60, 15)], AREA, [])
    assert free.box.left > 200
    assert not free.leader
    (moved,) = label_places([(200, 150)], [(60, 15)], AREA, [free.box])
    assert not moved.box.overlaps(free.box)


def test_the_first_label_is_served_first_and_what_finds_no_room_is_left_out():
    crowded = [(100.0 + index, 100.0) for index in range(60)]
    places = label_places(crowded, [(120, 15)] * 60, AREA, [])
    assert places[0]
    assert None in places
