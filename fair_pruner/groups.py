"""Groups: the layers whose channels must go together, read off torch-pruning's dependency graph."""

import copy
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import torch
import torch_pruning
from torch import Tensor, nn
from torch_pruning.ops import OPTYPE

from fair_pruner.errors import NothingToPruneError, UnsupportedModelError, first_line

Convolution = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
BatchNorm = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
CUTTABLE = (*Convolution, nn.Linear, *BatchNorm)
PASSING = (OPTYPE.ELEMENTWISE, OPTYPE.RESHAPE, OPTYPE.CONCAT)  # operations that hand channels on as they are


@dataclass(frozen=True)
class Side:
    """The output or input channels of a layer within a group: `unit_of[c]` is channel c's unit, -1 if in no unit of it."""

    layer: str
    side: Literal["out", "in"]
    unit_of: tuple[int, ...]


@dataclass(frozen=True)
class Producer:
    """A layer that creates the channels of a group. Its gate stands behind `gate`: its BatchNorm, or the layer itself."""

    layer: str
    gate: str
    unit_of: tuple[int, ...]


@dataclass(frozen=True)
class Group:
    """`units` units that are removed one by one, each from every side at once. Named after its first producer."""

    name: str
    units: int
    producers: tuple[Producer, ...]
    sides: tuple[Side, ...]


def find_groups(model: nn.Module, example_input: Tensor, ignore: Sequence[str] = ()) -> tuple[Group, ...]:
    """All groups of `model` that may be cut, in the order of its layers; the model is only read.

    Left out are the groups that reach the model's output, those with a layer in `ignore` (a name, or the prefix of names
    up to a dot), and those that hold something this library cannot cut. Raises UnsupportedModelError if the model cannot
    be traced or a name in `ignore` is not in it, NothingToPruneError if no group is left.
    """
    names = [name for name, _ in model.named_modules()]
    for ignored in ignore:
        if not any(_under(name, ignored) for name in names):
            raise UnsupportedModelError(f"ignore names {ignored!r}, which is not a layer of the model")
    model = copy.deepcopy(model)
    calls, graph = _count_calls(model, example_input), trace(model, example_input)
    groups, refused = [], []
    for name, members in _coupled_groups(model, graph):
        reason = _reason_against(members, calls, ignore)
        if reason:
            refused.append(f"{name}: {reason}")
        else:
            groups.append(_group(name, members))
    if not groups:
        why = "; ".join(refused[:5]) or "it has no convolution or linear layer"
        raise NothingToPruneError(f"nothing in this model can be cut ({why}); choose a model with hidden layers, or ignore less")
    return tuple(groups)


def trace(model: nn.Module, example_input: Tensor) -> torch_pruning.DependencyGraph:
    """torch-pruning's dependency graph of `model`, which it switches to eval mode with gradients on: give it a copy.

    Raises UnsupportedModelError if the model does not run on `example_input`.
    """
    model.requires_grad_(True)
    graph = torch_pruning.DependencyGraph()
    try:
        with torch.random.fork_rng(devices=[]), torch.inference_mode(False), torch.enable_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # parameters outside layers: groups that hold one are refused below
            graph.build_dependency(model, example_inputs=example_input.detach().clone(), verbose=False)
    except Exception as error:  # whatever the tracer stumbles over, the model is one that it does not understand
        shape = tuple(example_input.shape)
        raise UnsupportedModelError(f"the model cannot be traced with an input of shape {shape}: {first_line(error)}") from error
    return graph


def coupled_group(graph: torch_pruning.DependencyGraph, layer: nn.Module, units: Sequence[int]) -> Any:
    """torch-pruning's group for removing output channels `units` of `layer`."""
    return graph.get_pruning_group(layer, graph.get_pruner_of_module(layer).prune_out_channels, list(units))


class _Member(NamedTuple):
    """One node of a group: `channels[i]` of it belongs to `units[i]`; `name` is None for an operation without a layer."""

    node: Any
    name: str | None
    out: bool
    channels: Sequence[int]
    units: Sequence[int]

    @property
    def layer(self) -> nn.Module:
        """The layer, or torch-pruning's stand-in for an operation."""
        layer: nn.Module = self.node.module
        return layer


def _coupled_groups(model: nn.Module, graph: torch_pruning.DependencyGraph) -> Iterator[tuple[str, list[_Member]]]:
    """Every group of a traced model once, under the name of its first producer."""
    names = {layer: name for name, layer in model.named_modules()}
    seen: set[nn.Module] = set()
    for name, layer in model.named_modules():
        if layer in seen or layer not in graph.module2node or not _produces(layer):
            continue
        members = []
        for item in coupled_group(graph, layer, range(layer.weight.shape[0])):
            node, out = item.dep.target, graph.is_out_channel_pruning_fn(item.dep.handler)
            known = None if isinstance(node.module, nn.Parameter) else names.get(node.module)
            members.append(_Member(node, known, out, item.idxs, item.root_idxs))
        seen.update(member.layer for member in members if member.out)
        yield name, members


def _count_calls(model: nn.Module, example_input: Tensor) -> Counter[nn.Module]:
    """How often each layer runs in one forward pass; switches the model to eval mode."""
    calls: Counter[nn.Module] = Counter()
    layers = [module for module in model.modules() if isinstance(module, CUTTABLE)]
    hooks = [layer.register_forward_hook(lambda module, *_: calls.update([module])) for layer in layers]
    try:
        with torch.random.fork_rng(devices=[]), torch.no_grad():
            model.eval()(example_input)
    except Exception as error:
        shape = tuple(example_input.shape)
        raise UnsupportedModelError(f"the model does not run on an input of shape {shape}: {first_line(error)}") from error
    finally:
        for hook in hooks:
            hook.remove()
    return calls


def _reason_against(members: Sequence[_Member], calls: Counter[nn.Module], ignore: Sequence[str]) -> str:
    """Why a group must not be cut, or nothing."""
    for node, name, out, _, _ in members:
        layer = node.module
        if out and not node.outputs:
            return "it is the model's output"
        if name is None:
            if node.type not in PASSING:
                return f"it passes through {node.type.name.lower()}, which cannot be cut"
            continue
        if out and any(_under(name, ignored) for ignored in ignore):
            return f"{name} is in ignore"
        if not isinstance(layer, CUTTABLE):
            return f"{name} is a {type(layer).__name__}, which cannot be cut"
        if isinstance(layer, Convolution) and layer.groups > 1 and not _depthwise(layer):
            return f"{name} is a grouped convolution"
        if calls[layer] > 1:
            return f"{name} runs {calls[layer]} times in one forward pass"
    return ""


def _group(name: str, members: Sequence[_Member]) -> Group:
    names = {member.layer: member.name for member in members if member.name}
    sides, producers = [], []
    for member in members:
        if not member.name:
            continue
        weight = member.layer.weight
        assert isinstance(weight, Tensor)
        unit_of = [-1] * weight.shape[0 if member.out or isinstance(member.layer, BatchNorm) else 1]
        for channel, unit in zip(member.channels, member.units, strict=True):
            unit_of[channel] = unit
        sides.append(Side(member.name, "out" if member.out else "in", tuple(unit_of)))
        if member.out and _produces(member.layer):
            followers = {follower.module for follower in member.node.outputs}
            norm = followers.pop() if len(followers) == 1 else None
            gate = names.get(norm, member.name) if isinstance(norm, BatchNorm) else member.name
            producers.append(Producer(member.name, gate, tuple(unit_of)))
    return Group(name, len(members[0].units), tuple(producers), tuple(sides))


def _produces(module: nn.Module) -> bool:
    return isinstance(module, nn.Linear) or (isinstance(module, Convolution) and not _depthwise(module))


def _depthwise(module: nn.Module) -> bool:
    return isinstance(module, Convolution) and 1 < module.groups == module.in_channels == module.out_channels


def _under(name: str, prefix: str) -> bool:
    return name == prefix or name.startswith(prefix + ".")
