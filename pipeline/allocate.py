"""Stage: from scores to a plan for one goal, with what it will cost."""

from dataclasses import dataclass
from functools import lru_cache

from torch import Tensor, nn

import fair_pruner
from fair_pruner import Budget, CostModel, PruningPlan, Ranking
from fair_pruner.types import Rule
from pipeline.models import example_input, load_model
from pipeline.rankings import ranking_of
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
    round_to: int,
    min_units: int,
    store: Store,
) -> PlanRecord:
    """The plan that cuts `model`, scored in `scores`, to `goal`; params, MACs and bytes are predicted and nothing is cut.

    If `model` has been cut before, the plan is what all cuts do to `dense` together; where nothing more goes, or the
    budget is met already, it is the earlier plan. `way` in (0, 1] is how far to go towards a budget in this cut: down to
    dense * share ** way. Already the first of several cuts makes sure that the end can be reached. Raises BudgetError if
    it cannot.
    """
    subject, uncut = _subject(model, store), _subject(dense, store).costs
    step = _Step(subject, ranking_of(scores, store), rule, round_to, min_units)
    done = PruningPlan.from_json(store.path(model.plan).read_text()) if model.plan else None
    limit = _limit(goal, uncut, way) if goal.is_budget else None
    if done and limit is not None and getattr(subject.costs.dense, goal.quantity) <= limit:
        plan, after = done, subject.costs.dense
    else:
        if limit is not None and not done and way < 1:
            step.number_for(goal, _limit(goal, uncut, 1.0))
        cut = step.plan(goal.value if limit is None else step.number_for(goal, limit))
        after = subject.costs.after(cut)
        plan = cut if done is None else fair_pruner.compose(done, cut) if cut.units_removed else done
    kinds = {group.name: group.kind for group in uncut.groups}
    return PlanRecord(
        parents=(model.digest, scores.digest),
        plan=store.put(plan.to_json().encode(), ".plan.json"),
        goal=goal,
        rule=rule,
        rounds=plan.rounds,
        tolerance=plan.tolerance,
        limit=_limit(goal, uncut, 1.0) if goal.is_budget else None,
        depths=tuple(
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
            )
            for group in plan.groups
        ),
        units=plan.units,
        units_removed=plan.units_removed,
        params=after.params,
        macs=after.macs,
        weights_bytes=after.bytes,
        removed_mass=plan.removed_mass,
        mass_bound=plan.mass_bound,
        random_mass=plan.random_mass,
        uniform_mass=plan.uniform_mass,
        exchange_margin=plan.exchange_margin,
    )


@dataclass(frozen=True)
class _Subject:
    """A model that is to be cut, and what it costs after any plan."""

    network: nn.Module
    inputs: Tensor
    costs: CostModel


@lru_cache(maxsize=2)
def _subject(model: ModelRecord, store: Store) -> _Subject:
    """What all goals of a sweep share."""
    network, inputs = load_model(model, store), example_input(model.architecture, batch=2)
    return _Subject(network, inputs, CostModel(network, inputs))


@dataclass(frozen=True)
class _Step:
    """One cut of one model, with its settings."""

    subject: _Subject
    ranking: Ranking
    rule: Rule
    round_to: int
    min_units: int

    def number_for(self, goal: Goal, limit: int) -> float:
        """The rule's number that keeps the model within `limit`. Raises BudgetError."""
        return fair_pruner.tolerance_for(
            self.ranking,
            self.subject.network,
            example_input=self.subject.inputs,
            budget=Budget(**{goal.quantity: limit}),
            round_to=self.round_to,
            min_units=self.min_units,
            rule=self.rule,
            costs=self.subject.costs,
        )

    def plan(self, number: float) -> PruningPlan:
        """What goes at a number of the rule."""
        return fair_pruner.allocate(
            self.ranking, tolerance=number, round_to=self.round_to, min_units=self.min_units, rule=self.rule
        )


def _limit(goal: Goal, uncut: CostModel, way: float) -> int:
    """How much of a budget's quantity may be left when `way` of the way is gone, in equal ratios; 1 at least."""
    dense: int = getattr(uncut.dense, goal.quantity)
    end = max(1, Budget(**{goal.quantity: goal.value}).limit(uncut.dense))
    return end if way == 1 else max(end, round(dense * (end / dense) ** way))
