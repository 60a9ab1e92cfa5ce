"""The manifests and what Prefect makes of the job template: valid, pinned, secrets by reference. No cluster is asked."""

import asyncio
import json
import re
import shutil
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from jsonschema import Draft202012Validator, ValidationError
from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.objects import FlowRun
from prefect_kubernetes.settings import KubernetesSettings
from prefect_kubernetes.worker import KubernetesWorkerJobConfiguration

from flows.deployments import DIGITS
from flows.deployments import deployments as applied
from flows.servers import BRANCH_POOL, POOL
from pipeline.output import default_output, folder_of

from .composed import DEPLOY, composed, secrets
from .runbook import TEXT

FOLDER = DEPLOY / "kubernetes"
VERSION = "1.37"
KUSTOMIZATION = yaml.safe_load((FOLDER / "kustomization.yaml").read_text())
RESOURCES: list[dict[str, Any]] = [
    each for name in KUSTOMIZATION["resources"] for each in yaml.safe_load_all((FOLDER / name).read_text())
]
UPGRADE = yaml.safe_load((FOLDER / "upgrade.yaml").read_text())
WORKLOADS = [each for each in RESOURCES if each["kind"] in ("Deployment", "StatefulSet")]
TEMPLATE = json.loads((FOLDER / "base-job-template.json").read_text())
PINNED = re.compile(r"docker\.io/[a-z/]+:[\w.-]+@sha256:[0-9a-f]{64}")


def called(resource: dict[str, Any]) -> str:
    return f"{resource['kind']} {resource['metadata']['name']}"


def job(**variables: object) -> dict[str, Any]:
    """The manifest of the job that Prefect's worker makes of a run."""
    nobody = PrefectClient("http://127.0.0.1:9/api")  # without one, a server would be started
    made = KubernetesWorkerJobConfiguration.from_template_and_values(TEMPLATE, variables, client=nobody)
    configuration = asyncio.run(made)
    configuration.prepare_for_flow_run(FlowRun(id=uuid.uuid4(), flow_id=uuid.uuid4(), name="digits"))
    return configuration.job_manifest


def pods() -> Iterator[tuple[str, dict[str, Any]]]:
    """The pod of each workload and job, and that of a run."""
    for each in (*WORKLOADS, UPGRADE):
        yield called(each), each["spec"]["template"]
    yield "a run", job()["spec"]["template"]


PODS = dict(pods())


@pytest.mark.parametrize("resource", [*RESOURCES, UPGRADE], ids=called)
def test_a_manifest_is_valid(resource: dict[str, Any]) -> None:
    kubernetes_validate.validate(resource, VERSION, strict=True)


def test_every_manifest_is_applied() -> None:
    others = {"kustomization.yaml", "deployments.yaml", "upgrade.yaml"}
    assert {*KUSTOMIZATION["resources"]} == {file.name for file in FOLDER.glob("*.yaml")} - others


@pytest.mark.skipif(not shutil.which("kubectl"), reason="kubectl is not installed")
def test_what_kustomize_makes_of_them_is_valid_and_names_the_images() -> None:
    made = subprocess.run(("kubectl", "kustomize", str(FOLDER)), capture_output=True, text=True, check=False)  # noqa: S607
    assert (made.returncode, made.stderr) == (0, "")
    rendered = list(yaml.safe_load_all(made.stdout))
    assert sorted(map(called, rendered)) == sorted(map(called, RESOURCES))
    for resource in rendered:
        kubernetes_validate.validate(resource, VERSION, strict=True)
        assert resource["metadata"].get("namespace", KUSTOMIZATION["namespace"]) == KUSTOMIZATION["namespace"]
    assert not re.search(r"image: fair-pruner$", made.stdout, re.MULTILINE)


@pytest.mark.parametrize("variables", [{}, {"gpus": 0, "node_selector": {"kind": "cpu"}, "cpu": "8", "memory": "32Gi"}])
def test_what_prefect_makes_of_the_template_is_a_valid_job(variables: dict[str, Any]) -> None:
    made = job(**variables)
    for misplaced in ("completions", "parallelism"):  # Prefect insists on them here, where Kubernetes passes over them
        assert made["spec"]["template"]["spec"].pop(misplaced) == 1
    kubernetes_validate.validate(made, VERSION, strict=True)
    pod = made["spec"]["template"]["spec"]
    resources = pod["containers"][0]["resources"]
    assert resources["limits"]["nvidia.com/gpu"] == variables.get("gpus", 1)
    assert resources["requests"].items() <= resources["limits"].items()
    assert pod["nodeSelector"] == variables.get("node_selector", {"nvidia.com/gpu.present": "true"})
    image = TEMPLATE["variables"]["properties"]["image"]
    assert pod["containers"][0]["image"] == image["default"] == image["enum"][0]


@pytest.mark.parametrize("changed", [{"image": "python"}, {"command": "sh"}, {"env": {"A": "b"}}, {"gpus": -1}, {"cpu": "0.5"}])
def test_a_run_may_not_ask_for_another_image_command_or_environment(changed: dict[str, Any]) -> None:
    Draft202012Validator(TEMPLATE["variables"]).validate({"gpus": 2})
    with pytest.raises(ValidationError):
        Draft202012Validator(TEMPLATE["variables"]).validate(changed)
    unchanged = {"image", "gpus", "cpu"}
    assert {*changed} <= unchanged or "{{ " + next(iter(changed)) + " }}" not in json.dumps(TEMPLATE)


def test_two_runs_never_share_a_node() -> None:
    pod = PODS["a run"]
    terms = pod["spec"]["affinity"]["podAntiAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
    assert terms == [{"labelSelector": {"matchLabels": {"fair-pruner/run": "true"}}, "topologyKey": "kubernetes.io/hostname"}]
    assert pod["metadata"]["labels"]["fair-pruner/run"] == "true"


@pytest.mark.parametrize("name", PODS)
def test_a_pod_is_an_ordinary_user_s_and_can_do_little(name: str) -> None:
    pod = PODS[name]["spec"]
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["runAsUser"] > 0
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert pod.get("automountServiceAccountToken") is False or pod["serviceAccountName"] == "worker"
    for container in pod["containers"]:
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert {"cpu", "memory"} <= container["resources"]["requests"].keys()
        assert "memory" in container["resources"]["limits"]


@pytest.mark.parametrize("workload", WORKLOADS, ids=called)
def test_a_workload_has_a_pinned_image_probes_and_its_volumes(workload: dict[str, Any]) -> None:
    pod = workload["spec"]["template"]
    ours = [each["name"] for each in KUSTOMIZATION["images"]]
    claimed = [each["metadata"]["name"] for each in workload["spec"].get("volumeClaimTemplates", [])]
    there = {*claimed, *(each["name"] for each in pod["spec"]["volumes"])}
    for container in pod["spec"]["containers"]:
        assert container["image"] in ours or PINNED.fullmatch(container["image"])
        assert "livenessProbe" in container
        assert {each["name"] for each in container["volumeMounts"]} == there
    assert workload["spec"]["selector"]["matchLabels"] == pod["metadata"]["labels"]


def test_images_and_settings_are_those_of_the_compose_file() -> None:
    services = composed()["services"]
    for workload in WORKLOADS:
        name, (container, *others) = workload["metadata"]["name"], workload["spec"]["template"]["spec"]["containers"]
        if name == "worker":  # there they run what they are told of, here they make jobs
            assert [each["name"] for each in (container, *others)] == [each for each in services if "worker" in each]
            continue
        if container["image"] != "fair-pruner":
            assert container["image"] == services[name]["image"]
        here = {each["name"]: each["value"] for each in container["env"] if "value" in each and each["name"] != "PGDATA"}
        there = {key: value for key, value in services[name]["environment"].items() if not str(value).endswith("-secret")}
        assert here == there
        if name != "object-store":
            assert container.get("args") == services[name].get("command")


@pytest.mark.parametrize("name", PODS)
def test_secrets_are_referred_to_and_never_written(name: str) -> None:
    for container in PODS[name]["spec"]["containers"]:
        for variable in container["env"]:
            reference = variable.get("valueFrom", {}).get("secretKeyRef")
            if reference:
                assert reference["name"] == "fair-pruner"
                assert reference["key"] in secrets()
            else:
                assert not re.search("PASSWORD$|SECRET$|AUTH_STRING$|ACCESS_KEY", variable["name"])


def test_the_login_of_a_run_is_a_reference_too(monkeypatch: pytest.MonkeyPatch) -> None:
    worker = next(each for each in WORKLOADS if each["metadata"]["name"] == "worker")
    for variable in worker["spec"]["template"]["spec"]["containers"][0]["env"]:
        monkeypatch.setenv(variable["name"], variable.get("value", "admin:hidden"))
    settings = KubernetesSettings()
    reference = (settings.worker.api_auth_string_secret_name, settings.worker.api_auth_string_secret_key)
    assert reference == ("fair-pruner", "PREFECT_LOGIN")
    assert settings.observer.namespaces == {KUSTOMIZATION["namespace"]}
    assert settings.cluster_uid == "fair-pruner"


def test_runs_write_to_the_object_store_and_work_in_their_own_volume(monkeypatch: pytest.MonkeyPatch) -> None:
    (container,) = PODS["a run"]["spec"]["containers"]
    for variable in container["env"]:
        monkeypatch.setenv(variable["name"], variable.get("value", "hidden"))
    output = default_output()
    assert output == "s3://fair-pruner/runs"
    assert folder_of(output).parent == Path(container["volumeMounts"][0]["mountPath"])
    deployments = yaml.safe_load((FOLDER / "deployments.yaml").read_text())["deployments"]
    assert deployments[1]["parameters"] == {"run": f"{output}/digits"}


def test_services_lead_to_pods_and_policies_name_them() -> None:
    labels = [each["spec"]["template"]["metadata"]["labels"] for each in WORKLOADS]
    for resource in RESOURCES:
        if resource["kind"] == "Service":
            assert resource["spec"]["selector"] in labels
        if resource["kind"] == "NetworkPolicy" and resource["spec"]["podSelector"]:
            assert resource["spec"]["podSelector"]["matchLabels"] in labels
            for source in resource["spec"]["ingress"][0]["from"]:
                assert source["podSelector"]["matchLabels"] in [*labels, {"fair-pruner/run": "true"}]


def test_each_pool_has_a_worker_and_deployments_and_is_made() -> None:
    worker = next(each for each in WORKLOADS if each["metadata"]["name"] == "worker")
    pools = {each["args"][4] for each in worker["spec"]["template"]["spec"]["containers"]}
    deployments = yaml.safe_load((FOLDER / "deployments.yaml").read_text())["deployments"]
    assert {each["work_pool"]["name"] for each in deployments} == pools == {POOL, BRANCH_POOL}
    assert re.findall("for pool in (.*); do", TEXT) == [f"{POOL} {BRANCH_POOL}"] * 2
    assert deployments[0]["parameters"]["config"] == DIGITS
    there = {each.name: (each.entrypoint, each.pool) for each in applied("runs")}
    for each in deployments:
        assert there[each["name"]] == (each["entrypoint"], each["work_pool"]["name"])
