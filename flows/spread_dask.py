"""Branches as tasks of a Dask cluster: that at DASK_SCHEDULER_ADDRESS, or one of this machine's cores for the time being."""

from collections.abc import Mapping
from importlib.util import find_spec

from flows.branch_run import branch_task
from pipeline.config import RunConfig
from pipeline.errors import InputError
from pipeline.progress import log
from pipeline.records import FileRef

ANSWER_SECONDS = 10.0


def check_dask() -> None:
    """Raise InputError unless Dask is installed and its cluster answers."""
    if not find_spec("prefect_dask"):
        raise InputError("branches: dask needs prefect-dask, which is not installed: pip install fair-pruner[dask]")
    import dask
    import distributed

    if address := dask.config.get("scheduler-address", None):
        try:
            distributed.Client(address, timeout=ANSWER_SECONDS, set_as_default=False).close()
        except OSError as error:
            raise InputError(
                f"branches: dask finds no scheduler at {address} (DASK_SCHEDULER_ADDRESS); start `dask scheduler` there and "
                "`dask worker` where fair-pruner is installed, or unset the address for a cluster on this machine"
            ) from error


def compute_on_dask(config: RunConfig, work: Mapping[str, FileRef]) -> None:
    """Compute branches, by name, and wait for the end of each. One that fails is only warned of."""
    import dask
    from prefect_dask import DaskTaskRunner

    address = dask.config.get("scheduler-address", None)
    cluster = DaskTaskRunner(address=address) if address else DaskTaskRunner(cluster_kwargs={"threads_per_worker": 1})
    with cluster as runner:
        futures = {
            name: runner.submit(
                branch_task.with_options(task_run_name=f"branch · {name}"), {"config": config, "made_from": made_from}
            )
            for name, made_from in work.items()
        }
        for name, future in futures.items():
            try:
                future.result()
            except Exception as error:  # noqa: BLE001  # the sweep finds out more by computing the branch itself
                log.warning("branch %s was not computed by Dask: %s; computed here", name, error)
