"""Carry a plan out: a smaller copy of the model, checked before it is handed back."""

import copy

import torch
from torch import Tensor, nn

from fair_pruner.errors import PlanError, first_line
from fair_pruner.groups import BatchNorm, Convolution, coupled_group, trace
from fair_pruner.modes import eval_mode
from fair_pruner.types import GroupPlan, PruningPlan


def remove(model: nn.Module, plan: PruningPlan, *, example_input: Tensor) -> nn.Module:
    """A copy of the dense `model` without the units of `plan`; weights, modes and flags are those of the model.

    Replaying a plan on a freshly built model and loading saved weights gives the same network again. The copy is run on
    `example_input` and audited. Raises PlanError if the plan does not fit the model or the result does not hold together.
    """
    small = copy.deepcopy(model)
    flags = {name: parameter.requires_grad for name, parameter in small.named_parameters()}
    with eval_mode(model), eval_mode(small):
        graph = trace(small, example_input)
        for group in plan.groups:
            if group.pruned:
                _cut(graph, small, group)
        for name, parameter in small.named_parameters():
            parameter.requires_grad_(flags[name])
        _audit(model, small, example_input)
    return small


def _cut(graph: object, model: nn.Module, group: GroupPlan) -> None:
    try:
        layer = model.get_submodule(group.name)
    except AttributeError as error:
        raise PlanError(f"the plan cuts {group.name}, which is no layer of this model; was it made for another one?") from error
    weight = layer.weight
    assert isinstance(weight, Tensor)
    if len(weight) != group.units:
        raise PlanError(f"the plan expects {group.units} units in {group.name}, which has {len(weight)}; use the dense model")
    if group.depth >= group.units or min(group.pruned) < 0 or max(group.pruned) >= group.units:
        raise PlanError(f"the plan removes units {group.pruned[:3]}... of {group.units} in {group.name}; one at least must stay")
    coupled_group(graph, layer, group.pruned).prune()


def _audit(model: nn.Module, small: nn.Module, example_input: Tensor) -> None:
    """See that every layer is as wide as it says and that the output has kept its shape; both models are in eval mode."""
    for name, layer in small.named_modules():
        declared = _declared_shape(layer)
        if declared is not None and tuple(layer.weight.shape) != declared:
            raise PlanError(f"{name} declares weights of shape {declared} but has {tuple(layer.weight.shape)}")
    try:
        with torch.random.fork_rng(devices=[]), torch.no_grad():
            expected, found = model(example_input).shape, small(example_input).shape
    except RuntimeError as error:
        raise PlanError(f"the cut model does not run: {first_line(error)}; name its layer in ignore") from error
    if found != expected:
        raise PlanError(f"the cut changed the output from {tuple(expected)} to {tuple(found)}; name the output layer in ignore")


def _declared_shape(layer: nn.Module) -> tuple[int, ...] | None:
    if isinstance(layer, nn.Linear):
        return layer.out_features, layer.in_features
    if isinstance(layer, Convolution):
        return layer.out_channels, layer.in_channels // layer.groups, *layer.kernel_size
    if isinstance(layer, BatchNorm) and layer.affine:
        return (layer.num_features,)
    return None
