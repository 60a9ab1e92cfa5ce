"""The largest sliced Wasserstein distance between any two of many classes, without computing most of the distances."""

from collections.abc import Sequence

import torch
from torch import Tensor

from fair_pruner.wasserstein import quantile_means, wasserstein_of_sorted

FEW = 32  # up to so many classes, all distances cost less than bounds for them
CELLS = 16  # parts of [0, 1] on which the bounds look at quantile functions
FIRST = 8  # pairs of each unit, those of the largest bounds, that are measured before the others are sifted
DENSE = 1 / 3  # if a larger share of the pairs is left, all of them, one class against all others, are done sooner
WORKING = 2**20  # numbers in a temporary array (4 MB in float32)


def largest_distance(groups: Sequence[Tensor]) -> tuple[Tensor, int]:
    """For each unit the largest distance between two classes (units,), and how many distances were computed for that.

    `groups` hold the classes by their number of samples n, ascending: (units, classes, n, P) each, sorted along n. The
    distance is `wasserstein_of_sorted`. The result is the maximum over all pairs, up to rounding: a distance is left out
    only if an upper bound on it (see `_bounds`) is not above a distance that was computed.
    Source: the U-Score is of arXiv:2508.02291, taking it as the diameter of a set of points is ours.
    """
    units, count = len(groups[0]), sum(group.shape[1] for group in groups)
    pairs = units * count * (count - 1) // 2
    if count <= FEW:
        return _largest_of_all(groups), pairs
    means, rest, reach = _summaries(groups)
    unit = torch.arange(units, device=means.device)
    best = _distances(groups, unit, *_far_apart(means, reach))

    size = int((reach + reach.amax(1, keepdim=True) > best[:, None]).sum(1).max())
    if size < 2:
        return best, units
    kept = reach.topk(size).indices  # only among these are pairs that can be farther apart than `best`
    upper = _bounds(means, rest, reach, kept).flatten(1)
    first = (upper.topk(min(FIRST, size - 1)).indices + unit[:, None] * size**2).flatten()
    best = _raised(best, groups, kept, first)
    left = upper > best[:, None]
    left.view(-1)[first] = False
    if left.sum() > DENSE * pairs:
        return _largest_of_all(groups), pairs
    later = left.flatten().nonzero().flatten()
    return _raised(best, groups, kept, later), units + len(first) + len(later)


def _summaries(groups: Sequence[Tensor]) -> tuple[Tensor, Tensor, Tensor]:
    """What the bounds need of each class: cell averages, the root mean square of the rest, distance from the centre.

    The averages (units, classes, cells * P) are of the quantile functions, moved so that the classes' mean, the centre, is
    zero. The mean square of the rest (units, classes) is the whole's minus that of the averages. Both numbers (units,
    classes) are raised by what rounding can take from them, and infinite where squares overflow.
    """
    cells = min(CELLS, groups[-1].shape[2])
    middle = groups[0][:, :1, groups[0].shape[2] // 2, None]  # any value near the data keeps the squares small
    means, rest = [], []
    for group in groups:
        n, p = group.shape[2:]
        for block in _blocks(group):
            moved = block - middle
            constant = (moved[:, :, [0, -1]] == 0).all(-1).all(-1)
            means.append(quantile_means(moved, cells).flatten(2))
            explained = means[-1].square().mean(-1)
            whole = moved.square_().mean(-1).mean(-1)
            lost = 8 * _rounding(n + p + cells, whole.dtype) * whole + torch.finfo(whole.dtype).tiny
            rest.append(((whole - explained).clamp_(min=0) + lost).sqrt_().masked_fill_(constant, 0))
    points, beside = torch.cat(means, 1), torch.cat(rest, 1)
    points -= points.mean(1, keepdim=True)
    reach = (points.abs().mean(2) + beside) * _slack(points)
    return points, beside, reach.nan_to_num_(nan=torch.inf, posinf=torch.inf)


def _slack(means: Tensor) -> float:
    """A factor beyond what rounding takes from sums of squares of so many numbers."""
    return 1 + 4 * _rounding(means.shape[2] + 4, means.dtype)


def _rounding(terms: int, dtype: torch.dtype) -> float:
    """Relative rounding error of a sum of so many products, at most. PyTorch can be set to round float32 factors coarsely."""
    cpu = torch.backends.mkldnn.matmul  # type: ignore[attr-defined]  # torch puts it there when it is imported
    layers = torch.backends, torch.backends.mkldnn, cpu, torch.backends.cuda.matmul
    coarse = dtype == torch.float32 and any(layer.fp32_precision in ("tf32", "bf16") for layer in layers)
    return terms * torch.finfo(dtype).eps + (2**-6 if coarse else 0)


def _far_apart(means: Tensor, reach: Tensor) -> tuple[Tensor, Tensor]:
    """Two classes of each unit that are far apart: from the one farthest from the centre to its farthest, and again."""
    unit, one, other = torch.arange(len(means), device=means.device), reach.argmax(1), reach.argmax(1)
    for _ in range(2):
        one, other = other, (means - means[unit, other][:, None]).abs_().mean(2).argmax(1)
    return one, other


def _bounds(means: Tensor, rest: Tensor, reach: Tensor, kept: Tensor) -> Tensor:
    """Upper bounds on the distances between the classes `kept` (units, size): (units, size, size), zero but above the diagonal.

    A distance is a mean of |a - b| over quantiles and projections, so by Cauchy-Schwarz at most the root of the mean of
    (a - b)^2. In each cell split a - b into its average and the rest, which averages zero: their squares add up, and the
    rest of a - b is, as a root mean square, at most that of a plus that of b. All averages come from one matrix product.
    By the triangle inequality a distance is also at most reach(a) + reach(b), the distances from the classes' mean.
    """
    terms = means.shape[2]
    means = means.gather(1, kept[:, :, None].expand(-1, -1, terms))
    rest, reach = rest.gather(1, kept), reach.gather(1, kept)
    square = means.square().sum(2) * (_slack(means) / terms)
    upper = torch.baddbmm(square[:, :, None] + square[:, None], means, means.mT, alpha=-2 / terms)
    upper = upper.clamp_(min=0).add_((rest[:, :, None] + rest[:, None]).square_()).sqrt_()
    upper.nan_to_num_(nan=torch.inf, posinf=torch.inf)
    return torch.minimum(upper, reach[:, :, None] + reach[:, None], out=upper).triu_(1)


def _raised(best: Tensor, groups: Sequence[Tensor], kept: Tensor, chosen: Tensor) -> Tensor:
    """`best`, or the largest distance among the `chosen` places of the flattened bounds if that is larger."""
    size = kept.shape[1]
    unit, row, column = chosen // size**2, chosen // size % size, chosen % size
    return best.scatter_reduce(0, unit, _distances(groups, unit, kept[unit, row], kept[unit, column]), "amax")


def _distances(groups: Sequence[Tensor], unit: Tensor, one: Tensor, other: Tensor) -> Tensor:
    """The distances (pairs,) between classes `one` and `other`, numbered through all groups, for one unit per pair."""
    many = torch.tensor([group.shape[1] for group in groups], device=unit.device)
    starts = many.cumsum(0) - many
    kinds = [torch.searchsorted(starts, which, right=True) - 1 for which in (one, other)]
    kind = kinds[0] * len(groups) + kinds[1]
    found = groups[0].new_empty(len(unit))
    for a, b in (divmod(both, len(groups)) for both in kind.unique().tolist()):
        x, y = groups[a].flatten(0, 1), groups[b].flatten(0, 1)
        for part in (kind == a * len(groups) + b).nonzero().flatten().split(max(1, WORKING // x[0].numel())):
            i, j = one[part] - starts[a] + unit[part] * many[a], other[part] - starts[b] + unit[part] * many[b]
            found[part] = wasserstein_of_sorted(x.index_select(0, i), y.index_select(0, j))
    return found


def _largest_of_all(groups: Sequence[Tensor]) -> Tensor:
    """The largest of all distances (units,), from one class to all later ones at a time."""
    best = groups[0].new_zeros(len(groups[0]))
    for a, group in enumerate(groups):
        for k in range(group.shape[1]):
            for others in (group[:, k + 1 :], *groups[a + 1 :]):
                for block in _blocks(others):
                    best = torch.maximum(best, wasserstein_of_sorted(group[:, k : k + 1], block).amax(1))
    return best


def _blocks(group: Tensor) -> Sequence[Tensor]:
    """The classes of a group (units, classes, n, P) in blocks of at most `WORKING` numbers, or of one class."""
    return group.split(max(1, WORKING // group[:, 0].numel()), dim=1) if group.shape[1] else ()
