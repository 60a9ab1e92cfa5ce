"""Recurrent layers for the tracer, which cannot look through their loops: linear layers of the same widths stand in."""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from fair_pruner.layers import Recurrent


class Cells(NamedTuple):
    """Which recurrent layer a linear layer stands for, and where its channels begin among that layer's outputs."""

    layer: str
    offset: int


class _StandIn(nn.Module):
    """Hands out what a recurrent layer hands out, in shape and in which channel comes from which cell; the values differ."""

    def __init__(self, layer: nn.RNNBase, name: str) -> None:
        super().__init__()
        self.input_size, self.hidden_size, self.num_layers = layer.input_size, layer.hidden_size, layer.num_layers
        self.batch_first, self.bidirectional, self.proj_size = layer.batch_first, layer.bidirectional, 0
        self.has_cell_state, self.name, like = isinstance(layer, nn.LSTM), name, layer.weight_ih_l0
        with torch.random.fork_rng(devices=[]):  # initial weights are drawn
            self.cells = nn.ModuleList(
                nn.Linear(layer.input_size, layer.hidden_size, device=like.device, dtype=like.dtype)
                for _ in range(1 + layer.bidirectional)
            )

    def forward(self, x: Tensor, _: object = None) -> tuple[Tensor, object]:
        if not isinstance(x, Tensor) or x.dim() != 3:
            raise NotImplementedError(f"{self.name} is given no tensor with a batch of sequences")
        steps = [cell(x) for cell in self.cells]
        flat = torch.cat([step.flatten(0, 1) for step in steps], dim=1)  # the tracer follows channels in two dimensions only
        last = [step[:, -1] if self.batch_first else step[-1] for step in steps]
        state = torch.stack(last * self.num_layers)
        return flat.reshape(*x.shape[:-1], flat.shape[-1]), (state, state) if self.has_cell_state else state

    def flatten_parameters(self) -> None:
        """Nothing to do; models call it."""


def cells_stand_in(model: nn.Module) -> dict[nn.Module, Cells]:
    """Replace every recurrent layer of `model`; returns what each linear layer put there stands for."""
    standing: dict[nn.Module, Cells] = {}
    for name, layer in list(model.named_modules()):
        if isinstance(layer, Recurrent) and name and not layer.proj_size:
            replacement = _StandIn(layer, name)
            model.set_submodule(name, replacement)
            for direction, cell in enumerate(replacement.cells):
                standing[cell] = Cells(name, direction * layer.hidden_size)
    return standing
