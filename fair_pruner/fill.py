"""The plan that cuts no more than a budget asks for: groups get units back until the budget is used up."""

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from typing import Literal, NamedTuple

from torch import Tensor, nn

from fair_pruner.allocate import allocate, plan_of
from fair_pruner.budget import Budget, tolerance_for
from fair_pruner.cost import CostModel
from fair_pruner.groups import find_groups
from fair_pruner.ranking import Ranking, RoundTo
from fair_pruner.rounding import Latency, bare_plan
from fair_pruner.types import PruningPlan, Rule, ScoreTable


def plan_for(
    table: ScoreTable | Ranking,
    model: nn.Module,
    *,
    example_input: Tensor,
    budget: Budget,
    round_to: RoundTo | Literal["auto"] = 1,
    min_units: int = 1,
    rule: Rule = "tod",
    ignore: Sequence[str] = (),
    costs: CostModel | None = None,
    latency: Latency | None = None,
) -> PruningPlan:
    """The plan of least removal found that keeps `model` within `budget`: its cost is at most the limit, and close to it.

    The number of `tolerance_for` is the plan's `tolerance`, and its plan is where this one starts; arguments are as there. That
    plan may lie far below the budget, since many units can go at one number. Each group comes to its depth there in steps, of
    one unit or, with `round_to`, one multiple. The steps of all groups are put in one order: by the number of the rule at which
    they are taken, steps at one number by the share of what the group loses at that number, ties in order of group. From the
    last step to the first, each is taken back if the plan stays within the budget; a group whose step is not stays as deep as
    it is. So no group is cut deeper than at the number, and no step could be taken back in any group without exceeding.
    Where the last steps are too large to take back, groups get back some units that smaller numbers take already.

    With rule "tod" a group stops only at depths m with ToD(m) <= tolerance (or, rounded, as deep as at the number), so that the
    tolerance keeps its meaning. A budget in `latency_ms` and `round_to` "auto", where a deeper plan can cost more, get the plan
    of `allocate` at the number, and nothing is taken back.

    A group's `unrounded_depth` is that at the number if it stays as deep as there, else its depth. Raises BudgetError and
    SettingError as `tolerance_for` does. Ours.
    """
    ranking = table if isinstance(table, Ranking) else Ranking(table)
    if costs is None:
        costs = CostModel(model, example_input, find_groups(model, example_input, ignore))
    number = tolerance_for(
        ranking, model, example_input=example_input, budget=budget, round_to=round_to, min_units=min_units, rule=rule,
        costs=costs, latency=latency,
    )  # fmt: skip
    if round_to == "auto" or budget.latency_ms is not None:
        return allocate(ranking, tolerance=number, round_to=round_to, min_units=min_units, rule=rule, latency=latency)
    deep, unrounded = (
        ranking.depths((number,), rule=rule, round_to=each, min_units=min_units)[0].tolist() for each in (round_to, 1)
    )
    steps = _steps(ranking, deep, number, ranking.unit_multiples(round_to), min_units, rule)
    limit = budget.limit(costs.dense)

    def fits(depths: Sequence[int]) -> bool:
        return bool(getattr(costs.after(bare_plan(ranking, depths)), budget.quantity) <= limit)

    def first(count: int) -> list[int]:
        depths = [0] * len(deep)
        for step in steps[:count]:
            depths[step.group] = step.depth
        return depths

    count = bisect_left(range(len(steps) + 1), True, key=lambda count: fits(first(count)))  # later ones all go back
    depths, fixed = first(count), set[int]()
    for step in reversed(steps[:count]):
        if step.group not in fixed:
            tried = [step.before if place == step.group else depth for place, depth in enumerate(depths)]
            if fits(tried):
                depths = tried
            else:
                fixed.add(step.group)
    free = [before if depth == end else depth for depth, end, before in zip(depths, deep, unrounded, strict=True)]
    return plan_of(ranking, depths, free, number=number, round_to=round_to, min_units=min_units, rule=rule)


class _Step(NamedTuple):
    """A group goes from one depth to the next, at a number of the rule; `progress` in (0, 1] is how far that number takes it."""

    number: float
    progress: float
    group: int
    depth: int
    before: int


def _steps(
    ranking: Ranking, deep: Sequence[int], number: float, multiples: Sequence[int], min_units: int, rule: Rule
) -> list[_Step]:
    """All steps from the dense model to the depths `deep`, in order; a group keeps a multiple of its units after each."""
    steps = []
    for place, (group, smallest) in enumerate(zip(ranking.groups, ranking.smallest_numbers(rule, min_units), strict=True)):
        numbers, curve, before = smallest.tolist(), group.curve.tolist(), 0
        for depth in range(1, deep[place] + 1):
            allowed = (group.units - depth) % multiples[place] == 0 and (rule != "tod" or curve[depth] <= number)
            if allowed or depth == deep[place]:
                at = numbers[depth]
                start, end = max(0, bisect_left(numbers, at) - 1), bisect_right(numbers, at) - 1
                steps.append(_Step(at, (depth - start) / (end - start), place, depth, before))
                before = depth
    return sorted(steps)
