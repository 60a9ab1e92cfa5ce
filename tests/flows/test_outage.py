import logging
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
import yaml
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.objects import StateType
from prefect.context import TaskRunContext
from prefect.settings import PREFECT_API_URL, PREFECT_CLIENT_MAX_RETRIES, temporary_settings

from flows import limits, outage
from flows.artifact_calls import only_warned
from flows.limits import alone
from flows.outage import outlive_server, outliving, server_answers
from pipeline.errors import InputError

from .conftest import tiny
from .serving import PrefectServer
from .test_resume import digests


@pytest.fixture
def away() -> Iterator[str]:
    """The address of a server that is not there."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        url = f"http://127.0.0.1:{taken.getsockname()[1]}/api"
    with temporary_settings({PREFECT_API_URL: url}):
        yield url


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outage, "POLL_SECONDS", 0.0)
    monkeypatch.setattr(outage, "RETURN_SECONDS", 0.2)
    monkeypatch.setattr(outage, "_given_up", type(outage._given_up)())


def told(body: Callable[[], str]) -> Callable[[], str]:
    """What Prefect makes of a flow: the body, and then one request to the server, tried again as the settings say."""

    def run() -> str:
        result = outliving(body)()
        if PREFECT_API_URL.value() and not server_answers():
            raise httpx.ConnectError(f"refused, after {PREFECT_CLIENT_MAX_RETRIES.value()} retries")
        return result

    return run


def test_a_server_is_there_or_not_and_that_is_known_soon(client: SyncPrefectClient, away: str) -> None:
    began = time.monotonic()
    assert not server_answers()
    assert time.monotonic() - began < 10
    with temporary_settings({PREFECT_API_URL: str(client.api_url)}):
        assert server_answers()
    with temporary_settings(restore_defaults={PREFECT_API_URL}):
        assert server_answers()  # a run's own


def test_away_before_the_run_it_has_a_server_of_its_own(away: str, caplog: pytest.LogCaptureFixture) -> None:
    assert outlive_server(told(lambda: str(PREFECT_API_URL.value()))) == "None"  # type: ignore[arg-type]
    assert [record.getMessage() for record in caplog.records] == [
        f"the Prefect server at {away} is away; this run is not shown there, and has one of its own"
    ]
    assert PREFECT_API_URL.value() == away


def test_gone_for_good_during_the_run_it_ends_with_its_result(
    away: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    answers = iter([True])
    monkeypatch.setattr(outage, "server_answers", lambda: next(answers, False))
    retries = PREFECT_CLIENT_MAX_RETRIES.value()
    calls = list[int]()
    assert outlive_server(told(lambda: calls.append(retries) or "done")) == "done"  # type: ignore[arg-type, func-returns-value]
    assert calls == [retries]  # once
    assert PREFECT_CLIENT_MAX_RETRIES.value() == retries
    assert outage._given_up.is_set()
    assert [record.levelno for record in caplog.records] == [logging.WARNING] * 2
    assert caplog.messages[1] == (
        f"the Prefect server at {away} is still away, and is not told how this run ended; nothing else is lost"
    )


def test_a_server_that_comes_back_is_told(away: str, monkeypatch: pytest.MonkeyPatch) -> None:
    answers = iter([True, False, False, True, True])
    monkeypatch.setattr(outage, "server_answers", lambda: next(answers))
    monkeypatch.setattr(outage, "RETURN_SECONDS", 60.0)

    def body() -> str:
        return "done"

    assert outlive_server(outliving(body)) == "done"  # type: ignore[arg-type]
    assert not outage._given_up.is_set()


def test_what_stops_a_run_is_told_as_itself_whether_the_server_is_there_or_not(
    away: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = iter([True])
    monkeypatch.setattr(outage, "server_answers", lambda: next(answers, False))

    def body() -> str:
        raise InputError("the images are gone")

    def flow() -> str:
        try:
            return outliving(body)()
        except InputError as error:
            raise httpx.ConnectError("refused") from error

    with pytest.raises(InputError, match="the images are gone"):
        outlive_server(flow)  # type: ignore[arg-type]


def test_an_error_of_a_server_that_is_there_is_raised(client: SyncPrefectClient) -> None:
    def flow() -> str:
        raise RuntimeError("no such flow")

    with pytest.raises(RuntimeError, match="no such flow"):
        outlive_server(flow)  # type: ignore[arg-type]


def test_artifacts_are_not_waited_for(away: str) -> None:
    before = PREFECT_CLIENT_MAX_RETRIES.value()
    with only_warned("the summary"):
        assert (before, PREFECT_CLIENT_MAX_RETRIES.value()) == (5, 0)
        raise httpx.ConnectError("refused")


def test_a_limit_that_cannot_be_asked_for_is_done_without(
    away: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(TaskRunContext, "get", lambda: "a task")
    assert alone(abs)(-3) == 3
    assert "another run may measure on this machine meanwhile" in caplog.text


def test_a_measurement_is_kept_if_its_limit_cannot_be_given_back(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    class Held:
        def __enter__(self) -> None: ...

        def __exit__(self, *_: object) -> None:
            raise httpx.ConnectError("refused")

    monkeypatch.setattr(limits, "_is_limited", lambda name: True)
    monkeypatch.setattr(limits, "concurrency", lambda *_, **__: Held())
    assert alone(abs)(-3) == 3
    assert "is out of reach: refused" in caplog.text


def run(folder: Path, server: PrefectServer, outage: Callable[[], None]) -> str:
    """A sweep in a process of its own, which must succeed; the outage begins between its branches. Returns what it says."""
    folder.mkdir()
    config = tiny(folder / "runs", finetune={"epochs": 40, "batch_size": 64})
    (folder / "config.yaml").write_text(yaml.safe_dump(config.model_dump(mode="json")))
    command = [sys.executable, "-m", "flows", "run", str(folder / "config.yaml")]
    said = list[str]()
    with subprocess.Popen(
        command, env=server.environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        assert process.stdout
        for line in process.stdout:
            said.append(line)
            if "export · tolerance 0.3' - Finished" in line:
                outage()
    assert process.returncode == 0, "".join(said)
    return "".join(said)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[PrefectServer]:
    server = PrefectServer(tmp_path)
    server.start()
    yield server
    for number in (signal.SIGCONT, signal.SIGKILL):
        try:
            server.send(number)
        except ProcessLookupError:
            return


@pytest.mark.slow
def test_whatever_the_server_does_a_sweep_ends_with_the_same_digests(tmp_path: Path, server: PrefectServer) -> None:
    said = run(tmp_path / "undisturbed", server, lambda: None)
    assert "is away" not in said
    expected = digests(tmp_path / "undisturbed")

    def hold_up() -> None:
        server.send(signal.SIGSTOP)
        threading.Timer(30, server.send, [signal.SIGCONT]).start()

    run(tmp_path / "held", server, hold_up)
    assert digests(tmp_path / "held") == expected
    with temporary_settings({PREFECT_API_URL: server.url}), get_client(sync_client=True) as client:
        deadline = time.monotonic() + 60  # the server writes the last tasks' states down later
        while {r.state_type for r in client.read_task_runs(limit=200)} != {StateType.COMPLETED}:
            assert time.monotonic() < deadline
            time.sleep(1)
        assert {r.state_name for r in client.read_flow_runs()} == {"Completed"}

    said = run(tmp_path / "killed", server, lambda: server.send(signal.SIGKILL))
    assert digests(tmp_path / "killed") == expected
    assert "is still away, and is not told how this run ended; nothing else is lost" in said
    for part in ("Traceback", "EventsWorker", "Unable to connect"):
        assert part not in said

    said = run(tmp_path / "away", server, lambda: None)
    assert digests(tmp_path / "away") == expected
    assert "is away; this run is not shown there, and has one of its own" in said
