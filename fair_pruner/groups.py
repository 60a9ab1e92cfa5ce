"""Groups: the layers whose channels must go together, read off torch-pruning's dependency graph."""

import copy
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch_pruning
from torch import Tensor, nn
from torch_pruning.ops import OPTYPE

from fair_pruner.errors import NothingToPruneError, UnsupportedModelError

Convolution = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
BatchNorm = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
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
    groups, refused = [], []
    for name, coupled, graph in _coupled_groups(model, example_input):
        reason = _reason_against(coupled, graph, ignore)
        if reason:
            refused.append(f"{name}: {reason}")
        else:
            groups.append(_group(name, coupled, graph))
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
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        shape = tuple(example_input.shape)
        raise UnsupportedModelError(f"the model cannot be traced with an input of shape {shape}: {reason}") from error
    return graph


def coupled_group(graph: torch_pruning.DependencyGraph, layer: nn.Module, units: Sequence[int]) -> Any:
    """torch-pruning's group for removing output channels `units` of `layer`."""
    return graph.get_pruning_group(layer, graph.get_pruner_of_module(layer).prune_out_channels, list(units))


def _coupled_groups(model: nn.Module, example_input: Tensor) -> Iterator[tuple[str, Any, torch_pruning.DependencyGraph]]:
    """Every group of a traced copy of the model once, under the name of its first producer."""
    model = copy.deepcopy(model)
    calls = _count_calls(model, example_input)
    graph = trace(model, example_input)
    graph.calls = calls
    seen: set[nn.Module] = set()
    for name, layer in model.named_modules():
        if layer in seen or layer not in graph.module2node or not _produces(layer):
            continue
        coupled = coupled_group(graph, layer, range(layer.weight.shape[0]))
        seen.update(dep.target.module for dep, _ in coupled if graph.is_out_channel_pruning_fn(dep.handler))
        yield name, coupled, graph


def _count_calls(model: nn.Module, example_input: Tensor) -> Counter[nn.Module]:
    """How often each layer runs in one forward pass."""
    calls: Counter[nn.Module] = Counter()
    hooks = [m.register_forward_hook(lambda module, *_: calls.update([module])) for m in model.modules() if _produces(m)]
    try:
        with torch.random.fork_rng(devices=[]), torch.no_grad():
            model.eval()(example_input)
    except Exception as error:
        shape = tuple(example_input.shape)
        raise UnsupportedModelError(f"the model does not run on an input of shape {shape}: {error}") from error
    finally:
        for hook in hooks:
            hook.remove()
    return calls


def _reason_against(coupled: Any, graph: torch_pruning.DependencyGraph, ignore: Sequence[str]) -> str:
    """Why a group must not be cut, or nothing."""
    for dep, _ in coupled:
        node, module = dep.target, dep.target.module
        out = graph.is_out_channel_pruning_fn(dep.handler)
        name = graph._module2name.get(module)
        if out and not node.outputs:
            return "it is the model's output"
        if name is None and node.type not in PASSING:
            return f"it passes through {node.type.name.lower()}, which cannot be cut"
        if name is None:
            continue
        if out and any(_under(name, ignored) for ignored in ignore):
            return f"{name} is in ignore"
        if not isinstance(module, (*Convolution, nn.Linear, *BatchNorm)):
            return f"{name} is a {type(module).__name__}, which cannot be cut"
        if isinstance(module, Convolution) and module.groups > 1 and not _depthwise(module):
            return f"{name} is a grouped convolution"
        if graph.calls[module] > 1:
            return f"{name} runs {graph.calls[module]} times in one forward pass"
    return ""


def _group(name: str, coupled: Any, graph: torch_pruning.DependencyGraph) -> Group:
    sides, producers = [], []
    for item in coupled:
        dep, channels = item
        layer = dep.target.module
        layer_name = graph._module2name.get(layer)
        if layer_name is None:
            continue
        out = graph.is_out_channel_pruning_fn(dep.handler)
        width = layer.weight.shape[0] if out or isinstance(layer, BatchNorm) else layer.weight.shape[1]
        unit_of = [-1] * width
        for channel, unit in zip(channels, item.root_idxs, strict=True):
            unit_of[channel] = unit
        sides.append(Side(layer_name, "out" if out else "in", tuple(unit_of)))
        if out and _produces(layer):
            producers.append(Producer(layer_name, _gate_of(dep.target, graph), tuple(unit_of)))
    return Group(name, len(coupled[0].idxs), tuple(producers), tuple(sides))


def _gate_of(node: Any, graph: torch_pruning.DependencyGraph) -> str:
    """The BatchNorm that alone follows a producer, else the producer itself."""
    followers = {follower.module for follower in node.outputs}
    norm = next(iter(followers)) if len(followers) == 1 else None
    return str(graph._module2name[norm if isinstance(norm, BatchNorm) else node.module])


def _produces(module: nn.Module) -> bool:
    return isinstance(module, nn.Linear) or (isinstance(module, Convolution) and not _depthwise(module))


def _depthwise(module: nn.Module) -> bool:
    return isinstance(module, Convolution) and 1 < module.groups == module.in_channels == module.out_channels


def _under(name: str, prefix: str) -> bool:
    return name == prefix or name.startswith(prefix + ".")
