"""The address of a comparison in MLflow's pages."""

import json
from urllib.parse import parse_qs, urlsplit

import pytest

from pipeline.measurements import TrackRecord
from pipeline.mlflow_link import SETTING, comparison_url, how_to_compare

RUNS = {"dense": "a1", "tolerance-0.2": "b2"}


@pytest.fixture(autouse=True)
def no_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(SETTING, raising=False)


def tracked(uri: str) -> TrackRecord:
    return TrackRecord(tracking_uri=uri, experiment_id="3", parent_run_id="p0", run_ids=RUNS)


def test_exactly_the_candidates_are_compared() -> None:
    page = urlsplit(comparison_url(tracked("http://127.0.0.1:5510/")))
    assert (page.scheme, page.netloc, page.path) == ("http", "127.0.0.1:5510", "/")
    path, _, query = page.fragment.partition("?")
    assert path == "/compare-runs"
    assert {name: json.loads(value) for name, (value,) in parse_qs(query).items()} == {"runs": ["a1", "b2"], "experiments": ["3"]}


def test_the_setting_is_how_a_browser_sees_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(SETTING, "https://mlflow.lan/")
    for uri in ("http://mlflow:5000", "sqlite:////runs/mlflow.db"):
        assert comparison_url(tracked(uri)).startswith("https://mlflow.lan/#/compare-runs?runs=%5B%22a1%22")


def test_a_password_is_not_shown() -> None:
    assert comparison_url(tracked("https://me:secret@mlflow.lan/base")).startswith("https://mlflow.lan/base/#/compare-runs")
    assert "secret" not in how_to_compare(tracked("postgresql://me:secret@db/mlflow"))


def test_without_a_server_it_is_said_how_to_start_one() -> None:
    database = tracked("sqlite:////runs/mlflow.db")
    assert comparison_url(database) == ""
    assert "start `mlflow server --backend-store-uri sqlite:////runs/mlflow.db` and open <http://127.0.0.1:5000/#/compare" in (
        how_to_compare(database)
    )
    assert how_to_compare(tracked("http://127.0.0.1:5510")).startswith(
        "[Compare these candidates in MLflow](http://127.0.0.1:5510/#"
    )
