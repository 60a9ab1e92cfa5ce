"""Stage: cut the dense model by a plan."""

import fair_pruner
from pipeline.errors import StageError
from pipeline.models import cost_fields, example_input, load_model, save_weights
from pipeline.records import ModelRecord, PlanRecord, timed
from pipeline.store import Store


@timed
def prune(model: ModelRecord, plan: PlanRecord, store: Store) -> ModelRecord:
    """A smaller model with the dense weights of the units that stay; nothing is trained.

    Raises StageError if the cut model does not cost what the plan predicted.
    """
    pruning_plan = fair_pruner.PruningPlan.from_json(store.path(plan.plan).read_text())
    network = fair_pruner.remove(load_model(model, store), pruning_plan, example_input=example_input(model.architecture, batch=2))
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
