import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import DeploymentUpdate
from prefect.flows import load_flow_from_entrypoint
from prefect.states import Completed, Running, Scheduled
from prefect.workers.process import ProcessJobConfiguration

from flows.branch_worker import _is_applied
from flows.deployments import apply, deployments
from flows.limits import benchmark_limit_name
from flows.servers import BRANCH_POOL, POOL
from flows.sweep import sweep
from pipeline.config import RunConfig, load_config

DEPLOY = Path(__file__).parents[2] / "deploy"
POOLS = {
    "sweep/sweep": POOL,
    "sweep/nightly-sweep": POOL,
    "rebuild_engine/rebuild-engine": POOL,
    "branch/branch": BRANCH_POOL,
}


@pytest.fixture
def client(prefect_server: None) -> Iterator[SyncPrefectClient]:
    with get_client(sync_client=True) as opened:
        yield opened


@pytest.fixture
def output(tmp_path: Path, client: SyncPrefectClient) -> Iterator[Path]:
    """The folder that what is applied to the server writes to; the server then forgets it."""
    apply(client, tmp_path / "runs", tmp_path, limit=1)
    yield tmp_path / "runs"
    for name in POOLS:
        client.delete_deployment(client.read_deployment_by_name(name).id)
    for pool in (POOL, BRANCH_POOL):
        client.delete_work_pool(pool)


def test_every_deployment_imports_its_flow_and_starts_with_valid_settings(output: Path, client: SyncPrefectClient) -> None:
    for name, pool in POOLS.items():
        deployment = client.read_deployment_by_name(name)
        flow = load_flow_from_entrypoint(str(deployment.entrypoint), use_placeholder_flow=False)
        assert flow.name == name.split("/")[0]
        assert ":" not in str(deployment.entrypoint)  # that would be a file, looked for in a folder
        if deployment.parameters:  # those of a branch come from its sweep
            assert flow.validate_parameters(deployment.parameters)
        assert (deployment.work_pool_name, deployment.pull_steps) == (pool, [])
        assert deployment.enforce_parameter_schema


def test_the_form_starts_with_the_digits_and_writes_to_the_folder(output: Path, client: SyncPrefectClient) -> None:
    digits = load_config(DEPLOY / "configs" / "digits.yaml").model_copy(update={"output": output})
    settings = client.read_deployment_by_name("sweep/sweep").parameters["config"]
    assert settings == digits.model_dump(mode="json")  # every field has a value, none is left to the form
    assert client.read_deployment_by_name("rebuild_engine/rebuild-engine").parameters == {"run": str(output / digits.name)}


def test_the_nightly_sweep_is_switched_off_until_somebody_switches_it_on(output: Path, client: SyncPrefectClient) -> None:
    nightly = client.read_deployment_by_name("sweep/nightly-sweep")
    (schedule,) = nightly.schedules
    assert (schedule.active, schedule.schedule.cron) == (False, "0 3 * * *")
    assert nightly.parameters["config"]["name"] == "nightly"
    client.update_deployment_schedule(nightly.id, schedule.id, active=True)
    apply(client, output, output.parent, limit=1)
    assert client.read_deployment_by_name("sweep/nightly-sweep").schedules[0].active


def test_values_that_somebody_has_changed_stay_and_the_form_is_renewed(output: Path, client: SyncPrefectClient) -> None:
    known = client.read_deployment_by_name("sweep/sweep")
    changed = known.parameters | {"config": known.parameters["config"] | {"seed": 7}}
    client.update_deployment(known.id, DeploymentUpdate(parameters=changed, parameter_openapi_schema={}, description="old"))
    apply(client, output, output.parent, limit=1)
    renewed = client.read_deployment_by_name("sweep/sweep")
    assert renewed.parameters["config"]["seed"] == 7
    assert (renewed.parameter_openapi_schema, renewed.description) == (known.parameter_openapi_schema, sweep.description)


def test_the_pool_lets_so_many_runs_go_on_and_runs_work_where_they_were_started(
    output: Path, client: SyncPrefectClient, tmp_path: Path
) -> None:
    assert client.read_work_pool(POOL).concurrency_limit == 1
    apply(client, output, tmp_path, limit=3)
    pool = client.read_work_pool(POOL)
    assert (pool.type, pool.concurrency_limit) == ("process", 3)
    wanted = {"working_dir": "/", "command": "sh -c id", "env": {"FAIR_PRUNER_ALLOW_CODE": "1"}}  # by a form's job variables
    job = asyncio.run(ProcessJobConfiguration.from_template_and_values(pool.base_job_template, wanted))
    assert (str(job.working_dir), job.env) == (str(tmp_path), {})
    assert str(job.command).endswith(" -m prefect.engine")


def test_the_pool_of_branches_tells_that_it_was_renewed(output: Path, client: SyncPrefectClient) -> None:
    for _ in range(2):  # `flows.branch_worker` waits for that
        before = datetime.now(UTC)
        assert not _is_applied(client, before)
        apply(client, output, output.parent, limit=1)
        assert _is_applied(client, before)


def test_one_measurement_at_a_time(output: Path, client: SyncPrefectClient) -> None:
    limit = client.read_global_concurrency_limit_by_name(benchmark_limit_name())
    assert (limit.limit, limit.active) == (1, True)


def test_runs_whose_worker_is_gone_are_set_to_crashed_and_no_others(output: Path, client: SyncPrefectClient) -> None:
    deployment = client.read_deployment_by_name("sweep/sweep").id
    lost, waiting, done = (client.create_flow_run_from_deployment(deployment) for _ in range(3))
    elsewhere = client.create_flow_run(sweep, parameters={"config": {}})  # of no pool: its process may be alive
    for run, state in ((lost, Running()), (waiting, Scheduled()), (done, Completed()), (elsewhere, Running())):
        client.set_flow_run_state(run.id, state, force=True)
    apply(client, output, output.parent, limit=1)
    states = [client.read_flow_run(run.id).state for run in (lost, waiting, done, elsewhere)]
    assert [state.name for state in states if state] == ["Crashed", "Scheduled", "Completed", "Running"]
    assert states[0]
    assert str(states[0].message).startswith("Its process ended with the worker.")


def test_a_bad_value_is_refused_before_a_run_starts_and_the_field_is_named(output: Path, client: SyncPrefectClient) -> None:
    deployment = client.read_deployment_by_name("sweep/sweep")
    settings = deployment.parameters["config"] | {"train": {"epochs": -1}}
    with pytest.raises(Exception, match="epochs"):
        client.create_flow_run_from_deployment(deployment.id, parameters={"config": settings})


def test_prefect_yaml_says_the_same(tmp_path: Path) -> None:
    text = (DEPLOY / "prefect.yaml").read_text().replace("{{ $PWD }}", str(tmp_path))
    written = yaml.safe_load(text)
    assert written["pull"] == []

    def settings(parameters: dict[str, Any]) -> dict[str, Any]:
        configs = {key: RunConfig.model_validate(value).model_dump() for key, value in parameters.items() if key == "config"}
        return parameters | configs

    for one, other in zip(written["deployments"], deployments(tmp_path / "runs"), strict=True):
        assert (one["name"], one["entrypoint"], one["work_pool"]["name"]) == (other.name, other.entrypoint, other.pool)
        assert settings(one["parameters"]) == settings(other.parameters)
        schedules = [{"cron": other.cron, "timezone": "UTC", "active": False}] if other.cron else []
        assert one.get("schedules", []) == schedules
