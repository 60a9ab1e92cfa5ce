"""From scores to a plan: how deep each group is cut, and which units go."""

import math
from collections.abc import Sequence
from typing import Literal

from fair_pruner.guarantee import mass_bound, uniform_depths
from fair_pruner.ranking import RankedGroup, Ranking, RoundTo
from fair_pruner.rounding import Latency, resolved
from fair_pruner.types import GroupPlan, PruningPlan, Rule, ScoreTable


def allocate(
    table: ScoreTable | Ranking,
    *,
    tolerance: float,
    round_to: RoundTo | Literal["auto"] = 1,
    min_units: int = 1,
    rule: Rule = "tod",
    latency: Latency | None = None,
) -> PruningPlan:
    """The plan at one number in (0, 1]: in each group the units of lowest removal signal go, as many as the rule says.

    `rule` "tod": the largest m units with ToD(m) <= tolerance, at most n / (2 - tolerance) of a group's n. With the two
    baselines `tolerance` is a pruning ratio. "uniform": every group loses floor(tolerance * n) units. "global": of all N
    units the floor(tolerance * N) of lowest signal, divided by their group's mean, go. At least `min_units` units of a
    group stay, and the number of their channels is rounded up to a multiple of `round_to`, so that rounding never cuts deeper.
    That is one number, or one a group by its name, or "auto": those that `choose_multiples` finds with `latency`, which
    predicts the milliseconds of the model after a plan.

    Milliseconds; for many plans of one table give a `Ranking`, which has sorted already. Raises SettingError for arguments
    out of range. Source of "tod": arXiv:2508.02291.
    """
    ranking = table if isinstance(table, Ranking) else Ranking(table)
    rounding = resolved(round_to, ranking, tolerance, latency, rule=rule, min_units=min_units)
    depths, unrounded = (
        ranking.depths((tolerance,), rule=rule, round_to=each, min_units=min_units)[0].tolist() for each in (rounding, 1)
    )
    return plan_of(ranking, depths, unrounded, number=tolerance, round_to=rounding, min_units=min_units, rule=rule)


def plan_of(
    ranking: Ranking,
    depths: Sequence[int],
    unrounded: Sequence[int],
    *,
    number: float,
    round_to: RoundTo,
    min_units: int,
    rule: Rule,
) -> PruningPlan:
    """The plan that takes so many units of each group, by the settings given; `unrounded` are the depths before rounding."""
    multiples = ranking.multiples(round_to)
    uniform = uniform_depths([group.units for group in ranking.groups], sum(depths), min_units)
    return PruningPlan(
        groups=tuple(_cut(*each) for each in zip(ranking.groups, depths, unrounded, multiples, strict=True)),
        tolerance=number,
        rule=rule,
        round_to=round_to if isinstance(round_to, int) else math.gcd(*multiples),
        min_units=min_units,
        uniform_mass=math.fsum(_mass(*each) for each in zip(ranking.groups, uniform, strict=True)),
    )


def _cut(group: RankedGroup, depth: int, unrounded: int, multiple: int) -> GroupPlan:
    return GroupPlan(
        name=group.name,
        units=group.units,
        pruned=group.lowest(depth),
        tod=float(group.curve[depth]),
        removed_mass=_mass(group, depth),
        mass_bound=mass_bound(group.r_descending, depth, int(group.overlap[depth])),
        total_mass=math.fsum(group.r_descending),
        unrounded_depth=unrounded,
        round_to=multiple,
    )


def _mass(group: RankedGroup, depth: int) -> float:
    return math.fsum(group.r_in_order[:depth])
