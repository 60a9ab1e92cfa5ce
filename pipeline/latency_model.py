"""The latency that a plan will have on the machine whose layer costs were measured, predicted without cutting."""

from dataclasses import dataclass, field
from typing import Self

from fair_pruner import CostModel, PruningPlan
from pipeline.latency import LayerCostRecord
from pipeline.layer_table import LayerTable
from pipeline.store import Store


@dataclass(frozen=True)
class LatencyModel:
    """Scales the latency of the dense model by what its layers cost after a plan and before.

    So what the layers do not account for (pooling, additions, changes of layout between layers) is taken to shrink as they do.
    """

    table: LayerTable
    dense_ms: float
    costs: CostModel
    _known: dict[tuple[int, int, int], float] = field(default_factory=dict, compare=False, repr=False)

    @classmethod
    def of(cls, record: LayerCostRecord, store: Store, costs: CostModel) -> Self:
        """`costs` is that of the model which plans are made for: the dense one, or what earlier cuts have left of it.

        Raises InputError if the table is gone from the store.
        """
        table = LayerTable.model_validate_json(store.path(record.table).read_text())
        return cls(table, record.dense_ms, costs)

    def predict(self, plan: PruningPlan) -> float:
        """Milliseconds of one batch after `plan`; `dense_ms` for a plan that cuts nothing of the dense model.

        Raises PlanError if the plan has a group that the model has not.
        """
        share = self._layers_ms(self.costs.shapes_after(plan)) / self._layers_ms({})
        return self.dense_ms - max(0.0, self.dense_ms - self.table.overhead_ms) * (1 - share)

    def _layers_ms(self, weights: dict[str, tuple[int, ...]]) -> float:
        """All layers together, with these shapes of their weights; those that are not named are as in the dense model."""
        total = 0.0
        for layer, place in zip(self.table.layers, self.table.cost_of, strict=True):
            widths = layer.kind.widths(weights.get(layer.name, layer.weight))
            key = place, *widths
            if key not in self._known:
                self._known[key] = self.table.costs[place].milliseconds(*widths)
            total += self._known[key]
        return total
