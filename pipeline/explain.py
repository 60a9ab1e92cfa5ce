"""Why each group is cut as deep as it is, and why others are left out."""

import difflib
import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from scipy.stats import rankdata

from fair_pruner import Ranking, find_groups
from fair_pruner.groups import refusals
from fair_pruner.guarantee import uniform_depths
from fair_pruner.ranking import RankedGroup, RoundTo
from pipeline.config import AllocateConfig, ModelConfig
from pipeline.errors import InputError
from pipeline.models import build_model, example_input
from pipeline.records import Architecture, Depth, PlanRecord

NEAR, FEW = 3, 5


@dataclass(frozen=True)
class Cut:
    """What one plan does to a group, and why not more. `cap` is the most units that its tolerance can ever remove."""

    plan: PlanRecord
    depth: Depth
    reason: str
    cap: int | None
    uniform_depth: int
    uniform_mass: float


@dataclass(frozen=True)
class Explanation:
    """One group: ToD at depth 0..units, Spearman's correlation of removal signal and R-Score, and each plan's cut.

    The correlation is 1 if both rank the units alike, and none if one of them has the same value for all units.
    """

    name: str
    kind: str
    units: int
    curve: tuple[float, ...]
    correlation: float | None
    cuts: tuple[Cut, ...]


@dataclass(frozen=True)
class Structure:
    """Names of the groups that may be cut, and by name why others may not."""

    groups: tuple[str, ...]
    refused: dict[str, str]


def structure(architecture: Architecture, config: ModelConfig) -> Structure:
    """The groups of a network, found on trial without its own weights."""
    with torch.random.fork_rng(devices=[]):
        model = build_model(architecture)
    inputs, chosen = example_input(architecture, batch=2), config.ignore
    found = find_groups(model, inputs, chosen, embedding=config.embedding)
    reasons = (line.partition(": ") for line in refusals(model, inputs, chosen, embedding=config.embedding, trial=True))
    return Structure(tuple(group.name for group in found), {name: reason for name, _, reason in reasons})


def check_group(name: str, found: Structure) -> None:
    """Raise InputError, with the closest names, unless this is a group that may be cut."""
    if name in found.groups:
        return
    if name in found.refused:
        raise InputError(f"group {name} is left out: {found.refused[name]}")
    near = difflib.get_close_matches(name, found.groups, n=NEAR, cutoff=0.3)
    hint = f"did you mean {', '.join(near)}?" if near else f"the first are {', '.join(found.groups[:FEW])}"
    raise InputError(f"there is no group {name}; {hint}")


def explain(ranking: Ranking, plans: Sequence[PlanRecord], config: AllocateConfig) -> tuple[Explanation, ...]:
    """Every group of a ranking, with what each of `plans`, made from it, does to it."""
    groups, least = ranking.groups, config.min_units
    sizes = [group.units for group in groups]
    uniform = [uniform_depths(sizes, plan.units_removed, least) for plan in plans]
    unrounded = [_depths(ranking, plan, 1, least) for plan in plans]
    rounded = [_depths(ranking, plan, {depth.group: depth.round_to for depth in plan.depths}, least) for plan in plans]
    return tuple(
        Explanation(
            name=group.name,
            kind=plans[0].depths[place].kind,
            units=group.units,
            curve=tuple(group.curve.tolist()),
            correlation=spearman(group.signal[group.order].tolist(), group.r_in_order),
            cuts=tuple(
                Cut(
                    plan=plan,
                    depth=plan.depths[place],
                    reason=_reason(group, plan, plan.depths[place], before[place], at_number[place], config),
                    cap=math.floor(group.units / (2 - plan.tolerance)) if plan.rule == "tod" else None,
                    uniform_depth=even[place],
                    uniform_mass=math.fsum(group.r_in_order[: even[place]]),
                )
                for plan, even, before, at_number in zip(plans, uniform, unrounded, rounded, strict=True)
            ),
        )
        for place, group in enumerate(groups)
    )


def spearman(one: Sequence[float], other: Sequence[float]) -> float | None:
    """Spearman's rank correlation, ties at their mean rank; none if one of the two is constant."""
    ranks = torch.stack([torch.as_tensor(rankdata(values)) for values in (one, other)])
    centred = ranks - ranks.mean(1, keepdim=True)
    scale = centred.square().sum(1).prod().sqrt()
    return float(centred.prod(0).sum() / scale) if scale > 0 else None


def _depths(ranking: Ranking, plan: PlanRecord, round_to: RoundTo, min_units: int) -> list[int]:
    """How deep the plan's number alone would cut each group."""
    depths: list[int] = ranking.depths((plan.tolerance,), rule=plan.rule, round_to=round_to, min_units=min_units)[0].tolist()
    return depths


def _reason(group: RankedGroup, plan: PlanRecord, cut: Depth, unrounded: int, rounded: int, config: AllocateConfig) -> str:
    n, number = group.units, plan.tolerance
    if unrounded >= n - config.min_units:
        reason = f"limited by min_units: {min(config.min_units, n)} of {n} must stay"
    elif plan.rule == "tod":
        following, limit = _told_apart(float(group.curve[unrounded + 1]), number)
        reason = f"the next deeper cut, {unrounded + 1} of {n}, would have ToD {following} > {limit}"
    elif plan.rule == "uniform":
        reason = f"a share of {number:.4g} of {n} units, rounded down"
    else:
        reason = f"{unrounded} of its units are among the {100 * number:.4g}% of all units with the lowest signal"
    if rounded < unrounded:
        kept = f"keeps {n - rounded}, not {n - unrounded}"
        reason += f"; rounded from {unrounded} to {rounded}, since round_to {cut.round_to} {kept}"
    if cut.removed < rounded:
        reason += f"; {rounded - cut.removed} of these {rounded} stay, since the budget is met without"
    return reason


def _told_apart(one: float, other: float) -> tuple[str, str]:
    """Two different numbers with as few digits as show the difference."""
    for digits in range(3, 17):
        texts = f"{one:.{digits}g}", f"{other:.{digits}g}"
        if texts[0] != texts[1]:
            return texts
    return repr(one), repr(other)
