"""Linear layers stand in for recurrent ones: the same shapes, and each output channel from the cell it says."""

import pytest
import torch
from torch import nn

from fair_pruner.recurrent import cells_stand_in

Shape = tuple[torch.Size, ...]


def shapes(output: object) -> Shape:
    """Of the steps and of each state."""
    steps, state = output  # type: ignore[misc]
    return (steps.shape, *(part.shape for part in (state if isinstance(state, tuple) else (state,))))


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU, nn.RNN])
@pytest.mark.parametrize("batch_first", [True, False])
@pytest.mark.parametrize(("layers", "bidirectional"), [(1, False), (2, True)])
def test_outputs_have_the_shapes_of_the_originals(
    kind: type[nn.RNNBase], batch_first: bool, layers: int, bidirectional: bool
) -> None:
    original, x = kind(4, 6, layers, batch_first=batch_first, bidirectional=bidirectional), torch.randn(3, 5, 4)
    model = nn.Sequential(original)
    expected = shapes(original(x))
    state = torch.random.get_rng_state()
    standing = cells_stand_in(model)
    assert torch.equal(state, torch.random.get_rng_state())
    assert shapes(model(x)) == expected
    assert sorted(cells.offset for cells in standing.values()) == [0, 6][: 1 + bidirectional]
    assert {cells.layer for cells in standing.values()} == {"0"}


def test_a_channel_comes_from_the_cell_that_its_offset_says() -> None:
    model, x = nn.Sequential(nn.LSTM(4, 6, bidirectional=True, batch_first=True)), torch.randn(3, 5, 4)
    standing = cells_stand_in(model)
    before, _ = model(x)
    cell, cells = next((cell, cells) for cell, cells in standing.items() if cells.offset == 6)
    with torch.no_grad():
        cell.get_parameter("bias")[2] += 1
    after, (state, _) = model(x)
    assert set((after != before).nonzero()[:, 2].tolist()) == {cells.offset + 2}
    assert set((state[-1] != before[:, -1, 6:]).nonzero()[:, 1].tolist()) == {2}


def test_projected_cells_are_left_alone_and_unbatched_input_is_refused() -> None:
    assert cells_stand_in(nn.Sequential(nn.LSTM(4, 6, proj_size=3))) == {}
    model = nn.Sequential(nn.GRU(4, 6))
    cells_stand_in(model)
    with pytest.raises(NotImplementedError, match="0 is given no tensor with a batch of sequences"):
        model(torch.randn(5, 4))
