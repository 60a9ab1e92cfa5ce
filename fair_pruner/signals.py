"""Removal signals beside the U-Score: what else may propose which units go. Low = removable."""

import zlib
from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor, nn

from fair_pruner.errors import SettingError
from fair_pruner.gather import of_all, sum_of_all
from fair_pruner.layers import BatchNorm
from fair_pruner.structure import Group
from fair_pruner.types import Removal
from fair_pruner.u_score import directions, u_score

WeightSignal = Callable[[Group, nn.Module], Tensor]  # gives (units,)


class Reader(Protocol):
    """Gathers what one producer puts out, batch by batch."""

    stored_bytes: int

    def clear(self) -> None:
        """Forget what was added."""
        ...

    def add(self, maps: Tensor) -> None:
        """Take in the outputs (n, channels, positions) of one batch."""
        ...

    def value(self, labels: Tensor) -> Tensor:
        """The signal per channel (channels,); `labels` (samples,) are the classes of all samples that were added."""
        ...


class Projections:
    """For the U-Score: every map is projected as it comes, and only its projections are stored."""

    def __init__(self, projections: int, seed: int) -> None:
        self.projections, self.seed, self.stored_bytes = projections, seed, 0
        self.stored: list[Tensor] = []
        self._directions: Tensor | None = None

    def add(self, maps: Tensor) -> None:
        """Project and keep (n, channels, P)."""
        if self._directions is None or len(self._directions) != maps.shape[2]:
            self._directions = directions(maps.shape[2], self.projections, self.seed, maps)
        self.stored.append((maps @ self._directions).cpu())
        self.stored_bytes += self.stored[-1].nbytes

    def value(self, labels: Tensor) -> Tensor:
        """U per channel; what was stored is given up."""
        values = of_all(torch.cat(self.stored))
        self.clear()
        return u_score(values, labels)

    def clear(self) -> None:
        """Forget what was added."""
        self.stored, self.stored_bytes = [], 0


class Averaged:
    """The mean over samples of a number per channel; nothing else is stored."""

    stored_bytes = 0

    def __init__(self, number: Callable[[Tensor], Tensor]) -> None:
        self.number = number  # (n, channels, positions) -> (n, channels)
        self.total = torch.zeros(())

    def add(self, maps: Tensor) -> None:
        """Add up the number over samples."""
        self.total = self.total + self.number(maps).double().sum(dim=0).cpu()

    def value(self, labels: Tensor) -> Tensor:
        """The mean per channel."""
        return sum_of_all(self.total) / len(labels)

    def clear(self) -> None:
        """Forget what was added."""
        self.total = torch.zeros(())


def mean_activation(maps: Tensor) -> Tensor:
    """Mean absolute output over positions (n, channels); arXiv:1611.06440 compares it."""
    return maps.abs().mean(dim=2)


def map_rank(maps: Tensor) -> Tensor:
    """Rank of each feature map (n, channels), read as a matrix of its most square shape; HRank, arXiv:2002.10179."""
    positions = maps.shape[2]
    rows = next(rows for rows in range(int(positions**0.5), 0, -1) if positions % rows == 0)
    ranks: Tensor = torch.linalg.matrix_rank(maps.unflatten(2, (rows, positions // rows)).float())
    return ranks


def filters(group: Group, model: nn.Module) -> Tensor:
    """The weights that make each unit, from all producers: (units, weights). Raises SettingError if units differ in size."""
    parts = []
    for part in group.slices:
        layer, _, name = part.tensor.rpartition(".")
        weight = dict(model.named_parameters()).get(part.tensor)
        if part.dim or part.reads or weight is None or weight.dim() < 2 or layer not in {p.layer for p in group.producers}:
            continue
        rows = weight.detach().flatten(1)
        unit_of = torch.tensor(part.unit_of)
        order = unit_of.argsort(stable=True)[(unit_of < 0).sum() :].to(rows.device)
        if len(order) % group.units:
            raise SettingError(f"the units of {group.name} are not of one size, so their {name}s cannot be compared")
        parts.append(rows[order].reshape(group.units, -1).double().cpu())
    return torch.cat(parts, dim=1)


def _l1(group: Group, model: nn.Module) -> Tensor:
    return filters(group, model).abs().sum(dim=1)


def _l2(group: Group, model: nn.Module) -> Tensor:
    norms: Tensor = filters(group, model).norm(dim=1)
    return norms


def _fpgm(group: Group, model: nn.Module) -> Tensor:
    """Summed distance to all other filters: those near the geometric median are replaceable (arXiv:1811.00250)."""
    weights = filters(group, model)
    return torch.cdist(weights, weights).sum(dim=1)


def _lamp(group: Group, model: nn.Module) -> Tensor:
    """Squared norm over the sum of all squared norms that are no smaller (arXiv:2010.07611), per unit."""
    squares = filters(group, model).square().sum(dim=1)
    order = squares.argsort(stable=True)
    remaining = squares[order].flip(0).cumsum(0).flip(0)
    scores = torch.empty_like(squares)
    scores[order] = squares[order] / remaining.clamp(min=torch.finfo(squares.dtype).tiny)
    return scores


def _bn_scale(group: Group, model: nn.Module) -> Tensor:
    """Mean absolute scale of the BatchNorms behind the producers (arXiv:1708.06519)."""
    modules, scales = dict(model.named_modules()), []
    for producer in group.producers:
        norm = modules[producer.norm.layer]
        if isinstance(norm, BatchNorm) and norm.affine:
            unit_of = torch.tensor(producer.norm.unit_of)
            summed = torch.zeros(group.units, dtype=torch.float64)
            summed.index_add_(0, unit_of[unit_of >= 0], norm.weight.detach().abs().double().cpu()[unit_of >= 0])
            scales.append(summed)
    if not scales:
        raise SettingError(f"bn_scale needs a BatchNorm behind every producer, and {group.name} has none; take another signal")
    return torch.stack(scales).mean(dim=0)


def _group_norm(group: Group, model: nn.Module) -> Tensor:
    """Mean squared L2 norm over all weights that go with a unit: filters, scales of norms, and the columns that read it.

    As torch-pruning's GroupMagnitudeImportance (arXiv:2301.12900): of every coupled tensor the sum of squares of a unit's
    entries, then the mean over tensors. Biases do not count; depthwise filters do, which torch-pruning leaves out.
    """
    parameters, modules = dict(model.named_parameters()), dict(model.named_modules())
    norms = []
    for part in group.slices:
        layer, _, name = part.tensor.rpartition(".")
        if part.tensor not in parameters or "weight" not in name or isinstance(modules[layer], nn.PReLU):
            continue
        weight, unit_of = parameters[part.tensor].detach().double().cpu(), torch.tensor(part.unit_of)
        squares = weight.movedim(part.dim, 0).reshape(len(unit_of), -1).square().sum(dim=1)
        norms.append(torch.zeros(group.units, dtype=torch.float64).index_add_(0, unit_of[unit_of >= 0], squares[unit_of >= 0]))
    return torch.stack(norms).mean(dim=0)


def random_signal(seed: int) -> WeightSignal:
    """A signal that says nothing: seeded uniform numbers, others for each group."""

    def draw(group: Group, _: nn.Module) -> Tensor:
        generator = torch.Generator().manual_seed(seed + zlib.crc32(group.name.encode()))
        return torch.rand(group.units, generator=generator, dtype=torch.float64)

    return draw


WEIGHT_SIGNALS: dict[Removal, WeightSignal] = {
    "l1": _l1,
    "l2": _l2,
    "group_norm": _group_norm,
    "fpgm": _fpgm,
    "lamp": _lamp,
    "bn_scale": _bn_scale,
}


def reader_for(removal: Removal, projections: int, seed: int) -> Reader | None:
    """What gathers a signal from outputs, or None for one that needs none."""
    if removal == "wasserstein":
        return Projections(projections, seed)
    numbers: dict[Removal, Callable[[Tensor], Tensor]] = {"hrank": map_rank, "mean_activation": mean_activation}
    return Averaged(numbers[removal]) if removal in numbers else None
