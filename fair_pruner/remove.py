"""Carry a plan out: a smaller copy of the model, checked before it is handed back."""

import torch
from torch import Tensor, nn

from fair_pruner.attention import replaceable, stand_in
from fair_pruner.copies import independent
from fair_pruner.cut import cut
from fair_pruner.errors import NothingToPruneError, PlanError, first_line
from fair_pruner.groups import cuttable_copy, find_groups
from fair_pruner.layers import declared_shapes
from fair_pruner.modes import eval_mode
from fair_pruner.structure import Group
from fair_pruner.trial import fault
from fair_pruner.types import GroupPlan, PruningPlan


def remove(model: nn.Module, plan: PruningPlan, *, example_input: Tensor) -> nn.Module:
    """A copy of the dense `model` without the units of `plan`; weights, modes and flags are those of the model.

    Replaying a plan on a freshly built model and loading saved weights gives the same network again. Before it is handed
    back, the cut is proven on a copy with random weights (removing units that nothing reads must not move the output),
    the widths that layers declare are compared with their tensors, and the copy is run on `example_input`. An
    nn.MultiheadAttention that loses heads or width becomes a SelfAttention. Raises PlanError if the plan does not fit the
    model or the result does not hold together.
    """
    pruned = {group.name: group.pruned for group in plan.groups if group.pruned}
    if not pruned:
        return independent(model)
    found = _groups(model, example_input)
    groups = [_matching(group, found) for group in plan.groups if group.pruned]
    if wrong := fault(cuttable_copy(model), example_input, groups, pruned):
        raise PlanError(f"cutting this model by the plan would break it ({wrong}); name the layers concerned in ignore")
    small = independent(model)
    touched = {part.tensor for group in groups for part in group.slices}
    stand_in(small, [name for name in replaceable(small) if any(tensor.startswith(f"{name}.") for tensor in touched)])
    cut(small, groups, pruned)
    _audit(model, small, example_input)
    return small


def _groups(model: nn.Module, example_input: Tensor) -> dict[str, Group]:
    try:
        return {group.name: group for group in find_groups(model, example_input, embedding=True, trial=False)}
    except NothingToPruneError:
        return {}


def _matching(plan: GroupPlan, groups: dict[str, Group]) -> Group:
    """The group that a plan speaks of."""
    group = groups.get(plan.name)
    if group is None:
        raise PlanError(f"the plan cuts {plan.name}, which is no group of this model; was it made for another one?")
    if group.units != plan.units:
        raise PlanError(f"the plan expects {plan.units} units in {plan.name}, which has {group.units}; use the dense model")
    if plan.depth >= plan.units or min(plan.pruned) < 0 or max(plan.pruned) >= plan.units:
        raise PlanError(f"the plan removes units {plan.pruned[:3]}... of {plan.units} in {plan.name}; one at least must stay")
    return group


def _audit(model: nn.Module, small: nn.Module, example_input: Tensor) -> None:
    """See that every layer is as wide as it says and that the output has kept its shape."""
    for name, layer in small.named_modules():
        for tensor, declared in declared_shapes(layer).items():
            if tuple(getattr(layer, tensor).shape) != declared:
                raise PlanError(f"{name}.{tensor} is declared as {declared} but is {tuple(getattr(layer, tensor).shape)}")
    try:
        with torch.random.fork_rng(devices=[]), torch.no_grad(), eval_mode(model), eval_mode(small):
            expected, found = model(example_input).shape, small(example_input).shape
    except Exception as error:
        raise PlanError(f"the cut model does not run: {first_line(error)}; name its layer in ignore") from error
    if found != expected:
        raise PlanError(f"the cut changed the output from {tuple(expected)} to {tuple(found)}; name the output layer in ignore")
