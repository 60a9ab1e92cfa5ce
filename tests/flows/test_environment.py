import os

import pytest

from flows.environment import DEFAULTS, prepare_environment


def test_analytics_of_every_library_are_off_unless_the_person_says_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in DEFAULTS:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "false")
    prepare_environment()
    assert os.environ["MLFLOW_DISABLE_TELEMETRY"] == "false"
    assert os.environ["PREFECT_SERVER_ANALYTICS_ENABLED"] == "false"
    assert (os.environ["DO_NOT_TRACK"], os.environ["ORT_DISABLE_TELEMETRY"]) == ("true", "1")
