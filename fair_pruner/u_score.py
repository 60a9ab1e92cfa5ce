"""U-Score: how far apart a unit's outputs are for the two classes that it separates best. Low = removable."""

import torch
from torch import Tensor

from fair_pruner.errors import CalibrationError
from fair_pruner.wasserstein import wasserstein_of_sorted


def u_score(values: Tensor, labels: Tensor) -> Tensor:
    """U_j = max over pairs of classes of the Wasserstein-1 distance between the unit's outputs for the two.

    `values` (n, units, P) are the outputs of n samples, projected on P directions (P = 1 for an output that is a number);
    the distance is the mean over directions of the exact one-dimensional W1. `labels` (n,) are the samples' classes.
    Returns (units,), >= 0, in the units of the output. Raises CalibrationError for fewer than two classes.
    Source: arXiv:2508.02291.
    """
    classes = labels.unique()
    if len(classes) < 2:
        raise CalibrationError(f"calibration holds {len(classes)} class(es); the U-Score compares classes, give at least two")
    by_class = [values[labels == label].sort(dim=0).values for label in classes]
    best = values.new_zeros(values.shape[1])
    for i, first in enumerate(by_class):
        for second in by_class[:i]:
            best = torch.maximum(best, wasserstein_of_sorted(first, second).mean(dim=-1))
    return best


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
