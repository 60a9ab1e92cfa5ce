"""Look into a model while it runs: outputs of producers projected for the U-Score, gates for the R-Score."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from fair_pruner.errors import UnsupportedModelError
from fair_pruner.groups import Group, Producer
from fair_pruner.modes import eval_mode
from fair_pruner.r_score import gated
from fair_pruner.u_score import project


@dataclass
class Observed:
    """What one pass gathers: per producer the projected outputs of every batch, per group the gradient of its gate."""

    gates: list[Tensor]
    gate_gradients: list[Tensor]
    projected: dict[str, list[Tensor]] = field(default_factory=dict)

    def add_gradients(self, loss: Tensor) -> None:
        """Differentiate a summed loss by all gates and add the result; nothing else of the model gets a gradient."""
        gradients = torch.autograd.grad(loss, self.gates, allow_unused=True)
        for total, gradient in zip(self.gate_gradients, gradients, strict=True):
            if gradient is not None:
                total += gradient


@contextmanager
def observing(model: nn.Module, groups: tuple[Group, ...], projections: int, seed: int) -> Iterator[Observed]:
    """Inside the block every forward pass of `model` is observed; afterwards the model is as it was.

    The model runs in eval mode without touching statistics, flags or gradients; hooks, modes and torch's random state are
    put back even if the block raises.
    """
    like = next(model.parameters())
    gates = [torch.ones(group.units, dtype=like.dtype, device=like.device, requires_grad=True) for group in groups]
    observed = Observed(gates, [torch.zeros_like(gate) for gate in gates])
    modules = dict(model.named_modules())
    hooks = []
    devices = [like.device.index or 0] if like.device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices), torch.inference_mode(False), torch.enable_grad(), eval_mode(model):
        try:
            for group, gate in zip(groups, gates, strict=True):
                for producer in group.producers:
                    record = partial(_record, observed.projected.setdefault(producer.layer, []), projections, seed)
                    hooks.append(modules[producer.layer].register_forward_hook(record))
                    unit_of = torch.tensor(producer.unit_of, device=like.device)
                    hooks.append(modules[producer.gate].register_forward_hook(partial(_gate, gate, unit_of)))
            yield observed
        finally:
            for hook in hooks:
                hook.remove()


def channel_dim(module: nn.Module) -> int:
    """Which dimension of a layer's output holds its channels."""
    return -1 if isinstance(module, nn.Linear) else 1


def unit_values(producer: Producer, values: Tensor, units: int) -> Tensor:
    """Per-channel values (channels,) of a producer as per-unit values (units,): the largest of a unit's channels."""
    unit_of = torch.tensor(producer.unit_of)
    mine = unit_of >= 0
    return values.new_zeros(units).scatter_reduce(0, unit_of[mine], values[mine], "amax")


def _record(seen: list[Tensor], projections: int, seed: int, module: nn.Module, _: Any, output: Tensor) -> None:
    seen.append(project(output, channel_dim(module), projections, seed).cpu())


def _gate(gate: Tensor, unit_of: Tensor, module: nn.Module, _: Any, output: Tensor) -> Tensor:
    if not isinstance(output, Tensor):
        raise UnsupportedModelError(f"a {type(module).__name__} returns {type(output).__name__}; only tensors can be scored")
    return gated(output, gate, unit_of, channel_dim(module))
