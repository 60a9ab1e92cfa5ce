"""Rounds of pruning: two cuts in a row as one plan for the dense model, and what a plan leaves to cut after another."""

from bisect import bisect_left

from fair_pruner.errors import PlanError
from fair_pruner.types import GroupPlan, PruningPlan


def compose(first: PruningPlan, second: PruningPlan) -> PruningPlan:
    """One plan for the dense model that cuts what `first` and then `second` cut, in the dense numbering.

    `second` was made for the model that `first` had cut: its groups have the units that `first` kept, numbered anew from
    0. A group that is missing in one of them is cut by the other alone.

    `removed_mass`, `mass_bound` and `uniform_mass` are sums over the rounds, each by its own R-Scores; `total_mass` is the
    first round's. `tod` is the share of all units removed that were protected in their round. `unrounded_depth` is the
    depth had the last round not been rounded. `tolerance` is the largest of the rounds; rule, `round_to` and `min_units`
    are the last round's, a group's `round_to` that of the last round that it was in. `rounds` adds up. Raises PlanError if
    the plans do not fit. Ours.
    """
    later = {group.name: group for group in second.groups}
    groups = [_compose(group, later.pop(group.name)) if group.name in later else group for group in first.groups]
    return PruningPlan(
        groups=(*groups, *later.values()),
        tolerance=max(first.tolerance, second.tolerance),
        rule=second.rule,
        round_to=second.round_to,
        min_units=second.min_units,
        uniform_mass=first.uniform_mass + second.uniform_mass,
        rounds=first.rounds + second.rounds,
    )


def remainder(whole: PruningPlan, done: PruningPlan) -> PruningPlan:
    """What `whole` still cuts of the model that `done` has cut, in that model's numbering.

    `compose(done, remainder(whole, done))` removes the same units as `whole`. A group that is missing in `done` is uncut.
    The measures are what composing adds up to those of `whole` again, as far as they stay possible: no mass below 0, no
    `mass_bound` below `removed_mass`, `tod` in [0, 1]. `total_mass` is what `done` left. The settings are those of
    `whole`. Raises PlanError if `done` cuts what `whole` keeps. Ours.
    """
    before = {group.name: group for group in done.groups}
    groups = tuple(_remainder(group, before.pop(group.name)) if group.name in before else group for group in whole.groups)
    for group in before.values():
        if group.pruned:
            raise PlanError(f"{group.name} has been cut already, but it is no group of the whole plan")
    return PruningPlan(
        groups=groups,
        tolerance=whole.tolerance,
        rule=whole.rule,
        round_to=whole.round_to,
        min_units=whole.min_units,
        uniform_mass=max(0.0, whole.uniform_mass - done.uniform_mass),
        rounds=max(1, whole.rounds - done.rounds),
    )


def _compose(first: GroupPlan, second: GroupPlan) -> GroupPlan:
    kept = _kept(first)
    if second.units != len(kept):
        raise PlanError(
            f"{first.name} has {len(kept)} units after the first plan, but the second was made for {second.units}; "
            "score the model that the first plan has cut"
        )
    _kept(second)
    depth = first.depth + second.depth
    return GroupPlan(
        name=first.name,
        units=first.units,
        pruned=tuple(sorted([*first.pruned, *(kept[unit] for unit in second.pruned)])),
        tod=(_overlap(first) + _overlap(second)) / max(depth, 1),
        removed_mass=first.removed_mass + second.removed_mass,
        mass_bound=first.mass_bound + second.mass_bound,
        total_mass=first.total_mass,
        unrounded_depth=first.depth + second.unrounded_depth,
        round_to=second.round_to,
    )


def _remainder(whole: GroupPlan, done: GroupPlan) -> GroupPlan:
    if whole.units != done.units:
        raise PlanError(f"{whole.name} has {whole.units} units in the whole plan and {done.units} in the one that is done")
    _kept(whole)
    kept = _kept(done)
    left = sorted(set(whole.pruned) - set(done.pruned))
    if len(left) != whole.depth - done.depth:
        unit = min(set(done.pruned) - set(whole.pruned))
        raise PlanError(f"unit {unit} of {whole.name} has been cut already, but the whole plan keeps it")
    removed = max(0.0, whole.removed_mass - done.removed_mass)
    return GroupPlan(
        name=whole.name,
        units=len(kept),
        pruned=tuple(bisect_left(kept, unit) for unit in left),
        tod=min(max(_overlap(whole) - _overlap(done), 0), len(left)) / max(len(left), 1),
        removed_mass=removed,
        mass_bound=max(removed, whole.mass_bound - done.mass_bound),
        total_mass=max(removed, whole.total_mass - done.removed_mass),
        unrounded_depth=max(len(left), whole.unrounded_depth - done.depth),
        round_to=whole.round_to,
    )


def _kept(group: GroupPlan) -> list[int]:
    """The units that stay, ascending; raises PlanError if the plan names one twice or one there is not, or leaves none."""
    kept = sorted(set(range(group.units)) - set(group.pruned))
    if len(kept) != group.units - group.depth:
        raise PlanError(f"{group.name} has {group.units} units, but its plan names one that it has not, or one twice")
    if not kept:
        raise PlanError(f"{group.name} has no unit left; keep at least one")
    return kept


def _overlap(group: GroupPlan) -> int:
    """How many of the removed units were among as many protected ones."""
    return round(group.tod * group.depth)
