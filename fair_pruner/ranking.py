"""A score table, sorted once: the depths of any number of plans, by any rule, are then look-ups."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import get_args

import torch
from torch import Tensor

from fair_pruner.errors import SettingError
from fair_pruner.tod import ascending, overlap_by_depth, share_by_depth, tolerance_by_depth
from fair_pruner.types import Rule, ScoreTable, UnitScores

RoundTo = int | Mapping[str, int]  # one multiple for all groups, or one a group, by name


@dataclass(frozen=True, eq=False)
class RankedGroup:
    """One group of n units: `order` (n,) in which they go, lowest signal first, `overlap` and `curve` (ToD) at depth 0..n.

    A unit has `channels` channels. `r_in_order` are the R-Scores in the order of removal,
    `r_descending` the same numbers, the largest first.
    """

    name: str
    units: int
    channels: int
    signal: Tensor
    order: Tensor
    overlap: Tensor
    curve: Tensor
    r_in_order: tuple[float, ...]
    r_descending: tuple[float, ...]

    def lowest(self, depth: int) -> tuple[int, ...]:
        """The `depth` units that go first, by index."""
        return tuple(self.order[:depth].sort().values.tolist())

    @staticmethod
    def of(scores: UnitScores) -> "RankedGroup":
        """Sorts; ties in order of index. Raises SettingError, naming the group, for scores that cannot be ranked."""
        signal = torch.tensor(scores.u_score, dtype=torch.float64)
        r = torch.tensor(scores.r_score, dtype=torch.float64)
        if len(signal) != len(r):
            raise SettingError(f"{scores.name} has {len(signal)} removal scores and {len(r)} R-Scores; give one of each a unit")
        if not (signal.isfinite().all() and r.isfinite().all()):
            raise SettingError(f"{scores.name} has scores that are NaN or infinite; check its outputs on the calibration data")
        order, protection_order = ascending(signal), ascending(-r)
        overlap = overlap_by_depth(order, protection_order)
        return RankedGroup(
            name=scores.name,
            units=scores.units,
            channels=scores.channels,
            signal=signal,
            order=order,
            overlap=overlap,
            curve=share_by_depth(overlap),
            r_in_order=tuple(r[order].tolist()),
            r_descending=tuple(r[protection_order].tolist()),
        )


class Ranking:
    """The groups of a score table, each sorted once by the removal signal and once by R.

    Every rule has one number in (0, 1], and the larger it is the more goes. `tod`: the tolerance; a group loses the
    largest m units with ToD(m) <= tolerance. `uniform`: the pruning ratio; a group of n loses floor(ratio * n) units.
    `global`: the pruning ratio of the whole; of all N units the floor(ratio * N) of lowest signal go, each signal divided
    by its group's mean (LAMP is not divided, being normalised already), ties in order of group, then index.
    In every group the units of lowest signal go. Raises SettingError for scores that cannot be ranked.
    Source of `tod`: arXiv:2508.02291.
    """

    def __init__(self, table: ScoreTable) -> None:
        self.groups = tuple(RankedGroup.of(group) for group in table.groups)
        self._normalised = table.removal == "lamp"

    def depths(
        self, numbers: Sequence[float] | Tensor, *, rule: Rule = "tod", round_to: RoundTo = 1, min_units: int = 1
    ) -> Tensor:
        """How many units each group loses at each of T numbers: int64 (T, groups).

        At least `min_units` units of a group stay, and the number of channels that stay is rounded up to the group's multiple
        (see `multiples`), so rounding never cuts deeper. Raises SettingError for arguments out of range.
        """
        wanted = torch.as_tensor(numbers, dtype=torch.float64)
        for number in wanted[~((wanted > 0) & (wanted <= 1))].tolist():
            raise SettingError(f"{number_name(rule)} is {number}; it must lie in (0, 1]")
        if min_units < 1:
            raise SettingError(f"min_units is {min_units}; it must be at least 1")
        depths = torch.empty(len(wanted), len(self.groups), dtype=torch.int64)
        for column, smallest in enumerate(self.smallest_numbers(rule, min_units)):
            depths[:, column] = torch.searchsorted(smallest, wanted, right=True) - 1
        units = torch.tensor([group.units for group in self.groups], dtype=torch.int64)
        multiple = torch.tensor(self.unit_multiples(round_to), dtype=torch.int64)
        kept = (units - depths + multiple - 1) // multiple * multiple
        return (units - kept).clamp(min=0)

    def multiples(self, round_to: RoundTo) -> list[int]:
        """Per group what its number of channels is rounded up to a multiple of: 1 for a group that a mapping does not name.

        Raises SettingError for a multiple below 1 and for a name that is no group.
        """
        names = [group.name for group in self.groups]
        by_name = dict.fromkeys(names, round_to) if isinstance(round_to, int) else round_to
        for name, multiple in by_name.items():
            if name not in names:
                raise SettingError(f"round_to names {name}, which is no group of the scores")
            if multiple < 1:
                raise SettingError(f"round_to is {multiple} for {name}; it must be at least 1")
        return [by_name.get(name, 1) for name in names]

    def unit_multiples(self, round_to: RoundTo) -> list[int]:
        """Per group what its number of units must be a multiple of, for that of its channels to be one as `multiples` says."""
        of_channels = zip(self.multiples(round_to), self.groups, strict=True)
        return [multiple // math.gcd(multiple, group.channels) for multiple, group in of_channels]

    def critical(self, *, rule: Rule = "tod", min_units: int = 1) -> list[float]:
        """The numbers at which depths change, ascending and exact, after one below them all; between two nothing changes."""
        one = torch.ones(1, dtype=torch.float64)
        smallest = torch.cat([one, *self.smallest_numbers(rule, min_units)]).unique()
        changes: list[float] = smallest[smallest > 0].tolist()
        return [changes[0] / 2, *changes]

    def smallest_numbers(self, rule: Rule, min_units: int) -> list[Tensor]:
        """Per group the smallest number at which at least m units go, non-decreasing over m = 0..n - min_units.

        It is m / n or k / N as floats divide, and floor(ratio * n) stands for the largest m with m / n <= ratio: the
        product in floats would fall short of it, as .29 * 100 < 29.
        """
        limits = [max(0, group.units - min_units) for group in self.groups]
        if rule == "tod":
            return [tolerance_by_depth(group.curve, limit) for group, limit in zip(self.groups, limits, strict=True)]
        if rule == "global":
            places, totals = self._places_among_all(), [sum(group.units for group in self.groups)] * len(self.groups)
        elif rule == "uniform":
            places, totals = [torch.arange(group.units) for group in self.groups], [group.units for group in self.groups]
        else:
            raise SettingError(f"rule is {rule!r}; it must be one of {', '.join(get_args(Rule))}")
        counts = [torch.cat([place.new_zeros(1), place + 1]).double() for place in places]  # the m-th unit goes with so many
        return [count[: limit + 1] / max(1, total) for count, limit, total in zip(counts, limits, totals, strict=True)]

    def _places_among_all(self) -> list[Tensor]:
        """Per group the places of its units, ascending, in the order of all N units by their normalised signal."""
        signals = []
        for group in self.groups:
            if (group.signal < 0).any():
                raise SettingError(f"{group.name} has removal scores below 0, so that its mean is no scale; use another rule")
            mean = 1.0 if self._normalised else float(group.signal.sum()) / max(1, group.units)
            signals.append(group.signal / (mean or 1.0))
        order = ascending(torch.cat([torch.empty(0, dtype=torch.float64), *signals]))
        places = torch.empty_like(order)
        places[order] = torch.arange(len(order))
        return [place.sort().values for place in places.split([group.units for group in self.groups])]


def number_name(rule: Rule) -> str:
    """What the rule's number is called."""
    return "pruning ratio" if rule in ("uniform", "global") else "tolerance"
