"""Branches as runs of the deployment `branch`, which the workers of a Prefect pool pick up."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import httpx
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.objects import State, WorkerStatus
from prefect.deployments import run_deployment
from prefect.events.filters import EventFilter, EventNameFilter, EventOrder, EventResourceFilter
from prefect.exceptions import ObjectNotFound
from prefect.settings import PREFECT_API_URL
from prefect.states import Cancelled, Crashed

from flows.outage import briefly
from flows.servers import BRANCH_POOL
from pipeline.config import RunConfig
from pipeline.errors import InputError
from pipeline.progress import log
from pipeline.records import FileRef

DEPLOYMENT = "branch/branch"
ATTEMPTS = 3
POLL_SECONDS = 2.0
WORKER_SECONDS = 20.0  # a worker that was started just before the sweep is known by then
ALONE_SECONDS = 120.0  # so long after the last worker was seen, branches that none has begun are taken back
SILENT_SECONDS = 400.0  # two heartbeats of a run, of which Prefect sends one in three minutes, and time to begin at all
HEARTBEAT = "prefect.flow-run.heartbeat"


def check_workers() -> None:
    """Raise InputError unless a worker serves the pool and knows the deployment."""
    if not PREFECT_API_URL.value():
        raise InputError(
            "branches: deployment needs a Prefect server that workers are connected to: `fair-pruner up --workers 2` starts "
            "both, and PREFECT_API_URL names its address, with /api at its end"
        )
    deadline = time.monotonic() + WORKER_SECONDS
    with briefly(), get_client(sync_client=True) as client:
        try:
            client.read_deployment_by_name(DEPLOYMENT)
            while not _workers(client):
                if time.monotonic() > deadline:
                    raise InputError(
                        f"branches: deployment finds no worker that serves the work pool {BRANCH_POOL} of {client.api_url}; "
                        f"start some with `prefect worker start --pool {BRANCH_POOL} --limit 1`, or `fair-pruner up --workers 2`"
                    )
                time.sleep(POLL_SECONDS)
        except ObjectNotFound as error:
            raise InputError(
                f"branches: deployment finds no deployment {DEPLOYMENT} on the Prefect server at {client.api_url}; "
                "`fair-pruner up --workers 2` makes it, or `prefect deploy` with deploy/prefect.yaml"
            ) from error
        except httpx.HTTPError as error:
            raise InputError(f"branches: deployment cannot reach the Prefect server at {client.api_url}: {error}") from error


def compute_by_workers(config: RunConfig, work: Mapping[str, FileRef]) -> None:
    """Have branches, by name, computed, and wait for the end of each.

    A run whose worker is lost is started again, ATTEMPTS times in all. What fails, what no worker is left for, and what a
    server that is gone does not tell the end of, is only warned of.
    """
    settings = config.model_dump(mode="json")
    try:
        with get_client(sync_client=True) as client:
            branches = [
                _Branch(client, name, {"config": settings, "made_from": made_from.model_dump()})
                for name, made_from in work.items()
            ]
            for branch in branches:
                branch.start()
            seen = time.monotonic()
            while branches := [branch for branch in branches if not branch.ended()]:
                if _workers(client):
                    seen = time.monotonic()
                elif time.monotonic() - seen > ALONE_SECONDS:
                    branches = [branch for branch in branches if not branch.taken_back()]
                time.sleep(POLL_SECONDS)
    except httpx.HTTPError as error:
        log.warning("the Prefect server no longer tells of the branches, which are computed here: %s", error)


@dataclass
class _Branch:
    """A branch and the run that computes it at present."""

    client: SyncPrefectClient
    name: str
    parameters: dict[str, Any]
    run: UUID = field(init=False)
    attempts: int = 0
    heard: UUID | None = None  # its last heartbeat
    heard_at: float = 0.0

    def start(self) -> None:
        name = f"branch {self.name}" + (f" · attempt {self.attempts + 1}" if self.attempts else "")
        self.run = run_deployment(DEPLOYMENT, parameters=self.parameters, timeout=0, flow_run_name=name).id
        self.attempts += 1
        self.heard, self.heard_at = None, time.monotonic()

    def ended(self) -> bool:
        """Whether nothing more is to be expected; starts a run that is lost again."""
        state = self._state()
        if (state.is_running() or state.is_pending()) and self._is_silent():
            self.client.set_flow_run_state(self.run, Crashed(message="No heartbeat any more."), force=True)
            state = self._state()
        if state.is_crashed() and self.attempts < ATTEMPTS:
            log.warning("branch %s: its worker is lost (%s); started again", self.name, state.message)
            self.start()
            return False
        if state.is_final() and not state.is_completed():
            log.warning("branch %s was not computed by a worker: %s: %s; computed here", self.name, state.name, state.message)
        return state.is_final()

    def taken_back(self) -> bool:
        """Cancel the run unless some worker has begun it."""
        state = self._state()
        if state.is_running() or state.is_final():
            return False
        self.client.set_flow_run_state(self.run, Cancelled(message="No worker was left."), force=True)
        log.warning("branch %s: no worker is left; computed here", self.name)
        return True

    def _state(self) -> State[Any]:
        state = self.client.read_flow_run(self.run).state
        assert state
        return state

    def _is_silent(self) -> bool:
        """Whether there was no new heartbeat for SILENT_SECONDS, by this machine's clock alone."""
        beats = EventFilter(
            event=EventNameFilter(name=[HEARTBEAT]),
            resource=EventResourceFilter(id=[f"prefect.flow-run.{self.run}"]),
            order=EventOrder.DESC,
        )
        last = next((event.id for event in self.client.read_events(beats, limit=1).events), None)
        if last != self.heard:
            self.heard, self.heard_at = last, time.monotonic()
        return time.monotonic() - self.heard_at > SILENT_SECONDS


def _workers(client: SyncPrefectClient) -> bool:
    """Whether any worker serves the pool."""
    return any(worker.status == WorkerStatus.ONLINE for worker in client.read_workers_for_work_pool(BRANCH_POOL))
