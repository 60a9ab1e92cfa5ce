"""Where to compare a run's candidates in MLflow's pages."""

import json
import os
from urllib.parse import quote, urlsplit

from pipeline.measurements import TrackRecord

SETTING = "FAIR_PRUNER_MLFLOW_UI"  # the address of the pages as a browser sees it, where that is not the tracking URI
LOCAL_UI = "http://127.0.0.1:5000"


def comparison_url(tracked: TrackRecord) -> str:
    """The page that compares exactly the candidates of a run. Empty if no pages are known to be served."""
    ui = os.environ.get(SETTING) or _served(tracked.tracking_uri)
    return _comparison(tracked, ui) if ui else ""


def how_to_compare(tracked: TrackRecord) -> str:
    """The way to that page in a sentence of Markdown, where need be with the command that serves it."""
    if url := comparison_url(tracked):
        return f"[Compare these candidates in MLflow]({url})."
    command = f"mlflow server --backend-store-uri {_shown(tracked.tracking_uri)}"
    return f"To compare these candidates in MLflow, start `{command}` and open <{_comparison(tracked, LOCAL_UI)}>."


def _served(tracking_uri: str) -> str:
    """The address of a tracking server, without a password that may stand in it."""
    parts = urlsplit(tracking_uri)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}" if parts.scheme in ("http", "https") else ""


def _shown(tracking_uri: str) -> str:
    return '"$MLFLOW_TRACKING_URI"' if urlsplit(tracking_uri).password else tracking_uri


def _comparison(tracked: TrackRecord, ui: str) -> str:
    runs, experiments = (quote(json.dumps(ids), safe="") for ids in ([*tracked.run_ids.values()], [tracked.experiment_id]))
    return f"{ui.rstrip('/')}/#/compare-runs?runs={runs}&experiments={experiments}"
