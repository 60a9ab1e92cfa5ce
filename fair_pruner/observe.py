"""Look into a model while it runs: what units put out, for removal signals, and gradients at their gates, for the R-Score."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fair_pruner.attention import heads_open
from fair_pruner.errors import UnsupportedModelError
from fair_pruner.layers import Recurrent
from fair_pruner.modes import eval_mode
from fair_pruner.r_score import gate_gradient
from fair_pruner.signals import Reader
from fair_pruner.structure import Group, Point

Gates = Sequence[tuple[int, Point]]


class Observed:
    """What a forward pass left behind: the outputs at the gates. `readers` are who gets outputs, at which point."""

    def __init__(self, groups: Sequence[Group]) -> None:
        self.groups = groups
        self.readers: dict[Point, Reader] = {}
        self._seen: list[tuple[int, Point, int, Tensor, int]] = []
        self._modified: set[str] = set()

    def hand_on(self, output: Tensor, gates: Sequence[tuple[int, Point]], sample_dim: int = 0) -> Tensor:
        """Keep an output for `gradients`; what the model goes on with is equal, and a copy where it will be overwritten."""
        if not torch.is_grad_enabled():
            return output
        leaf = not output.requires_grad
        output = output.detach().requires_grad_() if leaf else output
        self._seen += [(place, point, sample_dim, output, output._version) for place, point in gates]
        return output.clone() if leaf or any(point.layer in self._modified for _, point in gates) else output

    def gradients(self, loss: Tensor, samples: int) -> list[Tensor]:
        """d loss / d gate for every sample, per group (samples, units), from the forward pass just made."""
        found = torch.autograd.grad(loss, [output for *_, output, _ in self._seen], allow_unused=True)
        totals = [loss.new_zeros(samples, group.units) for group in self.groups]
        for (place, point, sample_dim, output, _), gradient in zip(self._seen, found, strict=True):
            if gradient is not None:
                by_sample = (output.detach().movedim(sample_dim, 0), gradient.movedim(sample_dim, 0))
                totals[place] += gate_gradient(*by_sample, point, samples, self.groups[place].units)
        self._seen.clear()
        return totals

    def note_overwriting(self) -> int:
        """Learn from the forward pass just made whose outputs are overwritten, so that they are kept apart from now on.

        Returns how many bytes the gradients at the gates would take.
        """
        size = sum(output.nbytes for *_, output, _ in self._seen)
        self._modified |= {point.layer for _, point, _, output, version in self._seen if output._version != version}
        self._seen.clear()
        return size


@contextmanager
def observing(model: nn.Module, groups: Sequence[Group], points: Iterable[Point]) -> Iterator[Observed]:
    """Inside the block every forward pass of `model` is observed, at the gates and `points`; afterwards it is as it was.

    The model runs in eval mode without touching statistics, flags or gradients; parameters need no gradient meanwhile, only
    what stands at the gates does. Hooks, modes, flags and torch's random state are put back even if the block raises.
    """
    observed = Observed(groups)
    like = next(model.parameters())
    devices = [like.device.index or 0] if like.device.type == "cuda" else []
    flags = [(parameter, parameter.requires_grad) for parameter in model.parameters()]
    hooks = []
    with (
        torch.random.fork_rng(devices=devices),
        torch.inference_mode(False),
        torch.enable_grad(),
        eval_mode(model),
        heads_open(model),
    ):
        modules = dict(model.named_modules())
        try:
            for parameter, _ in flags:
                parameter.requires_grad_(False)
            points = list(points)
            all_gates = [(place, producer.gate) for place, group in enumerate(groups) for producer in group.producers]
            for layer, side in dict.fromkeys((point.layer, point.side) for point in (*(gate for _, gate in all_gates), *points)):
                gates = [(place, gate) for place, gate in all_gates if (gate.layer, gate.side) == (layer, side)]
                mine = [point for point in points if (point.layer, point.side) == (layer, side)]
                if side == "in":
                    hooks.append(modules[layer].register_forward_pre_hook(partial(_look_in, observed, gates, mine)))
                else:
                    hooks.append(modules[layer].register_forward_hook(partial(_look_out, observed, gates, mine)))
            yield observed
        finally:
            for hook in hooks:
                hook.remove()
            for parameter, flag in flags:
                parameter.requires_grad_(flag)


def _look_in(observed: Observed, gates: Gates, points: Sequence[Point], _: nn.Module, inputs: tuple[Any, ...]) -> Any:
    _read(observed, points, inputs[0])
    return (observed.hand_on(inputs[0], gates), *inputs[1:]) if gates else None


def _look_out(observed: Observed, gates: Gates, points: Sequence[Point], layer: nn.Module, _: Any, output: Any) -> Any:
    if isinstance(layer, Recurrent):
        steps, state = output  # what is handed on: the outputs of all steps, and the state after the last
        _read(observed, points, steps if layer.batch_first else steps.transpose(0, 1))
        if not gates:
            return None
        steps = observed.hand_on(steps, gates, sample_dim=0 if layer.batch_first else 1)
        last, *cell = state if isinstance(state, tuple) else (state,)
        halves = [(place, replace(point, unit_of=point.unit_of[: layer.hidden_size])) for place, point in gates]
        last = observed.hand_on(last, halves, sample_dim=1)
        return steps, (last, *cell) if cell else last
    if not isinstance(output, Tensor):
        raise UnsupportedModelError(f"a {type(layer).__name__} returns {type(output).__name__}; only tensors can be scored")
    _read(observed, points, output)
    return observed.hand_on(output, gates) if gates else None


def _read(observed: Observed, points: Sequence[Point], output: Tensor) -> None:
    for point in points:
        if point in observed.readers:
            seen = output.detach()
            observed.readers[point].add(as_maps(getattr(F, point.activation)(seen) if point.activation else seen, point.dim))


def as_maps(output: Tensor, channel_dim: int) -> Tensor:
    """A layer's output (n, ..., channels at `channel_dim`, ...) as (n, channels, positions)."""
    return output.movedim(channel_dim, 1).flatten(2) if output.dim() > 2 else output[:, :, None]
