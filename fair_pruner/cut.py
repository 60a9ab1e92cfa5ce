"""Take units out of a model's tensors, or silence them there."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping

import torch
from torch import Tensor, nn

from fair_pruner.layers import declare_widths, speaking
from fair_pruner.structure import Group

Pruned = Mapping[str, Collection[int]]  # units that go, by the name of their group


def cut(model: nn.Module, groups: Iterable[Group], pruned: Pruned) -> None:
    """Remove units from every tensor that they have entries in, and make each layer declare its new widths.

    In place as to the model, whose tensors are replaced; the tensors it had are not written to.
    """
    around = speaking(model)
    for (tensor, dim), gone in _entries(groups, pruned, reading_only=False).items():
        layer, name, old = _held(model, tensor)
        keep = torch.ones(old.shape[dim], dtype=torch.bool)
        keep[sorted(gone)] = False
        _replace(layer, name, old, old.detach().index_select(dim, torch.nonzero(keep).flatten().to(old.device)))
    declare_widths(model, around)


def silence(model: nn.Module, groups: Iterable[Group], pruned: Pruned) -> None:
    """Zero every weight that reads these units, likewise: now they have no effect, and removing them must change nothing."""
    for (tensor, dim), gone in _entries(groups, pruned, reading_only=True).items():
        layer, name, old = _held(model, tensor)
        _replace(layer, name, old, old.detach().index_fill(dim, torch.tensor(sorted(gone), device=old.device), 0))


def _held(model: nn.Module, tensor: str) -> tuple[nn.Module, str, Tensor]:
    owner, _, name = tensor.rpartition(".")
    layer = model.get_submodule(owner)
    return layer, name, getattr(layer, name)


def _replace(layer: nn.Module, name: str, old: Tensor, new: Tensor) -> None:
    new = new.contiguous()
    setattr(layer, name, nn.Parameter(new, requires_grad=old.requires_grad) if isinstance(old, nn.Parameter) else new)


def _entries(groups: Iterable[Group], pruned: Pruned, *, reading_only: bool) -> dict[tuple[str, int], set[int]]:
    """Entries to take, by tensor and dimension; a tensor may have entries of several groups."""
    found: dict[tuple[str, int], set[int]] = defaultdict(set)
    for group in groups:
        gone = set(pruned.get(group.name, ()))
        for part in group.slices:
            if gone and (part.reads or not reading_only):
                found[part.tensor, part.dim].update(i for i, unit in enumerate(part.unit_of) if unit in gone)
    return {key: found[key] for key in sorted(found) if found[key]}  # rows first: then there is less to look through
