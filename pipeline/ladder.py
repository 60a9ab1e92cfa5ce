"""The cuts that a search chooses from: numbers of the rule whose plans are evenly spread over the cost."""

import math
from typing import Literal

from fair_pruner.types import Rule
from pipeline.errors import InputError
from pipeline.latency import LayerCostRecord
from pipeline.planning import Planner
from pipeline.records import Goal, ModelRecord, ScoreRecord
from pipeline.store import Store

LOOKS = 256  # numbers whose cost is looked at


def ladder(
    model: ModelRecord,
    scores: ScoreRecord,
    steps: int,
    rule: Rule,
    round_to: int | Literal["auto"],
    min_units: int,
    layer_costs: LayerCostRecord | None,
    store: Store,
) -> tuple[Goal, ...]:
    """Up to `steps` goals, from the mildest cut to the deepest there is; fewer where the rule has fewer plans.

    Of the numbers at which plans change (LOOKS of them, evenly spread, if there are more) those are taken whose MACs lie
    nearest to equal steps from the dense model's down to the least. Raises InputError if every plan removes nothing.
    """
    planner = Planner.of(model, scores, rule, round_to, min_units, layer_costs, store)
    numbers = planner.ranking.critical(rule=rule, min_units=min_units)
    places = sorted({round(look * (len(numbers) - 1) / (LOOKS - 1)) for look in range(LOOKS)})
    macs: dict[int, float] = {}  # by cost the smallest number that has it
    for number in (numbers[place] for place in places):
        macs.setdefault(planner.subject.costs.after(planner.plan_at(number)).macs, number)
    macs.pop(model.macs, None)
    if not macs:
        raise InputError(f"no number of the rule {rule} removes anything with round_to {round_to}; set allocate.round_to lower")
    least = min(macs)
    wanted = [model.macs - (model.macs - least) * step / steps for step in range(1, steps + 1)]
    chosen = {min(macs, key=lambda cost: (abs(cost - target), cost)) for target in wanted}
    quantity: Literal["tolerance", "ratio"] = "tolerance" if rule == "tod" else "ratio"
    return tuple(Goal(quantity=quantity, value=_short(planner, macs[cost])) for cost in sorted(chosen, reverse=True))


def _short(planner: Planner, number: float) -> float:
    """The number with as few digits as give the same plan: it names a folder."""
    wanted = planner.plan_at(number).groups
    shorter = (math.ceil(number * scale) / scale for scale in (100, 1000, 10000))
    return next((each for each in shorter if each <= 1 and planner.plan_at(each).groups == wanted), number)
