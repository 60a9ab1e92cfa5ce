"""What is measured of a layer, and what is read from it, on a runtime whose latencies are known."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.layer_kinds import Layer, LayerKind
from pipeline.layer_points import Subject, points
from pipeline.layer_table import Side

from .layer_tables import SLOWER, STEP, layer_ms, table_of

PLAIN = LayerKind(operator="conv", size=(7, 7), kernel=(3, 3), stride=(1, 1), padding=(1, 1, 1, 1), dilation=(1, 1))
DEPTHWISE = PLAIN.model_copy(update={"group": (1, 1)})
LINEAR = LayerKind(operator="linear", size=(4,))
kinds, blocks = st.sampled_from([PLAIN, DEPTHWISE, LINEAR]), st.sampled_from([8, 16])
widths = st.one_of(st.integers(1, 6), st.integers(17, 90))  # those of an image, or several blocks


@given(kinds, blocks, widths, widths, st.integers(2, 8), st.data())
@settings(max_examples=300, deadline=None)
def test_latency_is_read_back_at_any_channel_count(
    kind: LayerKind, block: int, inputs: int, outputs: int, count: int, data: st.DataObject
) -> None:
    """Exactly: the costs of the runtime that is made up are bilinear, as is what lies between measured points."""
    weight = (outputs, 1 if kind.group else inputs)
    layer = Layer(name="a", kind=kind, weight=weight)
    costs = table_of([layer], block, count).costs[0]
    whole_inputs, whole_outputs = layer.kind.widths(weight)
    left = data.draw(st.integers(min(block - 1, whole_inputs), whole_inputs))
    right = data.draw(st.integers(min(block - 1, whole_outputs), whole_outputs))
    assert costs.milliseconds(left, right) == pytest.approx(layer_ms(kind, (left, right), block))


@given(blocks, st.integers(1, 90), st.integers(2, 8))
def test_counts_are_whole_blocks_up_to_the_layers_own(block: int, channels: int, count: int) -> None:
    side = Side.of(channels, block, count)
    if channels < block:
        assert (side.counts, side.off_counts, side.probes, side.step) == ((channels,), (channels,), {}, 1)
        return
    assert len(side.counts) <= count and list(side.counts) == sorted(set(side.counts))
    assert all(each % block == 0 for each in side.counts)
    assert side.counts[-1] == side.whole(channels) >= channels > side.counts[-1] - block
    assert len(side.counts) == 1 or side.counts[0] == block
    for step, probe in side.probes.items():
        assert probe % step == 0 and probe % (2 * step) and side.counts[-1] - block < probe < side.counts[-1]


@pytest.mark.parametrize(("block", "steps"), [(8, {1, 2, 4}), (16, {1, 2, 4, 8})])
def test_the_steps_at_which_a_side_is_fast_are_found(block: int, steps: set[int]) -> None:
    costs = table_of([Layer(name="a", kind=PLAIN, weight=(64, 64))], block).costs[0]
    assert set(costs.inputs.probes) == steps
    assert (costs.inputs.step, costs.outputs.step) == (STEP, 1)
    assert costs.milliseconds(60, 57) == costs.milliseconds(64, 64) < costs.milliseconds(63, 57)
    assert costs.slow(63, 63) / layer_ms(PLAIN, (63, 63), block) == pytest.approx(1)
    assert SLOWER > 1


def test_a_point_is_measured_once() -> None:
    found = points(Subject.of(PLAIN, (64, 32), 8, 5))
    assert len(found) == len(set(found))
    assert len(found) <= 2 * 5 * 4 + 3 + 3 + 5 + 1
