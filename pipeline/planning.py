"""Plans for one model: at a number of the rule, or within a budget, and what they cost."""

from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal, Self

from torch import Tensor, nn

import fair_pruner
from fair_pruner import Budget, CostModel, PruningPlan, Ranking
from fair_pruner.types import Rule
from pipeline.latency import LayerCostRecord
from pipeline.latency_model import LatencyModel
from pipeline.models import example_input, load_model
from pipeline.rankings import ranking_of
from pipeline.records import Goal, ModelRecord, ScoreRecord
from pipeline.store import Store


@dataclass(frozen=True)
class Subject:
    """A model that is to be cut, and what it costs after any plan."""

    network: nn.Module
    inputs: Tensor
    costs: CostModel


@lru_cache(maxsize=2)
def subject_of(model: ModelRecord, store: Store) -> Subject:
    """What all goals of a sweep share."""
    network, inputs = load_model(model, store), example_input(model.architecture, batch=2)
    return Subject(network, inputs, CostModel(network, inputs))


@dataclass(frozen=True)
class Planner:
    """Makes the plans of one cut of one model, with its settings."""

    subject: Subject
    ranking: Ranking
    latency: LatencyModel | None
    rule: Rule
    round_to: int | Literal["auto"]
    min_units: int

    @classmethod
    def of(
        cls,
        model: ModelRecord,
        scores: ScoreRecord,
        rule: Rule,
        round_to: int | Literal["auto"],
        min_units: int,
        layer_costs: LayerCostRecord | None,
        store: Store,
    ) -> Self:
        """For a model and its scores; with `layer_costs`, those of the dense model, latency is predicted."""
        subject = subject_of(model, store)
        latency = LatencyModel.of(layer_costs, store, subject.costs) if layer_costs else None
        return cls(subject, ranking_of(scores, store), latency, rule, round_to, min_units)

    def plan_within(self, goal: Goal, limit: float) -> PruningPlan:
        """The plan that cuts as little as keeps the model within `limit`. Raises BudgetError."""
        return fair_pruner.plan_for(
            self.ranking,
            self.subject.network,
            example_input=self.subject.inputs,
            budget=Budget(**{goal.quantity: limit}),
            costs=self.subject.costs,
            **self._settings(),
        )

    def plan_at(self, number: float) -> PruningPlan:
        """What goes at a number of the rule."""
        return fair_pruner.allocate(self.ranking, tolerance=number, **self._settings())

    def cost(self, goal: Goal, plan: PruningPlan) -> float:
        """What a budget limits, after a plan."""
        if goal.quantity == "latency_ms" and self.latency:
            return self.latency.predict(plan)
        return float(getattr(self.subject.costs.after(plan), goal.quantity))

    def _settings(self) -> dict[str, Any]:
        latency = self.latency.predict if self.latency else None
        return {"round_to": self.round_to, "min_units": self.min_units, "rule": self.rule, "latency": latency}
