"""Stage: cut a model by a plan."""

import fair_pruner
from fair_pruner import PruningPlan
from pipeline.errors import StageError
from pipeline.models import cost_fields, example_input, load_model, save_weights
from pipeline.records import FileRef, ModelRecord, PlanRecord, timed
from pipeline.store import Store


@timed
def prune(model: ModelRecord, plan: PlanRecord, store: Store) -> ModelRecord:
    """A smaller model with the weights of the units that stay; nothing is trained.

    The plan speaks of the dense model. Of a model that has been cut before goes what the plan still asks for, and the new
    record has the whole plan, so that it is rebuilt in one go. Raises StageError if the cut model does not cost what the
    plan predicted.
    """
    left = whole = _plan(plan.plan, store)
    if model.plan:
        left = fair_pruner.remainder(whole, _plan(model.plan, store))
    network = fair_pruner.remove(load_model(model, store), left, example_input=example_input(model.architecture, batch=2))
    record = ModelRecord(
        parents=(model.digest, plan.digest),
        stage="pruned",
        architecture=model.architecture,
        plan=plan.plan,
        weights=save_weights(network, store),
        **cost_fields(network, model.architecture),
    )
    if (record.params, record.macs) != (plan.params, plan.macs):
        raise StageError(
            f"after the cut the model has {record.params} params and {record.macs} MACs, the plan predicted {plan.params} and "
            f"{plan.macs}; please report this model"
        )
    return record


def _plan(ref: FileRef, store: Store) -> PruningPlan:
    return PruningPlan.from_json(store.path(ref).read_text())
