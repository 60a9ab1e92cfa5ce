"""Stage: from scores to a plan for one goal, with what it will cost."""

from collections.abc import Mapping
from typing import Any, Literal

import fair_pruner
from fair_pruner import Budget, CostModel, PruningPlan
from fair_pruner.types import Rule
from pipeline.errors import InputError
from pipeline.latency import LayerCostRecord
from pipeline.latency_model import LatencyModel
from pipeline.planning import Planner, subject_of
from pipeline.records import Depth, Goal, ModelRecord, PlanRecord, ScoreRecord, timed
from pipeline.store import Store


@timed
def allocate(
    model: ModelRecord,
    dense: ModelRecord,
    scores: ScoreRecord,
    goal: Goal,
    way: float,
    rule: Rule,
    round_to: int | Literal["auto"],
    min_units: int,
    layer_costs: LayerCostRecord | None,
    store: Store,
) -> PlanRecord:
    """The plan that cuts `model`, scored in `scores`, to `goal`; params, MACs and bytes are predicted and nothing is cut.

    A budget is met with as little removed as `fair_pruner.plan_for` finds. If `model` has been cut before, the plan is what
    all cuts do to `dense` together; where nothing more goes, or the budget is met already, it is the earlier plan. `way` in
    (0, 1] is how far to go towards a budget in this cut: down to dense * share ** way. Already the first of several cuts
    makes sure that the end can be reached. With `layer_costs`, those of `dense`, latency is predicted too; a goal in
    latency_ms and `round_to` "auto" need them. Raises BudgetError if the budget cannot be reached, InputError if layer costs
    are needed and there are none.
    """
    by_latency = round_to == "auto" or goal.quantity == "latency_ms"
    if by_latency and layer_costs is None:
        raise InputError(
            f"{goal} with round_to {round_to} depends on the latency of layers, which was not measured; set "
            "layer_costs.enabled: true, or round_to to a number and budgets to macs, params or bytes"
        )
    step, uncut = Planner.of(model, scores, rule, round_to, min_units, layer_costs, store), subject_of(dense, store).costs
    subject, latency = step.subject, step.latency
    done = PruningPlan.from_json(store.path(model.plan).read_text()) if model.plan else None
    cut, end = PruningPlan((), 1.0, rule, 1, min_units), None
    if goal.is_budget:
        end, limit = (_limit(goal, uncut, latency, share) for share in (1.0, way))
        if not done and way < 1:
            step.plan_within(goal, end)
        if not done or step.cost(goal, cut) > limit:
            cut = step.plan_within(goal, limit)
    else:
        cut = step.plan_at(goal.value)
    plan = cut if done is None else fair_pruner.compose(done, cut) if cut.units_removed else done
    after = subject.costs.after(cut)
    return PlanRecord(
        parents=(model.digest, scores.digest, *([layer_costs.digest] if layer_costs and by_latency else [])),
        plan=store.put(plan.to_json().encode(), ".plan.json"),
        goal=goal,
        rule=rule,
        limit=end,
        params=after.params,
        macs=after.macs,
        weights_bytes=after.bytes,
        latency_ms=latency.predict(cut) if latency else None,
        **plan_fields(plan, {group.name: group.kind for group in uncut.groups}),
    )


def plan_fields(plan: PruningPlan, kinds: Mapping[str, str]) -> dict[str, Any]:
    """What a PlanRecord takes from the plan alone; `kinds` are those of its groups."""
    names = ("rounds", "tolerance", "units", "units_removed")
    masses = ("removed_mass", "mass_bound", "random_mass", "uniform_mass", "exchange_margin")
    depths = (
        Depth(
            group=group.name,
            kind=kinds[group.name],
            units=group.units,
            removed=group.depth,
            tod=group.tod,
            removed_mass=group.removed_mass,
            mass_bound=group.mass_bound,
            random_mass=group.random_mass,
            total_mass=group.total_mass,
            round_to=group.round_to,
        )
        for group in plan.groups
    )
    return {"depths": tuple(depths), **{name: getattr(plan, name) for name in (*names, *masses)}}


def _limit(goal: Goal, uncut: CostModel, latency: LatencyModel | None, way: float) -> float:
    """How much may be left of what a budget limits when `way` of the way is gone, in equal ratios; 1 at least of a count."""
    end = Budget(**{goal.quantity: goal.value}).limit(uncut.dense)
    if goal.quantity == "latency_ms" and latency:
        return end if way == 1 else max(end, latency.dense_ms * (end / latency.dense_ms) ** way)
    dense, end = getattr(uncut.dense, goal.quantity), max(1, end)
    return end if way == 1 else max(end, round(dense * (end / dense) ** way))
