"""What layers store: every entry belongs to a channel, and after a cut each says how wide its tensors are."""

import pytest
import torch
from torch import nn

from fair_pruner.layers import (
    blocks,
    declare_widths,
    declared_shapes,
    entries,
    is_block,
    is_depthwise,
    produces,
    width,
)

LAYERS: dict[str, nn.Module] = {
    "conv1d": nn.Conv1d(4, 6, 3),
    "conv2d": nn.Conv2d(4, 6, 3),
    "conv3d": nn.Conv3d(4, 6, 3, bias=False),
    "grouped": nn.Conv2d(4, 6, 3, groups=2),
    "depthwise": nn.Conv2d(6, 6, 3, groups=6),
    "linear": nn.Linear(4, 6),
    "embedding": nn.Embedding(4, 6),
    "batch norm": nn.BatchNorm2d(6),
    "batch norm without scale": nn.BatchNorm1d(6, affine=False),
    "layer norm": nn.LayerNorm(6),
    "prelu": nn.PReLU(6),
    "lstm": nn.LSTM(4, 6),
    "lstm, two layers, both directions": nn.LSTM(4, 6, 2, bidirectional=True),
    "gru": nn.GRU(4, 6, bias=False),
    "rnn": nn.RNN(4, 6),
}


@pytest.mark.parametrize("name", LAYERS)
def test_entries_cover_their_tensors(name: str) -> None:
    layer = LAYERS[name]
    tensors = layer.state_dict()
    for role in ("out", "in"):
        for entry in entries(layer, role):
            assert len(entry.channels) == tensors[entry.tensor].shape[entry.dim]
            assert set(entry.channels) <= set(range(max(width(layer, "out"), width(layer, role))))


@pytest.mark.parametrize("name", LAYERS)
def test_declared_shapes_are_the_real_ones(name: str) -> None:
    layer = LAYERS[name]
    for tensor, shape in declared_shapes(layer).items():
        assert layer.state_dict()[tensor].shape == shape


WRONG = {"num_features": 3, "out_features": 2, "normalized_shape": (2,), "embedding_dim": 2, "num_parameters": 2, "input_size": 1}


@pytest.mark.parametrize(
    "name", sorted(set(LAYERS) - {"batch norm without scale"})
)  # has no tensor to tell by, once it tracks nothing
def test_a_layer_declares_the_widths_of_its_tensors(name: str) -> None:
    layer = LAYERS[name]
    declared = {attribute: value for attribute, value in vars(layer).items() if not attribute.startswith("_")}
    for attribute in WRONG.keys() & declared.keys():
        setattr(layer, attribute, WRONG[attribute])
    declare_widths(layer, ())
    assert {attribute: getattr(layer, attribute) for attribute in declared} == declared


def test_a_grouped_convolution_that_lost_a_block_has_one_group_less() -> None:
    layer = nn.Conv2d(8, 4, 3, groups=4)
    layer.weight = nn.Parameter(layer.weight[1:])
    declare_widths(layer, ())
    assert (layer.groups, layer.in_channels, layer.out_channels) == (3, 6, 3)


def test_who_produces_and_what_goes_as_a_whole() -> None:
    assert {name for name, layer in LAYERS.items() if produces(layer)} == {
        "conv1d", "conv2d", "conv3d", "grouped", "linear", "embedding"
    }  # fmt: skip
    assert [is_depthwise(LAYERS[name]) for name in ("conv2d", "grouped", "depthwise")] == [False, False, True]
    assert [is_block(LAYERS[name]) for name in ("conv2d", "grouped", "depthwise")] == [False, True, False]
    assert list(blocks(LAYERS["grouped"], "out") or ()) == [0, 0, 0, 1, 1, 1]
    assert list(blocks(LAYERS["grouped"], "in") or ()) == [0, 0, 1, 1]
    assert list(blocks(LAYERS["lstm, two layers, both directions"], "out") or ()) == [*range(6), *range(6)]
    assert blocks(LAYERS["conv2d"], "out") is None


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU, nn.RNN])
def test_a_hidden_unit_that_is_silenced_in_all_its_entries_gives_nothing(kind: type[nn.RNNBase]) -> None:
    layer, lost = kind(4, 6, batch_first=True), 2
    with torch.no_grad():
        for entry in entries(layer, "out"):
            places = [place for place, channel in enumerate(entry.channels) if channel == lost]
            layer.get_parameter(entry.tensor).index_fill_(entry.dim, torch.tensor(places), 0)
    steps, _ = layer(torch.randn(3, 5, 4))
    assert not steps[..., lost].any()
    assert steps[..., lost + 1].any()
