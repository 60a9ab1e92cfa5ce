"""Copies of a model to try things on, which take no more memory than they must."""

import copy

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from fair_pruner.errors import UnsupportedModelError, first_line


def sharing(model: nn.Module) -> nn.Module:
    """A copy in eval mode over the same weights: flags and modules are its own, and so are its buffers."""
    plain = [p for p in model.parameters() if type(p) is nn.Parameter]
    shared: dict[int, Tensor] = {id(p): nn.Parameter(p.detach(), requires_grad=p.requires_grad) for p in plain}
    return _copied(model, shared).eval()


def unset(model: nn.Module, dtype: torch.dtype) -> nn.Module:
    """A copy in eval mode whose parameters have values yet to be set; they and the buffers are of `dtype`, integers aside."""
    own: dict[int, Tensor] = {
        id(p): nn.Parameter(torch.empty_like(p, dtype=dtype, requires_grad=False), requires_grad=False)
        for p in model.parameters()
        if type(p) is nn.Parameter and p.is_floating_point()
    }
    return _copied(model, own).eval().to(dtype)


def independent(model: nn.Module) -> nn.Module:
    """A full copy, in the modes of the model."""
    return _copied(model, {})


def _copied(model: nn.Module, memo: dict[int, Tensor]) -> nn.Module:
    if isinstance(model, torch.jit.ScriptModule):
        raise UnsupportedModelError("the model is a TorchScript module; give the nn.Module that it was made from")
    for name, layer in model.named_modules():
        if any(is_lazy(tensor) for tensor in layer.parameters(recurse=False)):
            raise UnsupportedModelError(f"{name} has no shape yet; run the model once on an input first")
        computed = next(
            (key for key, value in vars(layer).items() if isinstance(value, Tensor) and value.grad_fn is not None), None
        )
        if computed:
            raise UnsupportedModelError(
                f"{name}.{computed} is computed from other tensors; undo that first (remove_weight_norm or the like)"
            )
    try:
        return copy.deepcopy(model, memo)  # by id, what stands for each tensor
    except Exception as error:
        raise UnsupportedModelError(f"the model cannot be copied: {first_line(error)}") from error
