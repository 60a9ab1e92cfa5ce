"""What a Prefect server is told about the flows: a work pool, the limit of measurements, and the deployments."""

import shlex
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prefect import Flow
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.actions import DeploymentScheduleCreate, DeploymentUpdate, WorkPoolCreate, WorkPoolUpdate
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterState,
    FlowRunFilterStateType,
    WorkPoolFilter,
    WorkPoolFilterName,
)
from prefect.client.schemas.objects import StateType
from prefect.client.schemas.schedules import CronSchedule
from prefect.exceptions import ObjectNotFound
from prefect.states import Crashed
from prefect.utilities.callables import parameter_schema
from prefect.workers.process import ProcessWorker

from flows.branch_run import branch_flow
from flows.limits import benchmark_limit_name
from flows.rebuild_engine import rebuild_engine
from flows.servers import BRANCH_POOL, POOL
from flows.sweep import sweep
from pipeline.config import RunConfig

DIGITS: dict[str, Any] = {  # deploy/configs/digits.yaml, which is no part of an installed package
    "name": "digits",
    "data": {"name": "digits", "validation_fraction": 0.15},
    "model": {"name": "vgg", "kwargs": {"widths": [32, 32, "M", 64, 64, "M", 128, 128]}},
    "train": {"epochs": 40, "batch_size": 64, "lr": 0.05, "warmup_epochs": 2, "crop_padding": 1},
    "allocate": {"tolerances": [0.1, 0.2, 0.4, 0.6], "round_to": 16},
    "finetune": {"epochs": 15, "batch_size": 64, "lr": 0.02, "crop_padding": 1},
    "benchmark": {"min_seconds": 1.0},
}
IN_A_PROCESS = [StateType.PENDING, StateType.RUNNING, StateType.CANCELLING]


@dataclass(frozen=True)
class Deployment:
    """A flow with the values its form starts with; `cron` is a schedule that somebody has to switch on."""

    name: str
    flow: Flow[..., Any]
    parameters: dict[str, Any]
    cron: str | None = None
    pool: str = POOL

    @property
    def entrypoint(self) -> str:
        """The import path. With no colon in it, Prefect imports it from what is installed, and copies no folder."""
        return f"{self.flow.fn.__module__}.{self.flow.fn.__name__}"


def deployments(output: Path | str) -> tuple[Deployment, ...]:
    """All of them, writing to `output`, a folder or a URL."""
    return (
        Deployment("sweep", sweep, {"config": _settings(output, "digits")}),
        Deployment("nightly-sweep", sweep, {"config": _settings(output, "nightly")}, cron="0 3 * * *"),
        Deployment("rebuild-engine", rebuild_engine, {"run": f"{output}/digits"}),
        Deployment("branch", branch_flow, {}, pool=BRANCH_POOL),
    )


def _settings(output: Path | str, name: str) -> dict[str, Any]:
    return RunConfig.model_validate(DIGITS | {"name": name, "output": output}).model_dump(mode="json")


def apply(client: SyncPrefectClient, output: Path | str, working_dir: Path, limit: int) -> None:
    """Make or renew pools, limit and deployments. Values and schedules that somebody has changed in them stay.

    Args:
        client: Of a server whose work pools have no worker at the moment: runs that it holds for running are set to crashed.
        output: Folder or URL that the runs write to.
        working_dir: Folder that relative paths of a run start from.
        limit: Runs of POOL at a time; others wait. Branches are limited by the workers that there are for them.
    """
    _apply_pool(client, POOL, working_dir, limit)
    _apply_pool(client, BRANCH_POOL, working_dir, None)
    client.upsert_global_concurrency_limit_by_name(benchmark_limit_name(), 1)
    for deployment in deployments(output):
        _apply_deployment(client, deployment)
    lost = FlowRunFilter(state=FlowRunFilterState(type=FlowRunFilterStateType(any_=IN_A_PROCESS)))
    pool = WorkPoolFilter(name=WorkPoolFilterName(any_=[POOL, BRANCH_POOL]))
    crashed = Crashed(message="Its process ended with the worker. A new run of the same settings goes on from there.")
    for run in client.read_flow_runs(flow_run_filter=lost, work_pool_filter=pool):
        client.set_flow_run_state(run.id, crashed, force=True)


def _apply_pool(client: SyncPrefectClient, name: str, working_dir: Path, limit: int | None) -> None:
    template = ProcessWorker.get_default_base_job_template()
    fixed = {  # not for a form to change
        "working_dir": str(working_dir),  # without one, each run works in a folder that is deleted behind it
        # without one, Prefect would run `uv` in a project's folder, and each run in a session of its own
        "command": shlex.join((sys.executable, "-m", "prefect.engine")),
    }
    template["job_configuration"] |= fixed
    del template["job_configuration"]["env"]  # a run has the worker's environment, which says what is allowed
    for variable in (*fixed, "env"):
        del template["variables"]["properties"][variable]
    try:
        client.read_work_pool(name)
    except ObjectNotFound:
        client.create_work_pool(WorkPoolCreate(name=name, type="process", base_job_template=template, concurrency_limit=limit))
    else:
        client.update_work_pool(name, WorkPoolUpdate(base_job_template=template, concurrency_limit=limit))


def _apply_deployment(client: SyncPrefectClient, deployment: Deployment) -> None:
    form: dict[str, Any] = {
        "entrypoint": deployment.entrypoint,
        "description": deployment.flow.description,
        "work_pool_name": deployment.pool,
        "parameter_openapi_schema": parameter_schema(deployment.flow).model_dump(exclude_unset=True),
        "pull_steps": [],
    }
    try:
        known = client.read_deployment_by_name(f"{deployment.flow.name}/{deployment.name}")
    except ObjectNotFound:
        schedule = CronSchedule(cron=deployment.cron, timezone="UTC") if deployment.cron else None
        client.create_deployment(
            client.create_flow_from_name(deployment.flow.name),
            deployment.name,
            parameters=deployment.parameters,
            schedules=[DeploymentScheduleCreate(schedule=schedule, active=False)] if schedule else [],
            enforce_parameter_schema=True,
            **form,
        )
    else:
        client.update_deployment(known.id, DeploymentUpdate(**form))
