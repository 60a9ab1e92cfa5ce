"""torch-pruning's dependency graph, read into plain members: which channels of which layers go together."""

import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import torch
import torch_pruning
from torch import Tensor, nn
from torch_pruning.dependency import index_mapping
from torch_pruning.ops import OPTYPE

from fair_pruner.errors import UnsupportedModelError, first_line
from fair_pruner.layers import Cuttable, Role, produces, width
from fair_pruner.recurrent import Cells, cells_stand_in

MAPPINGS = {  # how channels of different places correspond where an operation moves them
    OPTYPE.CONCAT: index_mapping.update_concat_index_mapping,
    OPTYPE.RESHAPE: index_mapping.update_reshape_index_mapping,
    OPTYPE.SPLIT: index_mapping.update_split_index_mapping,
    OPTYPE.UNBIND: index_mapping.update_unbind_index_mapping,
    OPTYPE.EXPAND: index_mapping.update_expand_index_mapping,
    OPTYPE.SLICE: index_mapping.update_slice_index_mapping,
}
PASSING = (OPTYPE.ELEMENTWISE, OPTYPE.RESHAPE, OPTYPE.CONCAT, OPTYPE.EXPAND)  # hand channels on as they are


class Member(NamedTuple):
    """A layer or parameter of a coupled group: its channel `channels[i]` belongs to the group's unit `units[i]`.

    `dim` is the parameter's dimension that holds channels, None for a layer. `followers` are what reads the output: names
    of layers, or the operation's name as autograd has it.
    """

    name: str
    role: Role
    channels: Sequence[int]
    units: Sequence[int]
    dim: int | None
    followers: tuple[str, ...]


class Coupled(NamedTuple):
    """Members whose channels go together, as traced from the output of layer `root`; `refusal` says why they must not go."""

    root: str
    units: int
    members: tuple[Member, ...]
    refusal: str


class _Channel(NamedTuple):
    """A channel of some layer and the unit it belongs to, under the names that torch-pruning's index mappings use."""

    idx: int
    root_idx: int


def trace(model: nn.Module, example_input: Tensor) -> Iterator[Coupled]:
    """Every coupled group of `model` once, from a traced forward pass; give it a copy in eval mode, it will not be the same.

    Raises UnsupportedModelError if the model does not run on `example_input` or the tracer does not understand it.
    """
    stand_ins = cells_stand_in(model)
    for name, layer in list(model.named_modules()):
        if isinstance(layer, nn.PReLU) and layer.num_parameters == 1:  # one slope for all channels: an activation like any other
            model.set_submodule(name, nn.Softplus())
    graph, lost = _build(model, example_input)
    names: dict[Any, str] = {layer: name for name, layer in model.named_modules()}
    names |= {parameter: name for name, parameter in model.named_parameters()}
    widest = max((side for layer in model.modules() for side in _sides(layer)), default=0)
    seen: set[nn.Module] = set()
    for name, layer in model.named_modules():
        if layer in seen or layer not in graph.module2node or not produces(layer):
            continue
        units = width(layer, "out")
        members, refusal = [], ""
        for (node, function), found in _reached(graph, layer, units, widest, lost, names).items():
            out = graph.is_out_channel_pruning_fn(function)
            if out:
                seen.add(node.module)
            beyond = node in lost or any(idx >= widest or unit is None for idx, unit in found)
            refusal = refusal or _refusal(node, out, names, beyond)
            if node.module in names:
                members.append(_member(node, "out" if out else "in", found, names, stand_ins))
        root = stand_ins[layer].layer if layer in stand_ins else name
        yield Coupled(root, units, tuple(members), refusal)


def _build(model: nn.Module, example_input: Tensor) -> tuple[torch_pruning.DependencyGraph, set[Any]]:
    """The graph, and those of its nodes in which torch-pruning could not tell which channels correspond."""
    model.requires_grad_(True)
    graph = torch_pruning.DependencyGraph()
    lost: set[Any] = set()
    try:
        with torch.random.fork_rng(devices=[]), torch.inference_mode(False), torch.enable_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # parameters outside layers: they are members like any other
            graph.build_dependency(model, example_inputs=example_input.detach().clone(), verbose=False)
    except Exception as error:  # whatever the tracer stumbles over, the model is one that it does not understand
        nodes = getattr(graph, "module2node", None)
        if not nodes:
            why = f"with an input of shape {tuple(example_input.shape)}: {first_line(error)}"
            raise UnsupportedModelError(f"the model cannot be traced {why}") from error
        for node in nodes.values():
            try:
                MAPPINGS.get(node.type, lambda *_: None)(graph, node)
            except Exception:  # noqa: BLE001
                lost.add(node)
    return graph, lost


def _reached(
    graph: torch_pruning.DependencyGraph, layer: nn.Module, units: int, widest: int, lost: set[Any], names: Mapping[Any, str]
) -> dict[Any, dict[_Channel, None]]:
    """All channels that must go with the output channels of a layer: by node of the graph and the function that cuts there.

    What torch-pruning's get_pruning_group finds, in time that grows with the channels found, and with an end where its
    index mappings run in circles: at the first channel beyond the `widest` layer. Nodes whose mappings fail are `lost`.
    What cannot be cut is not passed: a group on its other side meets it too.
    """
    start = graph.get_pruner_of_module(layer).prune_out_channels
    reached: dict[Any, dict[_Channel, None]] = {}
    waiting = [(graph.module2node[layer], start, [_Channel(unit, unit) for unit in range(units)])]
    while waiting:
        node, function, arriving = waiting.pop()
        known = reached.setdefault((node, function), {})
        new = dict.fromkeys(channel for channel in arriving if channel not in known)
        known.update(new)
        if any(idx >= widest for idx, _ in new):
            break
        for dependency in node.dependencies if new and _passing(node, names) else ():
            if dependency.is_triggered_by(function):
                try:
                    following = _mapped(dependency, list(new))
                except IndexError:
                    lost.add(node)
                    continue
                if following:
                    waiting.append((dependency.target, dependency.handler, following))
    return reached


def _mapped(dependency: Any, channels: list[_Channel]) -> list[_Channel]:
    for mapping in dependency.index_mapping:
        if mapping is not None:
            channels = mapping(channels)
    return channels


def _refusal(node: Any, out: bool, names: Mapping[Any, str], lost: bool) -> str:
    if out and not node.outputs and not isinstance(node.module, nn.Parameter):
        return "it is the model's output"
    if not _passing(node, names):
        return f"it passes through {node.type.name.lower()}, which cannot be cut"
    return f"the tracer loses its channels in {node.type.name.lower()}" if lost else ""


def _passing(node: Any, names: Mapping[Any, str]) -> bool:
    return node.module in names or node.type in PASSING


def _sides(layer: nn.Module) -> Sequence[int]:
    declared = (width(layer, "out"), width(layer, "in")) if isinstance(layer, Cuttable) else ()
    return (*declared, *(size for parameter in layer.parameters(recurse=False) for size in parameter.shape))


def _member(
    node: Any, role: Role, found: dict[_Channel, None], names: dict[Any, str], stand_ins: dict[nn.Module, Cells]
) -> Member:
    known = [channel for channel in found if channel.root_idx is not None]
    channels, units = [idx for idx, _ in known], [unit for _, unit in known]
    followers = tuple(names.get(follower.module) or _operation(follower) for follower in node.outputs)
    if node.module in stand_ins:
        cells = stand_ins[node.module]
        offset = cells.offset if role == "out" else 0
        return Member(cells.layer, role, [channel + offset for channel in channels], units, None, followers)
    dim = node.pruning_dim if isinstance(node.module, nn.Parameter) else None
    return Member(names[node.module], role, channels, units, dim, followers)


def _operation(node: Any) -> str:
    return str(node.grad_fn.name()) if hasattr(node.grad_fn, "name") else ""
