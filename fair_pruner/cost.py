"""What a model costs, counted, and what it will cost after a plan, predicted without cutting."""

import contextlib
import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from fair_pruner.attention import attention_shape
from fair_pruner.errors import PlanError
from fair_pruner.groups import cuttable_copy, find_groups
from fair_pruner.layers import Recurrent
from fair_pruner.structure import Group
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
    """Count a model's cost; MACs as torch's FlopCounterMode sees them (2 FLOPs = 1 MAC), divided by the batch size.

    Matrix products inside attention and recurrent layers are counted too.
    """
    subject = cuttable_copy(model)
    return _cost(subject, _macs_by_module(subject, example_input)[""])


class CostModel:
    """Predicts the cost of a model after any plan, exactly for every layer that groups have units in.

    `dense` is the cost as it is. Built once (one forward pass); each `after` is a matter of microseconds a layer.
    """

    def __init__(self, model: nn.Module, example_input: Tensor, groups: Sequence[Group] | None = None) -> None:
        found = groups if groups is not None else find_groups(model, example_input, embedding=True, trial=False)
        self.groups = tuple(found)
        subject = cuttable_copy(model)
        macs = _macs_by_module(subject, example_input)
        self.dense = _cost(subject, macs[""])
        cuts: dict[str, list[_Loss]] = {}
        for group in self.groups:
            for part in group.slices:
                units = torch.tensor([unit for unit in part.unit_of if unit >= 0])
                counts = torch.bincount(units, minlength=group.units).tolist()
                cuts.setdefault(part.tensor, []).append(_Loss(part.dim, group.name, counts))
        stored = dict((*subject.named_parameters(remove_duplicate=False), *subject.named_buffers(remove_duplicate=False)))
        self._tensors = {name: _Tensor.of(stored[name], losses) for name, losses in cuts.items()}
        self._layers = [
            _Layer(spent, tuple(weights))
            for name, layer in subject.named_modules()
            if (spent := _own_macs(layer, name, macs)) and (weights := _working(layer, name))
        ]
        for name in {weight for layer in self._layers for weight in layer.weights} - self._tensors.keys():
            self._tensors[name] = _Tensor.of(stored[name], [])
        for name, module in subject.named_modules():
            if (heads := attention_shape(module)) and (spent := _own_macs(module, name, macs)):
                losses = [loss for loss in cuts.get(f"{name}.proj.weight", ()) if loss.dim == 1]
                self._tensors[f"{name} heads"] = _Tensor((1, heads.heads * heads.head_dim), 0, False, losses)
                self._layers.append(_Layer(spent, (f"{name} heads",)))

    def shapes_after(self, plan: PruningPlan) -> dict[str, tuple[int, ...]]:
        """Shape of the weight of every layer that spends MACs (convolutions, linear layers), by its name, once `plan` is done.

        Raises PlanError as `after` does.
        """
        pruned = self._pruned(plan)
        weights = [weight for layer in self._layers for weight in layer.weights if weight.endswith(".weight")]
        return {weight.removesuffix(".weight"): self._tensors[weight].shape_left(pruned) for weight in weights}

    def after(self, plan: PruningPlan) -> Cost:
        """The cost once `plan` is carried out. Raises PlanError if the plan has a group that the model has not."""
        pruned = self._pruned(plan)
        left = {name: math.prod(tensor.shape_left(pruned)) for name, tensor in self._tensors.items()}
        lost = {name: tensor.size - left[name] for name, tensor in self._tensors.items()}
        params = sum(lost[name] for name, tensor in self._tensors.items() if tensor.is_parameter)
        size = sum(lost[name] * tensor.element_size for name, tensor in self._tensors.items())
        macs = 0
        for layer in self._layers:
            full = sum(self._tensors[name].size for name in layer.weights)
            macs += layer.macs - layer.macs * sum(left[name] for name in layer.weights) // full
        return Cost(self.dense.params - params, self.dense.macs - macs, self.dense.bytes - size)

    def _pruned(self, plan: PruningPlan) -> dict[str, tuple[int, ...]]:
        pruned = {group.name: group.pruned for group in plan.groups}
        unknown = sorted(set(pruned) - {group.name for group in self.groups})
        if unknown:
            raise PlanError(f"the plan cuts {unknown[0]}, which is no group of this model")
        return pruned


@dataclass(frozen=True)
class _Loss:
    """What a tensor loses along `dim` with each unit of a group: one number for all units, where they are alike."""

    dim: int
    group: str
    counts: list[int]

    def of(self, units: Sequence[int]) -> int:
        first = self.counts[0]
        return first * len(units) if self.counts.count(first) == len(self.counts) else sum(self.counts[unit] for unit in units)


@dataclass(frozen=True)
class _Tensor:
    """A stored tensor and how it is cut."""

    shape: tuple[int, ...]
    element_size: int
    is_parameter: bool
    losses: list[_Loss]

    @staticmethod
    def of(tensor: Tensor, losses: list[_Loss]) -> "_Tensor":
        return _Tensor(tuple(tensor.shape), tensor.element_size(), isinstance(tensor, nn.Parameter), losses)

    @property
    def size(self) -> int:
        return math.prod(self.shape)

    def shape_left(self, pruned: dict[str, tuple[int, ...]]) -> tuple[int, ...]:
        """Entries that stay, by dimension."""
        shape = list(self.shape)
        for loss in self.losses:
            shape[loss.dim] -= loss.of(pruned.get(loss.group, ()))
        return tuple(shape)


@dataclass(frozen=True)
class _Layer:
    """MACs that are spent in proportion to the elements of these weights."""

    macs: int
    weights: tuple[str, ...]


def _own_macs(layer: nn.Module, name: str, macs: dict[str, int]) -> int:
    """MACs that a module spends itself, outside the modules within it."""
    return macs.get(name, 0) - sum(macs.get(f"{name}.{child}" if name else child, 0) for child, _ in layer.named_children())


def _working(layer: nn.Module, name: str) -> list[str]:
    """The weights whose elements a module's own MACs go with."""
    return [f"{name}.{own}" for own, tensor in layer.named_parameters(recurse=False) if tensor.dim() > 1 and "weight" in own]


def _cost(model: nn.Module, macs: int) -> Cost:
    stored = [*model.parameters(), *model.buffers()]
    return Cost(
        params=sum(parameter.numel() for parameter in model.parameters()),
        macs=macs,
        bytes=sum(tensor.numel() * tensor.element_size() for tensor in stored),
    )


def _macs_by_module(model: nn.Module, example_input: Tensor) -> dict[str, int]:
    """MACs per sample spent within each module of a model in eval mode, by its name; the whole under the empty name."""
    counter = FlopCounterMode(display=False)
    with contextlib.ExitStack() as stack:  # in these backends attention and recurrent layers are plain matrix products
        stack.enter_context(sdpa_kernel(SDPBackend.MATH))
        if any(isinstance(module, Recurrent) for module in model.modules()):
            stack.enter_context(warnings.catch_warnings(action="ignore"))  # of TF32, which nobody asked for
            stack.enter_context(torch.backends.mkldnn.flags(enabled=False))
        stack.enter_context(torch.random.fork_rng(devices=[]))
        stack.enter_context(torch.no_grad())
        stack.enter_context(counter)
        model(example_input)
    flops = {name: sum(by_operation.values()) for name, by_operation in counter.get_flop_counts().items()}
    root = type(model).__name__ + "."
    inside = {name.removeprefix(root): count for name, count in flops.items() if name.startswith(root)}
    return {name: count // 2 // len(example_input) for name, count in {**inside, "": flops.get("Global", 0)}.items()}
