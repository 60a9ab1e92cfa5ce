"""Which files of one layer are measured, and what their times say of the layer at any channel counts."""

import math
from collections.abc import Mapping
from itertools import chain, product
from typing import NamedTuple, Self

from pipeline.layer_kinds import LayerKind
from pipeline.layer_models import input_shape
from pipeline.layer_table import LayerCosts, Side

Widths = tuple[int, int]  # (input, output) channels, as in LayerKind.widths
Point = tuple[LayerKind, Widths]

LEAST_MS = 1e-4  # no layer costs nothing; below this a clock tells nothing
FEW = 8


class Subject(NamedTuple):
    """A kind of layer, and the channel counts at which it is measured."""

    kind: LayerKind
    inputs: Side
    outputs: Side

    @classmethod
    def of(cls, kind: LayerKind, widths: Widths, block: int, count: int) -> Self:
        """Up to `count` counts on each side, none far above the layer's own `widths`."""
        inputs, outputs = widths
        return cls(kind, Side.of(inputs, block, count), Side.of(outputs, block, count))


def points(subject: Subject) -> tuple[Point, ...]:
    """Every point that `tabulate` looks up, each once."""
    kind, inputs, outputs = subject
    on, off = product(inputs.counts, outputs.counts), product(inputs.off_counts, outputs.off_counts)
    of_inputs = product(inputs.probes.values(), outputs.counts[-1:])
    of_outputs = product(inputs.counts[-1:], outputs.probes.values())
    own = ((kind, widths) for widths in (*on, *off, *of_inputs, *of_outputs))
    layouts = (_layout(subject, widths) or () for widths in product(inputs.counts, outputs.counts))
    return tuple(dict.fromkeys((*own, *chain.from_iterable(layouts))))


def tabulate(subject: Subject, times: Mapping[Point, float]) -> LayerCosts:
    """The table of a layer from the milliseconds of its points, and the steps at which either of its sides is fast.

    In a file of its own a layer on the fast path has its input brought into the layout of blocks and its output out of it,
    which in a network its neighbours need not: that is subtracted. A count is fast if it costs nearer to the next whole block
    than to the path without blocks; a step is fast if it and all larger ones up to the block are.
    """
    kind, inputs, outputs = subject

    def on_blocks(widths: Widths) -> float:
        layout = _layout(subject, (inputs.whole(widths[0]), outputs.whole(widths[1])))
        if layout is None:
            return times[kind, widths]
        with_layout, without = (times[point] for point in layout)
        # what a file needs around its layer is in both; without the layout that is two small nodes, and one is the layer's own
        return max(LEAST_MS, times[kind, widths] - with_layout + without / 2)

    costs = LayerCosts(
        kind=kind,
        inputs=inputs,
        outputs=outputs,
        fast_ms=tuple(tuple(on_blocks((row, column)) for column in outputs.counts) for row in inputs.counts),
        slow_ms=tuple(tuple(times[kind, (row, column)] for column in outputs.off_counts) for row in inputs.off_counts),
    )

    def is_fast(widths: Widths) -> bool:
        fast, slow = on_blocks(widths) / costs.fast(*widths), times[kind, widths] / costs.slow(*widths)
        return abs(math.log(fast)) <= abs(math.log(slow))

    of_inputs = {step: is_fast((probe, outputs.counts[-1])) for step, probe in inputs.probes.items()}
    of_outputs = {step: is_fast((inputs.counts[-1], probe)) for step, probe in outputs.probes.items()}
    return costs.model_copy(update={"inputs": _stepped(inputs, of_inputs), "outputs": _stepped(outputs, of_outputs)})


def _stepped(side: Side, fast: Mapping[int, bool]) -> Side:
    step = side.step
    for smaller in sorted(fast, reverse=True):
        if not fast[smaller]:
            break
        step = smaller
    return side.model_copy(update={"step": step})


def _layout(subject: Subject, widths: Widths) -> tuple[Point, Point] | None:
    """Two convolutions that compute next to nothing: one of the same input, and one of too few channels for a block.

    None for a layer that the layout of blocks is not for: a linear one, and one whose own input has too few channels.
    """
    kind, block = subject.kind, subject.inputs.block
    channels = input_shape(kind, *widths)[0]
    if kind.operator == "linear" or channels < block:
        return None
    ones, zeros = (1,) * len(kind.size), (0,) * 2 * len(kind.size)
    once = LayerKind(operator="conv", size=kind.size, kernel=ones, stride=kind.size, padding=zeros, dilation=ones)
    return (once, (channels, FEW)), (once, (block - 1, FEW))
