"""What was measured of each layer of a model, by its channel counts, and what it costs at those that were not."""

import math
from bisect import bisect_right
from collections.abc import Sequence
from typing import Self

from pipeline.layer_kinds import Layer, LayerKind
from pipeline.records import Value

Grid = tuple[tuple[float, ...], ...]


class Side(Value):
    """Channel counts of one side of a layer: `counts` are multiples of `block`, ascending, or the only one there is.

    Counts that are multiples of `step` take the runtime's fast path.
    """

    block: int
    counts: tuple[int, ...]
    step: int

    @classmethod
    def of(cls, channels: int, block: int, points: int) -> Self:
        """Up to `points` counts from one block to the next whole block above `channels`; only `channels` if that is less."""
        blocks = math.ceil(channels / block)
        if channels < block:
            return cls(block=block, counts=(channels,), step=1)
        last = min(points, blocks) - 1
        counts = (block * (1 + round(place * (blocks - 1) / max(1, last))) for place in range(last + 1))
        return cls(block=block, counts=tuple(counts), step=block)

    @property
    def off_counts(self) -> tuple[int, ...]:
        """The counts off the block beside those on it."""
        return tuple(count - 1 if count >= self.block else count for count in self.counts)

    @property
    def probes(self) -> dict[int, int]:
        """By step, the largest count below the last block that is a multiple of that step and of no larger one."""
        top = self.counts[-1]
        return {1 << power: top - (1 << power) for power in range(self.block.bit_length() - 1) if top >= self.block}

    def whole(self, channels: int) -> int:
        """`channels`, filled up to whole blocks; never more than were measured."""
        return min(math.ceil(channels / self.block) * self.block, self.counts[-1])


class LayerCosts(Value):
    """Milliseconds of a layer by (input, output) channels as in LayerKind.widths, without what a run costs beside it.

    `fast_ms[i][j]` is at `inputs.counts[i]` and `outputs.counts[j]`, `slow_ms[i][j]` at the `off_counts` of both.
    """

    kind: LayerKind
    inputs: Side
    outputs: Side
    fast_ms: Grid
    slow_ms: Grid

    def milliseconds(self, inputs: int, outputs: int) -> float:
        """At any channel counts.

        A runtime has fast code for whole blocks of channels, into which it fits some other counts too by filling up: with
        these a layer costs what it costs with the next whole block. With all others it takes a path without blocks, on which
        cost grows smoothly. Each is interpolated between what was measured.
        """
        fast = inputs % self.inputs.step == 0 and outputs % self.outputs.step == 0
        return self.fast(inputs, outputs) if fast else self.slow(inputs, outputs)

    def fast(self, inputs: int, outputs: int) -> float:
        """On the path with blocks."""
        whole = self.inputs.whole(inputs), self.outputs.whole(outputs)
        return _bilinear(self.inputs.counts, self.outputs.counts, self.fast_ms, *whole)

    def slow(self, inputs: int, outputs: int) -> float:
        """On the path without blocks."""
        return _bilinear(self.inputs.off_counts, self.outputs.off_counts, self.slow_ms, inputs, outputs)


class LayerTable(Value):
    """Layer i of a dense model has `costs[cost_of[i]]`; `overhead_ms` is what a run costs beside all layers."""

    overhead_ms: float
    costs: tuple[LayerCosts, ...]
    layers: tuple[Layer, ...]
    cost_of: tuple[int, ...]


def _bilinear(rows: Sequence[int], columns: Sequence[int], values: Grid, row: int, column: int) -> float:
    """Interpolated between values (rows, columns); it goes on straight beyond the last ones, and level before the first."""
    above, below, down = _between(rows, row)
    left, right, along = _between(columns, column)
    upper, lower = (line[left] + along * (line[right] - line[left]) for line in (values[above], values[below]))
    return upper + down * (lower - upper)


def _between(points: Sequence[int], at: int) -> tuple[int, int, float]:
    """The places of two neighbouring points, and how far `at` is on the way from the first to the second."""
    second = min(bisect_right(points, at), len(points) - 1)
    first = max(0, second - 1)
    if second == first or at <= points[0]:
        return 0, 0, 0.0
    return first, second, (at - points[first]) / (points[second] - points[first])
