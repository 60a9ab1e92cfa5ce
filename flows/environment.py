"""Settings that Prefect, MLflow and ONNX Runtime read when they are imported."""

import os

from pipeline.redact import hide_secrets

DEFAULTS = {
    "DO_NOT_TRACK": "true",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT": "false",
    "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "300",  # its first start migrates a database
    "PREFECT_API_REQUEST_TIMEOUT": "15",  # each of six attempts; by default a server that hangs holds up a run for minutes
    "PREFECT_LOGGING_EXTRA_LOGGERS": "fair_pruner,pipeline",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",  # a pickled model runs code when it is loaded; ours are ONNX files
    "ORT_DISABLE_TELEMETRY": "1",  # ONNX Runtime's wheels report to Microsoft otherwise
}


def prepare_environment() -> None:
    """No connection to the outside, our log lines in Prefect's runs, no secret in any line; what the person has set stays."""
    hide_secrets()
    for name, value in DEFAULTS.items():
        os.environ.setdefault(name, value)
