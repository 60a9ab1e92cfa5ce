"""Stage: from scores to a plan at one tolerance, with what it will cost."""

from functools import lru_cache

import fair_pruner
from pipeline.models import example_input, load_model
from pipeline.records import Depth, ModelRecord, PlanRecord, ScoreRecord, timed
from pipeline.store import Store


@timed
def allocate(
    model: ModelRecord,
    scores: ScoreRecord,
    tolerance: float,
    ignore: tuple[str, ...],
    round_to: int,
    min_units: int,
    store: Store,
) -> PlanRecord:
    """The plan at `tolerance`; params, MACs and bytes are predicted from it and nothing is cut."""
    table, costs = _table_and_costs(model, scores, ignore, store)
    plan = fair_pruner.allocate(table, tolerance=tolerance, round_to=round_to, min_units=min_units)
    after = costs.after(plan)
    return PlanRecord(
        parents=(model.digest, scores.digest),
        plan=store.put(plan.to_json().encode(), ".plan.json"),
        tolerance=tolerance,
        depths=tuple(
            Depth(
                group=group.name,
                units=group.units,
                removed=group.depth,
                tod=group.tod,
                removed_mass=group.removed_mass,
                mass_bound=group.mass_bound,
                total_mass=group.total_mass,
            )
            for group in plan.groups
        ),
        units=plan.units,
        units_removed=plan.units_removed,
        params=after.params,
        macs=after.macs,
        weights_bytes=after.bytes,
    )


@lru_cache(maxsize=2)
def _table_and_costs(
    model: ModelRecord, scores: ScoreRecord, ignore: tuple[str, ...], store: Store
) -> tuple[fair_pruner.ScoreTable, fair_pruner.CostModel]:
    """What all tolerances of a sweep share."""
    table = fair_pruner.ScoreTable.from_json(store.path(scores.table).read_text())
    network, inputs = load_model(model, store), example_input(model.architecture, batch=2)
    return table, fair_pruner.CostModel(network, inputs, fair_pruner.find_groups(network, inputs, ignore))
