"""What a sweep makes of the states of its branches' runs, told by a client that plays a server."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace, TracebackType
from typing import Any, Self
from uuid import UUID, uuid4

import httpx
import pytest
from prefect.client.schemas.objects import State, WorkerStatus
from prefect.exceptions import ObjectNotFound
from prefect.settings import PREFECT_API_URL, temporary_settings
from prefect.states import Cancelled, Completed, Crashed, Failed, Pending, Running, Scheduled

from flows import spread_deployment
from flows.spread_deployment import check_workers, compute_by_workers
from pipeline.errors import InputError
from pipeline.records import FileRef

from .conftest import tiny

FILE = FileRef(path="0.json", sha256="0" * 64, size_bytes=2)


@dataclass
class Played:
    """A server that has an answer to everything. `states` are what the next runs will be in, asked one after the other."""

    states: list[list[Callable[[], State[Any]]]]
    online: int = 1
    beats: bool = True
    deployed: bool = True
    api_url: str = "http://there/api"
    started: list[str] = field(default_factory=list)
    forced: list[str] = field(default_factory=list)
    runs: dict[UUID, list[State[Any]]] = field(default_factory=dict)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None: ...

    def read_workers_for_work_pool(self, pool: str) -> list[SimpleNamespace]:
        return [SimpleNamespace(status=WorkerStatus.OFFLINE)] + [SimpleNamespace(status=WorkerStatus.ONLINE)] * self.online

    def read_deployment_by_name(self, name: str) -> None:
        if not self.deployed:
            raise ObjectNotFound(httpx.HTTPError("404"))

    def read_flow_run(self, run: UUID) -> SimpleNamespace:
        states = self.runs[run]
        return SimpleNamespace(state=states.pop(0) if len(states) > 1 else states[0])

    def set_flow_run_state(self, run: UUID, state: State[Any], force: bool) -> None:
        self.forced.append(str(state.name))
        self.runs[run] = [state]

    def read_events(self, *_: object, **__: object) -> SimpleNamespace:
        return SimpleNamespace(events=[SimpleNamespace(id=uuid4())] if self.beats else [])

    def start(self, name: str, flow_run_name: str, **_: object) -> SimpleNamespace:
        self.started.append(flow_run_name)
        run = uuid4()
        self.runs[run] = [make() for make in self.states.pop(0)]
        return SimpleNamespace(id=run)


@pytest.fixture
def play(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Played]:
    def playing(*states: list[Callable[[], State[Any]]], **how: Any) -> Played:
        server = Played(list(states), **how)
        monkeypatch.setattr(spread_deployment, "get_client", lambda **_: server)
        monkeypatch.setattr(spread_deployment, "run_deployment", server.start)
        return server

    for name, seconds in (("POLL", 0.0), ("WORKER", 0.05), ("ALONE", 0.05), ("SILENT", 0.05)):
        monkeypatch.setattr(spread_deployment, f"{name}_SECONDS", seconds)
    return playing


def compute(tmp_path: Path, *names: str) -> None:
    compute_by_workers(tiny(tmp_path, branches="deployment"), dict.fromkeys(names, FILE))


def test_the_end_of_all_branches_is_waited_for(play: Callable[..., Played], tmp_path: Path) -> None:
    server = play([Scheduled, Pending, Running, Completed], [Completed])
    compute(tmp_path, "tolerance 0.1", "tolerance 0.2")
    assert server.started == ["branch tolerance 0.1", "branch tolerance 0.2"]
    assert server.forced == []


def test_a_crashed_branch_is_started_again_until_it_has_crashed_three_times(
    play: Callable[..., Played], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    server = play([Running, Crashed], [Crashed], [Completed])
    compute(tmp_path, "tolerance 0.1")
    assert server.started == ["branch tolerance 0.1" + more for more in ("", " · attempt 2", " · attempt 3")]
    server = play([Crashed], [Crashed], [Crashed])
    compute(tmp_path, "tolerance 0.1")
    assert len(server.started) == 3
    assert "branch tolerance 0.1 was not computed by a worker: Crashed" in caplog.messages[-1]


def test_a_failed_branch_is_left_to_the_sweep(
    play: Callable[..., Played], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    server = play([Running, lambda: Failed(message="parity")], [Cancelled])
    compute(tmp_path, "tolerance 0.1", "tolerance 0.2")
    assert len(server.started) == 2
    assert "Failed: parity; computed here" in caplog.text


def test_a_run_without_heartbeats_is_crashed_and_one_with_them_is_not(play: Callable[..., Played], tmp_path: Path) -> None:
    server = play([Running], [Completed], beats=False)
    compute(tmp_path, "tolerance 0.1")
    assert (len(server.started), server.forced) == (2, ["Crashed"])
    server = play([*[Running] * 500, Completed])
    compute(tmp_path, "tolerance 0.1")
    assert (len(server.started), server.forced) == (1, [])


def test_what_no_worker_is_left_for_is_taken_back_but_nothing_that_runs(
    play: Callable[..., Played], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    server = play([Scheduled], [*[Running] * 500, Completed], online=0)
    compute(tmp_path, "tolerance 0.1", "tolerance 0.2")
    assert server.forced == ["Cancelled"]
    assert caplog.messages == ["branch tolerance 0.1: no worker is left; computed here"]


def test_a_server_that_goes_away_leaves_the_rest_to_the_sweep(
    play: Callable[..., Played], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    server = play([Running])

    def refused(run: UUID) -> None:
        raise httpx.ConnectError("refused")

    monkeypatch.setattr(server, "read_flow_run", refused)
    compute(tmp_path, "tolerance 0.1")
    assert "the Prefect server no longer tells of the branches, which are computed here: refused" in caplog.text


def test_what_is_missing_is_told_before_anything_is_trained(play: Callable[..., Played]) -> None:
    nowhere = temporary_settings(restore_defaults={PREFECT_API_URL})
    with nowhere, pytest.raises(InputError, match="needs a Prefect server that workers are connected to"):
        check_workers()
    with temporary_settings({PREFECT_API_URL: "http://there/api"}):
        play(online=0)
        with pytest.raises(InputError, match=r"finds no worker .* fair-pruner-branches of http://there/api; start some with"):
            check_workers()
        play(deployed=False)
        with pytest.raises(InputError, match=r"finds no deployment branch/branch on the Prefect server at http://there/api"):
            check_workers()
        play()
        check_workers()


def test_a_server_that_is_away_is_told_too() -> None:
    nobody = temporary_settings({PREFECT_API_URL: "http://127.0.0.1:9/api"})
    with nobody, pytest.raises(InputError, match=r"cannot reach the Prefect server at http://127.0.0.1:9/api"):
        check_workers()
