"""Where the branches of a sweep are computed: by the sweep itself, by the workers of a Prefect pool, or by a Dask cluster."""

from flows.branch import branch
from flows.branch_run import BranchInput
from flows.spread_dask import check_dask, compute_on_dask
from flows.spread_deployment import check_workers, compute_by_workers
from flows.tasks import CacheReader, FlowRunner, NotFinishedError
from pipeline.config import RunConfig
from pipeline.errors import InputError
from pipeline.latency import LayerCostRecord
from pipeline.records import CalibrationSet, FileRef, ModelRecord, PlanRecord


def check_spread(config: RunConfig) -> None:
    """Raise InputError unless there is somebody to compute the branches as the config wants, who finds the data."""
    if not _is_spread(config):
        return
    if config.data.root and not config.data.root.is_absolute():
        raise InputError(
            f"data.root is {config.data.root}, and whoever computes branches: {config.branches} works in another folder; "
            "give the full path"
        )
    {"deployment": check_workers, "dask": check_dask}[config.branches]()


def spread(
    run: FlowRunner,
    config: RunConfig,
    dense: ModelRecord,
    calibration: CalibrationSet,
    layer_costs: LayerCostRecord | None,
    plans: tuple[PlanRecord, ...],
) -> None:
    """Have others compute the branches that no earlier run has finished. Afterwards they are in the cache.

    Except what could not be computed there: the sweep then computes it, or finds out why that cannot be.
    """
    if not _is_spread(config):
        return
    reader = CacheReader(config.output)
    work = dict[str, FileRef]()
    for plan in plans:
        try:
            branch(reader, config, dense, calibration, layer_costs, plan)
        except NotFinishedError:
            given = BranchInput(dense=dense, calibration=calibration, layer_costs=layer_costs, plan=plan)
            work[str(plan.goal)] = given.put(run.store)
    if work:
        compute = {"deployment": compute_by_workers, "dask": compute_on_dask}[config.branches]
        place = config.output if isinstance(config.output, str) else run.output  # others work in another folder
        compute(config.model_copy(update={"output": place}), work)


def _is_spread(config: RunConfig) -> bool:
    """A search computes one branch after the other: which comes next depends on the one before."""
    return config.branches != "inline" and config.allocate.max_accuracy_drop is None
