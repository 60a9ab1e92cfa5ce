"""Which number of a rule meets a budget, found on predicted costs: nothing is trained and nothing is cut."""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor, nn

from fair_pruner.cost import Cost, CostModel
from fair_pruner.errors import BudgetError, SettingError
from fair_pruner.groups import find_groups
from fair_pruner.ranking import Ranking, number_name
from fair_pruner.types import GroupPlan, PruningPlan, Rule, ScoreTable


@dataclass(frozen=True)
class Budget:
    """What a pruned model may cost: exactly one of these, as a share of the dense model (0 < float <= 1) or a number (int)."""

    macs: float | int | None = None
    params: float | int | None = None
    bytes: float | int | None = None

    def __post_init__(self) -> None:
        given = [value for value in (self.macs, self.params, self.bytes) if value is not None]
        if len(given) != 1:
            raise SettingError(f"a budget names exactly one of macs, params and bytes, not {len(given)}")
        if (isinstance(given[0], float) and not 0 < given[0] <= 1) or given[0] <= 0:
            raise SettingError(f"a budget is a share in (0, 1] or a positive whole number, not {given[0]}")

    @property
    def quantity(self) -> str:
        """Which cost is limited."""
        return next(name for name in ("macs", "params", "bytes") if getattr(self, name) is not None)

    def limit(self, dense: Cost) -> int:
        """The budget as a number, given the dense model's cost."""
        value: float | int = getattr(self, self.quantity)
        return int(value * getattr(dense, self.quantity)) if isinstance(value, float) else value


def tolerance_for(
    table: ScoreTable | Ranking,
    model: nn.Module,
    *,
    example_input: Tensor,
    budget: Budget,
    round_to: int = 1,
    min_units: int = 1,
    rule: Rule = "tod",
    ignore: Sequence[str] = (),
    costs: CostModel | None = None,
) -> float:
    """The smallest number of `rule` (tolerance or pruning ratio, see `allocate`) whose plan keeps `model` within `budget`.

    Plans change at few numbers only: the values of the ToD curves, m / n for "uniform", k / N for "global". The answer is
    one of them, or a number below them all if no more is needed, found by bisection. `ignore` is as in `find_groups`;
    `costs` is the model's CostModel if there is one already, and then `model`, `example_input` and `ignore` are not looked
    at. Depths are whole, so what the plan costs may lie below the budget: ask `costs.after(plan)`.

    Raises BudgetError, with the least cost that can be reached, if the largest number is not enough; SettingError.
    """
    ranking = table if isinstance(table, Ranking) else Ranking(table)
    if costs is None:
        costs = CostModel(model, example_input, find_groups(model, example_input, ignore))
    limit = budget.limit(costs.dense)
    critical = ranking.critical(rule=rule, min_units=min_units)

    def cost_at(number: float) -> int:
        depths = ranking.depths((number,), rule=rule, round_to=round_to, min_units=min_units)[0].tolist()
        return int(getattr(costs.after(_bare_plan(ranking, depths)), budget.quantity))

    least = cost_at(critical[-1])
    if least > limit:
        raise BudgetError(
            f"no {number_name(rule)} brings {budget.quantity} down to {limit}: {least} is the least, with min_units {min_units} "
            f"and round_to {round_to}; allow more or lower these, and go that deep in rounds (cut, recover, score again)"
        )
    low, high = -1, len(critical) - 1  # critical[high] meets the budget, and critical[low] does not if there is such a one
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if cost_at(critical[middle]) <= limit else (middle, high)
    return critical[high]


def _bare_plan(ranking: Ranking, depths: Sequence[int]) -> PruningPlan:
    """As much of a plan as its cost depends on."""
    cut = [(group, depth) for group, depth in zip(ranking.groups, depths, strict=True) if depth]
    groups = (GroupPlan(group.name, group.units, group.lowest(depth), 0.0, 0.0, 0.0, 0.0, depth) for group, depth in cut)
    return PruningPlan(tuple(groups), 1.0, "tod", 1, 1)
