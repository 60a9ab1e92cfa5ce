"""What a model costs, counted, and what it will cost after a plan, predicted without cutting."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from fair_pruner.errors import PlanError
from fair_pruner.groups import Group, find_groups
from fair_pruner.modes import eval_mode
from fair_pruner.types import PruningPlan


@dataclass(frozen=True)
class Cost:
    """`params`: elements of all parameters. `macs`: multiply-accumulates of one forward pass for one sample.

    `bytes`: size of parameters and buffers as they are stored.
    """

    params: int
    macs: int
    bytes: int


def measure(model: nn.Module, example_input: Tensor) -> Cost:
    """Count a model's cost; MACs as torch's FlopCounterMode sees them (2 FLOPs = 1 MAC), divided by the batch size."""
    return _cost(model, _macs_by_module(model, example_input)[""])


class CostModel:
    """Predicts the cost of a model after any plan, exactly for convolutions, linear layers and norms.

    `dense` is the cost as it is. Built once (one forward pass); each `after` is a matter of microseconds a layer.
    """

    def __init__(self, model: nn.Module, example_input: Tensor, groups: Sequence[Group] | None = None) -> None:
        self.groups = tuple(groups) if groups is not None else find_groups(model, example_input)
        macs = _macs_by_module(model, example_input)
        self.dense = _cost(model, macs[""])
        self._layers = [
            _Layer.of(name, module, self.groups, macs.get(name, 0))
            for name, module in model.named_modules()
            if any(side.layer == name for group in self.groups for side in group.sides)
        ]

    def after(self, plan: PruningPlan) -> Cost:
        """The cost once `plan` is carried out. Raises PlanError if the plan has a group that the model has not."""
        pruned = {group.name: group.pruned for group in plan.groups}
        unknown = sorted(set(pruned) - {group.name for group in self.groups})
        if unknown:
            raise PlanError(f"the plan cuts {unknown[0]}, which is no group of this model")
        params = macs = size = 0
        for layer in self._layers:
            gone = layer.gone(pruned)
            params += gone.params
            macs += gone.macs
            size += gone.bytes
        return Cost(self.dense.params - params, self.dense.macs - macs, self.dense.bytes - size)


@dataclass(frozen=True)
class _Layer:
    """One layer: its tensors as (shape, element size, is a parameter), MACs, and channels per unit of each group by side."""

    tensors: tuple[tuple[tuple[int, ...], int, bool], ...]
    macs: int
    both_sides: bool  # a weight with input channels in its second dimension
    channels: dict[str, int]
    per_unit: dict[str, tuple[tuple[str, Tensor], ...]]

    @staticmethod
    def of(name: str, module: nn.Module, groups: Sequence[Group], macs: int) -> "_Layer":
        tensors = [(tuple(p.shape), p.element_size(), True) for p in module.parameters(recurse=False)]
        tensors += [(tuple(b.shape), b.element_size(), False) for b in module.buffers(recurse=False)]
        weight = module.weight
        assert isinstance(weight, Tensor)
        both = weight.dim() > 1 and getattr(module, "groups", 1) == 1
        per_unit: dict[str, list[tuple[str, Tensor]]] = {"out": [], "in": []}
        for group in groups:
            for side in group.sides:
                if side.layer == name:
                    units = torch.tensor([unit for unit in side.unit_of if unit >= 0])
                    per_unit[side.side].append((group.name, torch.bincount(units, minlength=group.units)))
        channels = {"out": weight.shape[0], "in": weight.shape[1] if both else 1}
        return _Layer(tuple(tensors), macs, both, channels, {key: tuple(value) for key, value in per_unit.items()})

    def gone(self, pruned: dict[str, tuple[int, ...]]) -> Cost:
        """What this layer loses."""
        kept = {
            side: self.channels[side]
            - sum(int(counts[list(pruned.get(group, ()))].sum()) for group, counts in self.per_unit[side])
            for side in ("out", "in")
        }
        params = size = 0
        for shape, element_size, is_parameter in self.tensors:
            if not shape:
                continue
            after = (kept["out"], *shape[1:])
            if self.both_sides and len(shape) > 1:
                after = (kept["out"], kept["in"], *shape[2:])
            lost = math.prod(shape) - math.prod(after)
            params += lost * is_parameter
            size += lost * element_size
        width = self.channels["out"] * self.channels["in"]
        return Cost(params, self.macs - self.macs * kept["out"] * kept["in"] // width, size)


def _cost(model: nn.Module, macs: int) -> Cost:
    stored = [*model.parameters(), *model.buffers()]
    return Cost(
        params=sum(parameter.numel() for parameter in model.parameters()),
        macs=macs,
        bytes=sum(tensor.numel() * tensor.element_size() for tensor in stored),
    )


def _macs_by_module(model: nn.Module, example_input: Tensor) -> dict[str, int]:
    """MACs per sample spent within each module, by its name; the whole model under the empty name."""
    counter = FlopCounterMode(display=False)
    with torch.random.fork_rng(devices=[]), torch.no_grad(), eval_mode(model), counter:
        model(example_input)
    flops = {name: sum(by_operation.values()) for name, by_operation in counter.get_flop_counts().items()}
    root = type(model).__name__ + "."
    inside = {name.removeprefix(root): count for name, count in flops.items() if name.startswith(root)}
    return {name: count // 2 // len(example_input) for name, count in {**inside, "": flops.get("Global", 0)}.items()}
