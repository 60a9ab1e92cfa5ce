"""The compose file: valid, pinned, closed to other machines. No container is started; test_postgresql.py runs its commands."""

import re
import subprocess
import sys
from typing import Any

import pytest

from .composed import DEPLOY, FILE, VARIABLE, composed, secrets

SERVICES: dict[str, Any] = composed()["services"]
OURS = {"fair-pruner:cpu", "fair-pruner:server"}
PINNED = re.compile(r"docker\.io/[a-z/]+:[\w.-]+@sha256:[0-9a-f]{64}")


def test_it_is_valid() -> None:
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", str(FILE)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_every_secret_is_asked_for_and_none_is_written_down() -> None:
    assert set(VARIABLE.findall(FILE.read_text())) == set(secrets())
    assert not re.search("=(?!admin:$|$)", (DEPLOY / ".env.example").read_text(), re.MULTILINE)
    assert not re.search(r"\$(?!\{\w+:\?\})", FILE.read_text())
    for service in SERVICES.values():
        for name, value in service.get("environment", {}).items():
            if re.search("PASSWORD|SECRET|AUTH_STRING|ACCESS_KEY", name):
                assert str(value).endswith("-secret")


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_is_pinned_and_can_do_little(name: str) -> None:
    service = SERVICES[name]
    assert service["image"] in OURS or PINNED.fullmatch(service["image"])
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["read_only"] is True
    if service["image"] in OURS:
        file = DEPLOY.parent / service["build"]["dockerfile"]
        assert file.name.split(".")[0] == service["image"].split(":")[1]
        assert "user" not in service
        assert "USER 10001:10001" in file.read_text()
    else:
        assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", service["user"])


@pytest.mark.parametrize("name", SERVICES)
def test_only_this_machine_reaches_a_service(name: str) -> None:
    assert all(port.startswith("127.0.0.1:") for port in SERVICES[name].get("ports", []))


def test_both_servers_ask_for_a_login_which_the_worker_has() -> None:
    prefect, mlflow, worker = (SERVICES[name]["environment"] for name in ("prefect", "mlflow", "worker"))
    assert prefect["PREFECT_SERVER_API_AUTH_STRING"] == worker["PREFECT_API_AUTH_STRING"]
    assert SERVICES["mlflow"]["command"][-2:] == ["--app-name", "basic-auth"]
    assert mlflow["MLFLOW_AUTH_ADMIN_PASSWORD"] == worker["MLFLOW_TRACKING_PASSWORD"]


def test_whoever_is_waited_for_says_when_it_is_ready() -> None:
    for service in SERVICES.values():
        for other, how in service.get("depends_on", {}).items():
            assert how == {"condition": "service_healthy"}
            assert SERVICES[other]["healthcheck"]["test"][0] == "CMD"


def test_whoever_is_called_by_name_shares_a_network() -> None:
    for service in SERVICES.values():
        for value in service["environment"].values():
            for other in re.findall(rf"(?:@|//)({'|'.join(SERVICES)})[:/]", str(value)):
                assert {*service["networks"]} & {*SERVICES[other]["networks"]}


def test_what_is_mounted_is_there() -> None:
    volumes = composed()["volumes"]
    for service in SERVICES.values():
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            assert source in volumes or (DEPLOY / source).is_file()
