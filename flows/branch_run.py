"""One branch of a sweep, computed by a process that shares nothing with the sweep but the output folder."""

from prefect import flow, task
from prefect.cache_policies import NO_CACHE

from flows.branch import branch
from flows.environment import prepare_environment
from flows.run_logs import run_logs
from flows.tasks import DirectRunner, FlowRunner
from pipeline.config import RunConfig
from pipeline.latency import LayerCostRecord
from pipeline.records import CalibrationSet, FileRef, ModelRecord, PlanRecord, Value
from pipeline.store import Store


class BranchInput(Value):
    """What a branch is made from, beside the settings. It lies in the store, and the branch is told its FileRef."""

    dense: ModelRecord
    calibration: CalibrationSet
    layer_costs: LayerCostRecord | None
    plan: PlanRecord

    def put(self, store: Store) -> FileRef:
        """Save it."""
        return store.put(self.model_dump_json().encode(), ".json")


@flow(name="branch")
@run_logs()
def branch_flow(config: RunConfig, made_from: FileRef) -> None:
    """Compute one branch of a sweep, which finds it in the cache then. Sweeps start these runs themselves.

    Args:
        config: The settings of the sweep.
        made_from: Where in the store of the sweep's output its BranchInput lies.
    """
    prepare_environment()
    _compute(FlowRunner(config.output), config, made_from)


def branch_stages(config: RunConfig, made_from: FileRef) -> None:
    """The same with no flow, and no task for each stage."""
    prepare_environment()
    with run_logs():
        _compute(DirectRunner(config.output), config, made_from)


branch_task = task(branch_stages, name="branch", cache_policy=NO_CACHE)


def _compute(run: FlowRunner, config: RunConfig, made_from: FileRef) -> None:
    given = BranchInput.model_validate_json(run.store.path(made_from).read_bytes())
    branch(run, config, given.dense, given.calibration, given.layer_costs, given.plan)
