"""Two runs at once, whose measurements may or may not overlap."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier, BrokenBarrierError

import pytest
from prefect import flow, task
from prefect.client.orchestration import SyncPrefectClient

from flows import limits
from flows.limits import alone, benchmark_limit_name


@pytest.fixture
def limit(client: SyncPrefectClient) -> Iterator[str]:
    name = benchmark_limit_name()
    client.upsert_global_concurrency_limit_by_name(name, 1)
    yield name
    client.delete_global_concurrency_limit_by_name(name)


def two_at_once(seconds: float) -> list[bool]:
    """Two runs, each with a measurement that waits so long for the other's; tells for each whether they met."""
    together = Barrier(2)

    def measure() -> bool:
        """Met the other one."""
        try:
            together.wait(seconds)
        except BrokenBarrierError:
            together.reset()
            return False
        return True

    measuring = task(alone(measure), name="measure")

    @flow(name="run")
    def run() -> bool:
        return measuring()

    with ThreadPoolExecutor(2) as pool:
        return [future.result() for future in [pool.submit(run), pool.submit(run)]]


def test_with_the_limit_no_two_runs_measure_at_a_time(limit: str, client: SyncPrefectClient) -> None:
    assert two_at_once(1.0) == [False, False]
    assert client.read_global_concurrency_limit_by_name(limit).active_slots == 0


@pytest.mark.usefixtures("prefect_server")
def test_a_server_without_the_limit_lets_them() -> None:
    assert two_at_once(30.0) == [True, True]


def test_without_a_task_no_server_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "get_client", pytest.fail)
    assert alone(abs)(-3) == 3
