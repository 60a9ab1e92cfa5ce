"""What the ranks alone guarantee about the R-mass that a plan removes."""

import math
from collections.abc import Sequence


def mass_bound(r_descending: Sequence[float], depth: int, overlap: int) -> float:
    """The most R-mass that `depth` = m removed units can hold if `overlap` = k of them are among the m units of highest R.

    `r_descending` has the group's n R-Scores, the largest first: R_(1) >= ... >= R_(n). The bound is
    (R_(1) + ... + R_(k)) + (R_(m+1) + ... + R_(2m-k)).

    Proof. Call the m units of highest R the protected tail; of equal scores those of lower index belong to it.
    1. k removed units lie in the tail. Any k units weigh at most as much as the k heaviest: the first sum.
    2. The other m - k removed units lie outside the tail. What is outside has the scores R_(m+1), ..., R_(n), also where
       R_(m) = R_(m+1), since the tail is m units whichever way ties are broken. Any m - k of these weigh at most as much as
       the m - k heaviest of them: the second sum. There are enough: the m - k units are m - k of the n - m outside, so
       2m - k <= n.
    3. One more unit of overlap puts R_(k+1) in the place of R_(2m-k), which is not larger as k + 1 <= 2m - k. So the
       bound only grows with k, and k <= tolerance * m, which ToD gives, may be used in the place of k itself.
    Nothing is assumed of the scores but their order; they need not be positive. The sums are rounded once (`math.fsum`),
    and rounding keeps order, so the removed mass, summed in the same way, does not exceed the bound in floats either.

    Both sums can be attained, so no better bound follows from m and k alone. The bound is ours.
    """
    return math.fsum([*r_descending[:overlap], *r_descending[depth : 2 * depth - overlap]])


def uniform_depths(sizes: Sequence[int], total: int, min_units: int) -> list[int]:
    """How many units each group of `sizes` loses if `total` go and every group loses the same share, to the unit.

    Shares are rounded down, and what is then missing goes to the largest remainders, equal ones in order of group. A
    group that would be left with fewer than `min_units` units stops there, and the others share the rest. `total` must not
    exceed what all groups can lose. Whole numbers throughout, so the sum is exactly `total`. Ours.
    """
    depths, left = [0] * len(sizes), total
    caps = [max(0, size - min_units) for size in sizes]
    sharing = list(range(len(sizes)))
    while True:
        width = sum(sizes[i] for i in sharing)
        full = [i for i in sharing if caps[i] * width <= left * sizes[i]]
        if not full:
            break
        for i in full:
            depths[i] = caps[i]
        left -= sum(caps[i] for i in full)
        sharing = [i for i in sharing if i not in full]
    for i in sharing:
        depths[i] = left * sizes[i] // width
    missing = total - sum(depths)
    for i in sorted(sharing, key=lambda i: -(left * sizes[i] % width))[:missing]:
        depths[i] += 1
    return depths
