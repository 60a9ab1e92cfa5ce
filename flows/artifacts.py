"""What a run has found, shown in Prefect."""

import base64
from pathlib import Path

from prefect.artifacts import (
    create_image_artifact,
    create_link_artifact,
    create_markdown_artifact,
    create_table_artifact,
)

from flows.artifact_calls import artifact_key, only_warned
from pipeline.measurements import RunReport, TrackRecord
from pipeline.mlflow_link import comparison_url, how_to_compare
from pipeline.redact import redacted
from pipeline.run_summary import candidate_rows, run_summary


def show(report: RunReport, tracked: TrackRecord | None, *remarks: str) -> None:
    """Make artifacts of the current run: summary, table of candidates, Pareto figure, link to the comparison in MLflow.

    `tracked` is None if the run was not logged to MLflow; `remarks` are further sentences for the summary. What cannot be shown
    is a warning line.
    """
    name = report.name
    with only_warned("the summary"):
        compare = (how_to_compare(tracked),) if tracked else ()
        create_markdown_artifact(
            redacted(run_summary(report, *remarks, *compare)), artifact_key(name, "summary"), "What the run has found"
        )
    with only_warned("the table of candidates"):
        create_table_artifact([*candidate_rows(report)], artifact_key(name, "candidates"), "Every file that was measured")
    with only_warned("the Pareto figure"):
        figure = base64.b64encode(Path(report.folder, "pareto.png").read_bytes()).decode()
        create_image_artifact(f"data:image/png;base64,{figure}", artifact_key(name, "pareto"), "Accuracy against latency")
    with only_warned("the link to MLflow"):
        if tracked and (url := comparison_url(tracked)):
            text = "Compare these candidates in MLflow"
            create_link_artifact(url, text, artifact_key(name, "mlflow"), "Latency against accuracy, and all other metrics")
