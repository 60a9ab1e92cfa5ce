"""Tolerance of Difference: how many of the units proposed for removal are among those to protect, at every depth."""

import torch
from torch import Tensor

from fair_pruner.errors import SettingError


def tod_curve(u_score: Tensor, r_score: Tensor) -> Tensor:
    """ToD(m) = |Rem(m) & Prot(m)| / max(m, 1) for m = 0..n, as float64 (n + 1,), each in [0, 1].

    Rem(m) are the m units of lowest U, Prot(m) the m units of highest R; both scores have shape (n,). Ties go to the
    lower index. One sort each and one cumulative count give the whole curve. Raises SettingError if the shapes differ or
    a score is not finite. Source: arXiv:2508.02291.
    """
    if u_score.dim() != 1 or u_score.shape != r_score.shape:
        raise SettingError(f"u_score {tuple(u_score.shape)} and r_score {tuple(r_score.shape)} must be vectors of one length")
    if not (u_score.isfinite().all() and r_score.isfinite().all()):
        raise SettingError("scores hold NaN or infinity; check the model's outputs on the calibration data")
    return share_by_depth(overlap_by_depth(ascending(u_score), ascending(-r_score)))


def ascending(values: Tensor) -> Tensor:
    """Indices (n,) that sort `values` upwards; ties in order of index."""
    return values.argsort(stable=True)


def overlap_by_depth(removal_order: Tensor, protection_order: Tensor) -> Tensor:
    """|Rem(m) & Prot(m)| for m = 0..n, int64 (n + 1,), from the order (n,) in which units go and that of falling R."""
    n = len(removal_order)
    position = torch.empty(2, n, dtype=torch.int64)
    position[0, removal_order] = position[1, protection_order] = torch.arange(n)
    from_depth = position.amax(dim=0) + 1  # the depth from which on a unit is in both sets
    return torch.bincount(from_depth, minlength=n + 1).cumsum(0)


def share_by_depth(overlap: Tensor) -> Tensor:
    """ToD(m), float64 (n + 1,), from the overlap at every depth."""
    return overlap.double() / torch.arange(len(overlap)).clamp(min=1)


def tolerance_by_depth(curve: Tensor, limit: int) -> Tensor:
    """For m = 0..limit the smallest tolerance at which at least m units go, non-decreasing, float64 (limit + 1,).

    `curve` is ToD(0..n). The depth at a tolerance is the largest m <= limit with ToD(m) <= tolerance, so at least m go as
    soon as any depth from m on is within it: this is the minimum of the curve over m..limit.
    """
    return curve[: limit + 1].flip(0).cummin(0).values.flip(0)
