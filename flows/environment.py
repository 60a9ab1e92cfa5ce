"""Settings that Prefect, MLflow and ONNX Runtime read when they are imported."""

import os

DEFAULTS = {
    "DO_NOT_TRACK": "true",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT": "false",
    "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "120",  # its first start migrates a database
    "PREFECT_LOGGING_EXTRA_LOGGERS": "fair_pruner,pipeline",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "ORT_DISABLE_TELEMETRY": "1",  # ONNX Runtime's wheels report to Microsoft otherwise
}


def prepare_environment() -> None:
    """No connection to the outside, and our log lines in Prefect's runs; what the person has set already stays."""
    for name, value in DEFAULTS.items():
        os.environ.setdefault(name, value)
