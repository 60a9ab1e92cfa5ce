"""Where the labels of a drawing go: beside their points, over nothing that matters, and never over each other."""

from collections.abc import Sequence
from typing import NamedTuple

DISTANCES = (1.0, 2.1, 3.4)
DIRECTIONS = ((1, -0.7), (1, 0.7), (-1, -0.7), (-1, 0.7), (0, -1.4), (0, 1.4), (1, 0), (-1, 0))
STEP = 11.0  # px from the point to its label at distance 1
MARK = 7.0  # px, half of a point's side
GAP = 2.0


class Box(NamedTuple):
    """A rectangle in px, y downwards."""

    left: float
    top: float
    right: float
    bottom: float

    def overlaps(self, other: "Box") -> bool:
        """Whether they have an area in common."""
        return self.left < other.right and other.left < self.right and self.top < other.bottom and other.top < self.bottom

    def within(self, other: "Box") -> bool:
        """Whether it lies inside of the other."""
        return self.left >= other.left and self.right <= other.right and self.top >= other.top and self.bottom <= other.bottom


class Place(NamedTuple):
    """A label's box, and whether it is so far from its point that a line should join them."""

    box: Box
    leader: bool


def label_places(
    points: Sequence[tuple[float, float]], sizes: Sequence[tuple[float, float]], area: Box, soft: Sequence[Box]
) -> list[Place | None]:
    """A place inside `area` for each point's label of (width, height), or None where there is no room.

    No label covers a point or another label; those that come first choose first. `soft` is avoided where it can be.
    """
    taken = [Box(x - MARK, y - MARK, x + MARK, y + MARK) for x, y in points]
    places: list[Place | None] = []
    for (x, y), size in zip(points, sizes, strict=True):
        free = []
        for near, distance in enumerate(DISTANCES):
            for order, direction in enumerate(DIRECTIONS):
                box = _beside(x, y, size, (direction[0] * distance, direction[1] * distance))
                if box.within(area) and not any(box.overlaps(other) for other in taken):
                    free.append((2 * near + sum(box.overlaps(each) for each in soft), order, Place(box, near > 0)))
        place = min(free, key=lambda option: option[:2])[2] if free else None
        places.append(place)
        if place:
            box = place.box
            taken.append(Box(box.left - GAP, box.top - GAP, box.right + GAP, box.bottom + GAP))
    return places


def _beside(x: float, y: float, size: tuple[float, float], direction: tuple[float, float]) -> Box:
    """The box whose near side lies in a direction from the point."""
    width, height = size
    across, down = direction
    left = x + across * STEP - (0 if across > 0 else width if across < 0 else width / 2)
    middle = y + down * STEP
    return Box(left, middle - height / 2, left + width, middle + height / 2)
