"""Which number of a rule meets a budget, found on predicted costs: nothing is trained and nothing is cut."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Literal

from torch import Tensor, nn

from fair_pruner.cost import Cost, CostModel
from fair_pruner.errors import BudgetError, SettingError
from fair_pruner.groups import find_groups
from fair_pruner.ranking import Ranking, RoundTo, number_name
from fair_pruner.rounding import Latency, bare_plan, given, resolved
from fair_pruner.types import Rule, ScoreTable

LOOKS = 64


@dataclass(frozen=True)
class Budget:
    """What a pruned model may cost: exactly one of these, as a share of the dense model (0 < float <= 1) or a number (int).

    `latency_ms` is never a share: milliseconds, as whatever predicts them for `tolerance_for` counts them.
    """

    macs: float | int | None = None
    params: float | int | None = None
    bytes: float | int | None = None
    latency_ms: float | int | None = None

    def __post_init__(self) -> None:
        named = [(field.name, value) for field in fields(self) if (value := getattr(self, field.name)) is not None]
        if len(named) != 1:
            raise SettingError(f"a budget names exactly one of macs, params, bytes and latency_ms, not {len(named)}")
        ((name, value),) = named
        if name == "latency_ms":
            if not 0 < value < math.inf:
                raise SettingError(f"a latency budget is a positive number of milliseconds, not {value}")
        elif (isinstance(value, float) and not 0 < value <= 1) or value <= 0:
            raise SettingError(f"a budget is a share in (0, 1] or a positive whole number, not {value}")

    @property
    def quantity(self) -> str:
        """Which cost is limited."""
        return next(field.name for field in fields(self) if getattr(self, field.name) is not None)

    def limit(self, dense: Cost) -> float:
        """The budget as a number, given the dense model's cost; whole but for a latency."""
        value: float | int = getattr(self, self.quantity)
        is_share = isinstance(value, float) and self.quantity != "latency_ms"
        return int(value * getattr(dense, self.quantity)) if is_share else value


def tolerance_for(
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
) -> float:
    """The smallest number of `rule` (tolerance or pruning ratio, see `allocate`) whose plan keeps `model` within `budget`.

    Plans change at few numbers only: the values of the ToD curves, m / n for "uniform", k / N for "global". The answer is
    one of them, or a number below them all if no more is needed, found by bisection. `ignore` is as in `find_groups`;
    `costs` is the model's CostModel if there is one already, and then `model`, `example_input` and `ignore` are not looked
    at. Depths are whole, so what the plan costs may lie below the budget: ask `costs.after(plan)`.

    `latency` predicts the milliseconds of the model after a plan; a budget in `latency_ms` needs it, and so does `round_to`
    "auto", which takes at each number the multiples that `choose_multiples` finds for it. In these two cases a deeper
    plan can cost more, and the answer is a number whose plan meets the budget where the plan at the next smaller number
    does not; below that one there may be others that do.

    Raises BudgetError, with the least cost that was found, if neither the largest number nor any of LOOKS spread over the
    others is enough; SettingError.
    """
    ranking = table if isinstance(table, Ranking) else Ranking(table)
    if costs is None:
        costs = CostModel(model, example_input, find_groups(model, example_input, ignore))
    limit = budget.limit(costs.dense)
    critical = ranking.critical(rule=rule, min_units=min_units)

    def cost_at(place: int) -> float:
        number = critical[place]
        multiples = resolved(round_to, ranking, number, latency, rule=rule, min_units=min_units)
        depths = ranking.depths((number,), rule=rule, round_to=multiples, min_units=min_units)[0].tolist()
        plan = bare_plan(ranking, depths)
        return given(latency)(plan) if budget.latency_ms is not None else float(getattr(costs.after(plan), budget.quantity))

    high = len(critical) - 1
    if (least := cost_at(high)) > limit:
        looked = sorted({round(look * high / LOOKS) for look in range(LOOKS)})
        found = [(cost_at(place), place) for place in looked]
        least = min(least, *(cost for cost, _ in found))
        if least > limit:
            raise BudgetError(
                f"no {number_name(rule)} brings {budget.quantity} down to {_shown(limit)}: {_shown(least)} is the least, with "
                f"min_units {min_units} and round_to {round_to}; allow more or lower these, and go that deep in rounds (cut, "
                "recover, score again)"
            )
        high = next(place for cost, place in found if cost <= limit)
    low = -1  # critical[high] meets the budget, and critical[low] does not if there is such a one
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if cost_at(middle) <= limit else (middle, high)
    return critical[high]


def _shown(cost: float) -> str:
    return f"{cost:.0f}" if cost == int(cost) else f"{cost:.4g}"
