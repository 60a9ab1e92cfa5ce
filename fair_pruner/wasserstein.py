"""Exact Wasserstein-1 distances between empirical distributions on the line, for many pairs at once."""

import math

import torch
from torch import Tensor


def wasserstein_1d(x: Tensor, y: Tensor) -> Tensor:
    """W1 between the samples x (n, *rest) and y (m, *rest) along the first dimension, one distance per trailing position.

    W1 = integral over q in [0, 1] of |F_x^-1(q) - F_y^-1(q)|, exactly, for any n and m. Returns shape (*rest), >= 0.
    """
    return wasserstein_of_sorted(x.sort(dim=0).values, y.sort(dim=0).values)


def wasserstein_of_sorted(x: Tensor, y: Tensor) -> Tensor:
    """`wasserstein_1d` for samples that are already sorted along the first dimension."""
    n, m = len(x), len(y)
    if n == m:
        return (x - y).abs().mean(dim=0)
    rows_x, rows_y, weights = _merged_quantiles(n, m, x)
    return torch.einsum("q,q...->...", weights, (x[rows_x] - y[rows_y]).abs())


def _merged_quantiles(n: int, m: int, like: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The steps on which both quantile functions are constant: row of x, row of y, and width of each step.

    Breakpoints i/n and j/m are kept as integers over lcm(n, m), so that none is lost or doubled by rounding.
    """
    whole = math.lcm(n, m)
    edges = torch.cat([torch.arange(n + 1) * (whole // n), torch.arange(m + 1) * (whole // m)]).unique()
    starts, widths = edges[:-1], edges.diff()
    rows_x, rows_y = starts // (whole // n), starts // (whole // m)
    return rows_x.to(like.device), rows_y.to(like.device), (widths.to(like.dtype) / whole).to(like.device)
