import pickle
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import cloudpickle
import psutil
import pytest
import yaml
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.settings import PREFECT_API_URL, temporary_settings

from flows import spread as spreading
from flows import spread_dask
from flows.branch_run import branch_flow, branch_stages, branch_task
from flows.servers import BRANCH_POOL
from flows.spread import check_spread, spread
from flows.sweep import prepare, sweep
from flows.tasks import DirectRunner
from pipeline.config import RunConfig
from pipeline.errors import InputError
from pipeline.preflight import preflight
from pipeline.records import FileRef
from pipeline.remote import Remote

from ..buckets import bucket
from .conftest import tiny
from .serving import PrefectServer
from .test_resume import digests

Work = dict[str, FileRef]


def submitted(config: RunConfig) -> Work:
    """What `spread` would have computed elsewhere."""
    run = DirectRunner(config.output)
    start = prepare(run, config, preflight(config))
    work = Work()

    def compute(settings: RunConfig, asked: Work) -> None:
        assert settings.output == config.output.resolve()  # others may work in another folder
        work.update(asked)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(spreading, "compute_by_workers", compute)
        spread(run, config, start.model, start.calibration, start.layer_costs, start.plans)
    return work


@pytest.mark.filterwarnings("ignore:Logger 'pipeline' attempted to send logs")  # of stages with no flow around them
def test_what_no_earlier_run_has_finished_is_computed_elsewhere_and_then_is_finished(tmp_path: Path) -> None:
    config = tiny(tmp_path / "runs", branches="deployment")
    work = submitted(config)
    assert list(work) == ["tolerance 0.3", "tolerance 0.6"]
    branch_stages(config, work["tolerance 0.3"])
    assert list(submitted(config)) == ["tolerance 0.6"]
    next((tmp_path / "runs" / "cache").glob("export-*")).unlink()
    assert list(submitted(config)) == ["tolerance 0.3", "tolerance 0.6"]


def test_a_search_and_a_run_that_is_not_spread_ask_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("check_workers", "check_dask"):
        monkeypatch.setattr(spreading, name, pytest.fail)
    config = tiny(tmp_path / "runs")
    check_spread(config)
    assert submitted(config) == {}
    check_spread(tiny(tmp_path / "runs", branches="dask", allocate={"tolerances": [], "max_accuracy_drop": 0.01}))


def test_data_that_others_would_look_for_elsewhere_is_refused(tmp_path: Path) -> None:
    config = tiny(tmp_path / "runs", branches="deployment", data={"name": "imagefolder", "root": "images"})
    with pytest.raises(InputError, match=r"data.root is images, and whoever .* works in another folder; give the full path"):
        check_spread(config)


def test_dask_that_is_not_installed_or_not_there_is_told_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = tiny(tmp_path / "runs", branches="dask")
    dask = pytest.importorskip("dask")
    monkeypatch.setattr(spread_dask, "ANSWER_SECONDS", 1.0)
    nobody = dask.config.set({"scheduler-address": "tcp://127.0.0.1:9"})
    with nobody, pytest.raises(InputError, match=r"finds no scheduler at tcp://127.0.0.1:9 \(DASK_SCHEDULER_ADDRESS\)"):
        check_spread(config)
    monkeypatch.setattr(spread_dask, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"not installed: pip install fair-pruner\[dask\]"):
        check_spread(config)


def test_flow_and_task_can_be_sent_to_the_workers_of_dask() -> None:
    for sent in (sweep, branch_task):  # the task's context holds the flow
        assert pickle.loads(cloudpickle.dumps(sent)).name == sent.name  # noqa: S301


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrefectServer]:
    server = PrefectServer(tmp_path_factory.mktemp("server"))
    server.start()
    yield server
    server.send(signal.SIGKILL)


@pytest.fixture(scope="module")
def inline(tmp_path_factory: pytest.TempPathFactory, server: PrefectServer) -> dict[str, tuple[str, ...]]:
    """The digests of an undisturbed run that computes its branches itself."""
    folder = tmp_path_factory.mktemp("inline")
    finished(started(folder, server, "inline"))
    return digests(folder)


def started(folder: Path, server: PrefectServer, branches: str, output: str = "", **environment: str) -> "subprocess.Popen[str]":
    """A sweep, by default to the folder `runs` in `folder`."""
    config = tiny(output or folder / "runs", finetune={"epochs": 40, "batch_size": 64}, branches=branches)
    (folder / "config.yaml").write_text(yaml.safe_dump(config.model_dump(mode="json")))
    command = [sys.executable, "-m", "flows", "run", str(folder / "config.yaml")]
    return subprocess.Popen(
        command, env=server.environment | environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def finished(process: "subprocess.Popen[str]") -> str:
    said, _ = process.communicate(timeout=1200)
    assert process.returncode == 0, said
    return said


@pytest.mark.slow
def test_two_workers_finish_a_sweep_though_one_is_killed(
    tmp_path: Path, server: PrefectServer, inline: dict[str, tuple[str, ...]]
) -> None:
    with served_by_two(tmp_path, server) as workers:
        sweep = started(tmp_path, server, "deployment")
        victim = computing(workers, lambda: list((tmp_path / "runs" / "cache").glob("recalibrate-*")))
        victim.send_signal(signal.SIGKILL)  # its worker tells the server that it has crashed
        said = finished(sweep)
    assert branch_states(server) == ["Completed", "Completed", "Crashed"]
    assert "its worker is lost" in said
    assert "computed here" not in said
    assert digests(tmp_path) == inline
    for name in ("finetune · tolerance 0.3", "export · tolerance 0.6"):
        assert f"{name}' - Finished in state Cached" in said


@pytest.mark.slow
def test_two_workers_that_share_only_a_bucket_finish_a_sweep_though_one_is_lost(
    tmp_path: Path, server: PrefectServer, inline: dict[str, tuple[str, ...]]
) -> None:
    with bucket(tmp_path / "sweep") as url, served_by_two(tmp_path, server) as workers:
        sweep = started(tmp_path, server, "deployment", f"{url}/runs")
        victim = computing(workers, lambda: [name for name in Remote(f"{url}/runs").names("cache") if "recalibrate-" in name])
        worker = victim.parent()
        assert worker
        for each in (worker, victim):  # as when its machine loses its power: nobody tells the server
            each.send_signal(signal.SIGKILL)
        said = finished(sweep)
        assert Remote(f"{url}/runs").fetch("tiny/report.json", tmp_path / "runs" / "tiny" / "report.json")
    assert branch_states(server) == ["Completed", "Completed", "Crashed"]
    assert "its worker is lost (No heartbeat any more.)" in said
    assert "computed here" not in said
    assert digests(tmp_path) == inline
    for name in ("one", "other"):
        assert sorted(path.name for path in (tmp_path / name).iterdir()) == ["cache", "home", "log"]


@contextmanager
def served_by_two(folder: Path, server: PrefectServer) -> "Iterator[list[subprocess.Popen[bytes]]]":
    """Two workers of the pool, each in a folder of its own; none is left after the block."""
    with client_of(server) as client:
        if BRANCH_POOL not in [pool.name for pool in client.read_work_pools()]:
            client.create_work_pool(WorkPoolCreate(name=BRANCH_POOL, type="process"))  # runs in folders of their own
            client.create_deployment(
                client.create_flow_from_name(branch_flow.name),
                "branch",
                work_pool_name=BRANCH_POOL,
                entrypoint="flows.branch_run.branch_flow",
                pull_steps=[],
            )
        for run in client.read_flow_runs():  # of another test
            client.delete_flow_run(run.id)
    workers = [worker(folder / name, server) for name in ("one", "other")]
    try:
        yield workers
    finally:
        for each in workers:
            if each.poll() is None:  # a worker passes SIGTERM on to itself as SIGINT, which a shell's background ignores
                for process in (*psutil.Process(each.pid).children(recursive=True), each):
                    process.kill()
            each.wait(60)


def worker(folder: Path, server: PrefectServer) -> "subprocess.Popen[bytes]":
    """A worker for one branch at a time that keeps everything in a folder of its own."""
    folder.mkdir()
    command = [sys.executable, "-m", "prefect", "worker", "start", "--pool", BRANCH_POOL, "--name", folder.name, "--limit", "1"]
    own = {"FAIR_PRUNER_CACHE": str(folder / "cache"), "PREFECT_HOME": str(folder / "home"), "PREFECT_WORKER_QUERY_SECONDS": "2"}
    with (folder / "log").open("w") as log:
        return subprocess.Popen(command, cwd=folder, env=server.environment | own, stdout=log, stderr=subprocess.STDOUT)


def branch_states(server: PrefectServer) -> list[str]:
    """Of the runs for branches, sorted."""
    with client_of(server) as client:
        return sorted(str(run.state_name) for run in client.read_flow_runs() if run.name.startswith("branch"))


@contextmanager
def client_of(server: PrefectServer) -> Iterator[SyncPrefectClient]:
    with temporary_settings({PREFECT_API_URL: server.url}), get_client(sync_client=True) as client:
        yield client


def computing(workers: "list[subprocess.Popen[bytes]]", recalibrated: Callable[[], list[object]]) -> psutil.Process:
    """The process of the first branch that a worker computes, once it has finished a stage."""
    deadline = time.monotonic() + 600
    while time.monotonic() < deadline:
        if recalibrated():
            for each in workers:
                for child in psutil.Process(each.pid).children(recursive=True):
                    if "prefect.engine" in " ".join(child.cmdline()):
                        return child
        time.sleep(0.1)
    raise AssertionError("no worker has begun a branch")


@pytest.mark.slow
def test_a_dask_cluster_of_two_finishes_a_sweep(
    tmp_path: Path, server: PrefectServer, inline: dict[str, tuple[str, ...]]
) -> None:
    distributed = pytest.importorskip("distributed")
    with distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster:
        said = finished(started(tmp_path, server, "dask", DASK_SCHEDULER_ADDRESS=cluster.scheduler_address))
    assert "Connecting to an existing Dask cluster" in said
    assert "computed here" not in said
    assert digests(tmp_path) == inline
    for name in ("finetune · tolerance 0.3", "export · tolerance 0.6"):
        assert f"{name}' - Finished in state Cached" in said
