"""What speaks against cutting a group: layers that cannot be cut, or must not be, each by its name."""

from collections import Counter
from collections.abc import Collection, Iterator, Sequence

import torch
from torch import Tensor, nn

from fair_pruner.attention import SelfAttention
from fair_pruner.errors import UnsupportedModelError, first_line
from fair_pruner.layers import BatchNorm, Cuttable, Recurrent, Role, entries, is_block, is_depthwise, produces, width
from fair_pruner.merge import Merged


class Objections:
    """Made from a model that has just run once, with the number of `calls` of each layer."""

    def __init__(self, model: nn.Module, calls: Counter[nn.Module], ignore: Sequence[str], embedding: bool) -> None:
        self.modules, self.calls, self.ignore, self.embedding = dict(model.named_modules()), calls, ignore, embedding
        named = list(model.named_parameters(remove_duplicate=False))
        self.sizes = {name: parameter.shape for name, parameter in named}
        count = Counter(id(parameter) for _, parameter in named)
        self.tied = {name for name, parameter in named if count[id(parameter)] > 1}

    def to_group(self, merged: Merged) -> str:
        """Why a group must not be cut, or nothing."""
        if merged.refusal:
            return merged.refusal
        for name, role in merged.members:
            if is_block(self.modules.get(name)) and not {(name, "out"), (name, "in")} <= merged.members.keys():
                return f"{name} is a grouped convolution, whose {'input' if role == 'out' else 'output'} would have to go too"
        reasons = (
            self._to_parameter(name, member.dim, max(merged.unit_of[name, role]))
            if member.dim is not None
            else self._to_layer(name, role, max(merged.unit_of[name, role]))
            for (name, role), member in merged.members.items()
        )
        return next(filter(None, reasons), "")

    def to_heads(self, name: str) -> str:
        """Why the heads of an attention module must not be cut, or nothing."""
        module = self.modules[name]
        if isinstance(module, SelfAttention) and not module.plain:
            return f"{name} is given a mask, or more than one tensor; only plain self-attention can be cut"
        return self._to_layer(f"{name}.qkv", "out", 0) or self._to_layer(f"{name}.proj", "in", 0)

    def to_the_rest(self, producers: Collection[str]) -> Iterator[str]:
        """Of layers with units that are among no group's `producers`: their names, and why."""
        inside: tuple[str, ...] = ()
        for name, layer in self.modules.items():
            if isinstance(layer, nn.MultiheadAttention):
                inside = (*inside, f"{name}.")
                yield f"{name}: the heads of a MultiheadAttention of this kind, or in this place, cannot be cut"
            elif name in producers or name.startswith(inside) or not _of_torch_with_units(layer):
                continue
            elif produces(layer) or (isinstance(layer, Recurrent) and not layer.proj_size):
                yield f"{name}: the tracer does not come to it"
            else:
                yield f"{name}: {type(layer).__name__} cannot be cut"

    def _to_parameter(self, name: str, dim: int, highest: int) -> str:
        if self._ignored(name):
            return f"{name} is in ignore"
        if name in self.tied:
            return f"{name} is one parameter under several names"
        if highest >= self.sizes[name][dim]:
            return f"the tracer found channel {highest} in {name}, which has {self.sizes[name][dim]}"
        return ""

    def _to_layer(self, name: str, role: Role, highest: int) -> str:
        layer = self.modules[name]
        if role == "out" and self._ignored(name):
            return f"{name} is in ignore"
        if not isinstance(layer, Cuttable) or (isinstance(layer, Recurrent) and layer.proj_size):
            return f"{name} ({type(layer).__name__}) cannot be cut"
        if not all(_holds(layer, tensor) for tensor in _needed(layer)):
            return f"{name} computes its weight from other tensors, which cannot be cut"
        if isinstance(layer, nn.Embedding) and layer.max_norm is not None:
            return f"{name} rescales its rows (max_norm), which cannot be cut"
        if isinstance(layer, nn.LayerNorm) and len(layer.normalized_shape) > 1:
            return f"{name} normalises over {len(layer.normalized_shape)} dimensions, which cannot be cut"
        if role == "out" and not any(True for _ in entries(layer, role)):
            return f"{name} has no tensor that would tell its width"
        if isinstance(layer, nn.LayerNorm) and not self.embedding:
            return f"{name} normalises over it; this width is cut only on request (embedding)"
        if self.calls[layer] > 1:
            return f"{name} runs {self.calls[layer]} times in one forward pass"
        if any(f"{name}.{tensor}" in self.tied for tensor, _ in layer.named_parameters(recurse=False)):
            return f"{name} shares a parameter with another layer"
        if highest >= width(layer, role):
            return f"the tracer found channel {highest} in {name}, which has {width(layer, role)}"
        return ""

    def _ignored(self, name: str) -> bool:
        return any(under(name, prefix) for prefix in self.ignore)


def count_calls(model: nn.Module, example_input: Tensor) -> Counter[nn.Module]:
    """How often each layer runs in one forward pass; raises UnsupportedModelError unless that gives a tensor."""
    calls: Counter[nn.Module] = Counter()
    layers = [module for module in model.modules() if isinstance(module, Cuttable)]
    hooks = [layer.register_forward_hook(lambda module, *_: calls.update([module])) for layer in layers]
    try:
        with torch.random.fork_rng(devices=[]), torch.no_grad():
            output = model(example_input)
    except Exception as error:
        shape = tuple(example_input.shape)
        raise UnsupportedModelError(f"the model does not run on an input of shape {shape}: {first_line(error)}") from error
    finally:
        for hook in hooks:
            hook.remove()
    if not isinstance(output, Tensor):
        raise UnsupportedModelError(f"the model returns a {type(output).__name__}; it must return one tensor, the logits")
    return calls


def under(name: str, prefix: str) -> bool:
    """Whether a dotted name is `prefix` or lies within it."""
    return name == prefix or name.startswith(prefix + ".")


def _of_torch_with_units(layer: nn.Module) -> bool:
    """Whether this is a layer of torch's own with weights from channels to channels; a depthwise convolution is not."""
    if not type(layer).__module__.startswith("torch.nn.modules") or is_depthwise(layer):
        return False
    return any(tensor.dim() > 1 for tensor in layer.parameters(recurse=False)) and not isinstance(layer, nn.ParameterList)


def _needed(layer: nn.Module) -> Sequence[str]:
    """Tensors that a layer computes with in any case."""
    if isinstance(layer, Recurrent):
        return [name for name in layer._flat_weights_names if "weight" in name]
    return [] if isinstance(layer, (*BatchNorm, nn.LayerNorm)) else ["weight"]


def _holds(layer: nn.Module, tensor: str) -> bool:
    """Whether a layer has a tensor as a parameter of its own, not computed from others as parametrizations do."""
    return layer._parameters.get(tensor) is not None
