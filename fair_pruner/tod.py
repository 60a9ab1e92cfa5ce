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
    n = len(u_score)
    u_rank, r_rank = rank(u_score), rank(-r_score)
    first_depth = torch.maximum(u_rank, r_rank) + 1  # the depth from which on a unit is in both sets
    overlap = torch.bincount(first_depth, minlength=n + 1).cumsum(0)
    return overlap.double() / torch.arange(n + 1).clamp(min=1)


def rank(values: Tensor) -> Tensor:
    """0-based rank of each value in ascending order; ties in order of index."""
    order = values.argsort(stable=True)
    ranks = torch.empty_like(order)
    ranks[order] = torch.arange(len(values))
    return ranks


def depth_at(curve: Tensor, tolerance: float, limit: int) -> int:
    """The largest m <= `limit` with ToD(m) <= `tolerance`; `curve` as from `tod_curve`. 0 <= result <= limit."""
    within = torch.nonzero(curve[: limit + 1] <= tolerance).flatten()
    return int(within[-1])  # ToD(0) = 0 is within every tolerance
