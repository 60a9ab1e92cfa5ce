"""U-Score: how far apart a unit's outputs are for the two classes that it separates best. Low = removable."""

from typing import NamedTuple

import torch
from torch import Tensor

from fair_pruner.diameter import largest_distance
from fair_pruner.errors import CalibrationError
from fair_pruner.wasserstein import sort_samples_

WORKING = 2**21  # numbers of which a block of samples is sorted, or a chunk of units compared, at once (8 MB in float32)


class Diameter(NamedTuple):
    """For each unit the largest distance between two classes; of `pairs` distances over all units, `evaluated` were computed."""

    distance: Tensor
    evaluated: int
    pairs: int


def u_score(values: Tensor, labels: Tensor) -> Tensor:
    """U_j = max over pairs of classes of the Wasserstein-1 distance between the unit's outputs for the two.

    `values` (n, units, P) are the outputs of n samples, projected on P directions (P = 1 for an output that is a number);
    the distance is the mean over directions of the exact one-dimensional W1. `labels` (n,) are the samples' classes.
    Returns (units,), >= 0, in the units of the output. Raises CalibrationError for fewer than two classes.
    Source: arXiv:2508.02291.
    """
    return class_diameter(values, labels).distance


def class_diameter(values: Tensor, labels: Tensor) -> Diameter:
    """`u_score`, and how many distances between classes it took.

    Units are worked through in chunks. Memory besides `values`: about 60 MB in float32 or, if that is more, three times the
    values and 16 bytes x classes^2 of one unit.
    """
    classes, member, counts = labels.unique(return_inverse=True, return_counts=True)
    if len(classes) < 2:
        raise CalibrationError(f"calibration holds {len(classes)} class(es); the U-Score compares classes, give at least two")
    by_size = counts.argsort(stable=True)
    order = by_size.argsort()[member].argsort(stable=True).to(values.device)  # samples by size of class, then class
    sizes, many = counts[by_size].unique_consecutive(return_counts=True)
    shapes = zip(many.tolist(), sizes.tolist(), strict=True)
    rows = [part.view(shape) for part, shape in zip(order.split((many * sizes).tolist()), shapes, strict=True)]
    samples, units, projections = values.shape
    distance, evaluated = values.new_zeros(units), 0
    chunk = max(1, WORKING // (samples * projections + len(classes) ** 2))
    for start in range(0, units, chunk):
        part = values.detach()[:, start : start + chunk]
        distance[start : start + chunk], computed = largest_distance([_sorted_samples(part, places) for places in rows])
        evaluated += computed
    return Diameter(distance, evaluated, units * len(classes) * (len(classes) - 1) // 2)


def _sorted_samples(values: Tensor, rows: Tensor) -> Tensor:
    """The samples at `rows` (classes, n) of `values` (samples, units, P) as (units, classes, n, P), sorted along n."""
    (classes, n), (_, units, projections) = rows.shape, values.shape
    result = values.new_empty(units, classes, n, projections)
    step = max(1, WORKING // (n * units * projections))
    for places, target in zip(rows.split(step), result.split(step, dim=1), strict=True):
        block = sort_samples_(values.index_select(0, places.T.flatten()).view(n, -1))
        target.copy_(block.view(n, -1, units, projections).permute(2, 1, 0, 3))
    return result


def directions(positions: int, projections: int, seed: int, like: Tensor) -> Tensor:
    """Random unit vectors (positions, P) for maps of `positions` values, P = `projections`; equal for equal arguments.

    A single position needs no direction: P is then 1 and the vector is (1,).
    """
    if positions == 1:
        return torch.ones(1, 1, dtype=like.dtype, device=like.device)
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.randn(positions, projections, generator=generator, dtype=torch.float64)
    unit: Tensor = drawn / drawn.norm(dim=0)
    return unit.to(like)


def project(output: Tensor, channel_dim: int, projections: int, seed: int) -> Tensor:
    """A layer's output (n, ..., channels at `channel_dim`, ...) as (n, channels, P): each channel's map on the directions."""
    maps = output.detach().movedim(channel_dim, 1).flatten(2) if output.dim() > 2 else output.detach()[:, :, None]
    return maps @ directions(maps.shape[2], projections, seed, maps)
