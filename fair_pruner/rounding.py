"""Which multiple of channels each group keeps: the one with which the whole plan is predicted to be fastest."""

from collections.abc import Callable, Sequence
from typing import Literal

from fair_pruner.errors import SettingError
from fair_pruner.ranking import Ranking, RoundTo
from fair_pruner.types import GroupPlan, PruningPlan, Rule

Latency = Callable[[PruningPlan], float]  # predicted milliseconds of the model once a plan is carried out

MULTIPLES = (1, 2, 4, 8, 16, 32)
WORTH_MIXING = 0.97  # predictions are wrong by a few percent: a mixture of multiples must be predicted faster by more than that


def choose_multiples(
    ranking: Ranking, number: float, latency: Latency, *, rule: Rule = "tod", min_units: int = 1
) -> dict[str, int]:
    """For each group, by name, the multiple of channels to keep at a number of the rule (`round_to` of `allocate`).

    Each is one of MULTIPLES, and since rounding goes up, no group is cut deeper than the number allows. First the best single
    multiple for all groups is taken. Then one group after another takes the multiple with which the whole plan is fastest, until
    nothing changes; of plans that are equally fast the one that removes less. The mixture so found is taken if it is predicted
    to need at most WORTH_MIXING of the time of the single multiple, else that one is. So the plan is predicted to be as fast as
    that with any one multiple at least; of all combinations it need not be the fastest. The answer depends on the arguments
    alone. Raises SettingError for arguments out of range. Ours.
    """
    depths = {m: ranking.depths((number,), rule=rule, round_to=m, min_units=min_units)[0].tolist() for m in MULTIPLES}

    def cost(multiples: Sequence[int]) -> tuple[float, int]:
        taken = [depths[multiple][place] for place, multiple in enumerate(multiples)]
        return latency(bare_plan(ranking, taken)), sum(taken)

    places = range(len(ranking.groups))
    single, alike = min((cost([multiple] * len(places)), [multiple] * len(places)) for multiple in MULTIPLES)
    lowest, chosen, improved = single, alike, True
    while improved:
        improved = False
        for place in places:
            by_depth = {depths[multiple][place]: multiple for multiple in reversed(MULTIPLES)}
            for depth, multiple in by_depth.items():
                if depth == depths[chosen[place]][place]:
                    continue
                tried = [*chosen[:place], multiple, *chosen[place + 1 :]]
                found = cost(tried)
                if found < lowest:
                    lowest, chosen, improved = found, tried, True
    if lowest[0] > WORTH_MIXING * single[0]:
        chosen = alike
    smallest = [next(m for m in MULTIPLES if depths[m][place] == depths[chosen[place]][place]) for place in places]
    return {group.name: multiple for group, multiple in zip(ranking.groups, smallest, strict=True)}


def resolved(
    round_to: RoundTo | Literal["auto"], ranking: Ranking, number: float, latency: Latency | None, *, rule: Rule, min_units: int
) -> RoundTo:
    """The multiples that `round_to` means at a number of the rule. Raises SettingError for "auto" without `latency`."""
    if round_to == "auto":
        return choose_multiples(ranking, number, given(latency), rule=rule, min_units=min_units)
    return round_to


def given(latency: Latency | None) -> Latency:
    """Raises SettingError if nothing predicts latency."""
    if latency is None:
        raise SettingError(
            "round_to 'auto' and a budget in latency_ms need `latency`, a function that predicts a plan's milliseconds"
        )
    return latency


def bare_plan(ranking: Ranking, depths: Sequence[int]) -> PruningPlan:
    """As much of a plan as costs and latency depend on."""
    cut = [(group, depth) for group, depth in zip(ranking.groups, depths, strict=True) if depth]
    groups = (GroupPlan(group.name, group.units, group.lowest(depth), 0.0, 0.0, 0.0, 0.0, depth) for group, depth in cut)
    return PruningPlan(tuple(groups), 1.0, "tod", 1, 1)
