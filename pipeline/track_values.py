"""What is logged of a report, as plain mappings: nothing here knows MLflow but for the characters it allows in names."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from pipeline.ablation import AblationReport
from pipeline.findings import batch_sizes, faster, runtimes, series_of
from pipeline.headline import headline, points
from pipeline.measurements import Candidate, RunReport
from pipeline.records import digest_of

FORBIDDEN = re.compile(r"[^\w\-. ]")  # in the name of a metric; a slash is left to group them
MASSES = ("removed_mass", "mass_bound", "random_mass", "uniform_mass", "exchange_margin")
TIMES = ("p50_ms", "p50_low_ms", "p50_high_ms", "p90_ms", "p95_ms", "p99_ms", "mean_ms", "cpu_ms", "throughput")
RATIOS = ("speedup", "speedup_low", "speedup_high", "fp32_speedup", "fp32_speedup_low", "fp32_speedup_high", "macs_ratio")
PER_CLASS_LIMIT = 100  # recall class by class only up to here: more charts than that nobody reads


def parent_tags(report: RunReport, flow_run_url: str = "") -> dict[str, str]:
    """Whence the sweep comes, and its finding as the run's description."""
    return {
        "fair_pruner.report_digest": report.digest,
        "fair_pruner.measurement_digest": measurement_digest(report),
        "fair_pruner.config_digest": report.config_digest,
        "fair_pruner.latency_digest": report.latency.digest,
        "fair_pruner.git_commit": report.git_commit,
        "fair_pruner.rebuilt_from": report.rebuilt_from,
        "fair_pruner.pareto": ", ".join(report.pareto),
        "prefect.flow_run_id": report.flow_run_id,
        "prefect.flow_run_url": flow_run_url,
        "fair_pruner.recommended": report.recommendation.candidate,
        "fair_pruner.recommended_precision": report.recommendation.precision if report.recommendation.candidate else "",
        "mlflow.note.content": f"{headline(report)} {report.recommendation.reason}.",
    }


def measurement_digest(report: RunReport) -> str:
    """Digest of the measured latencies, which the report's own digest leaves out."""
    return digest_of(report.latency.model_dump(mode="json", exclude={"seconds"}))


def parent_params(report: RunReport | AblationReport) -> dict[str, str]:
    """The configuration, one entry a leaf such as `train.epochs`."""
    return dict(_leaves(report.config, ""))


def parent_metrics(report: RunReport) -> dict[str, float]:
    """The best of the sweep beside the dense model, because MLflow's charts show parents only until they are unfolded."""
    first = batch_sizes(report.latency)[0]
    found = faster(report, first)
    metrics = {
        "candidates": float(len(report.candidates) - 1),
        "candidates_faster": float(len(found)),
        "dense_top1_onnx_test": report.candidates[0].onnx_test.top1,
    }
    if found:
        series = series_of(report.latency, found[0].name, first)
        metrics |= {
            "best_top1_onnx_test": found[0].onnx_test.top1,
            "best_points_against_dense": points(report, found[0]),
            "best_speedup": series.speedup,
            "best_speedup_low": series.speedup_low,
            "best_speedup_high": series.speedup_high,
            "best_macs_ratio": report.candidates[0].model.macs / found[0].model.macs,
        }
    return metrics


def candidate_tags(report: RunReport, candidate: Candidate) -> dict[str, str]:
    """Lineage of one candidate and, for each batch size, the verdict."""
    records = {
        "plan": candidate.plan,
        "model": candidate.model,
        "onnx": candidate.onnx,
        "onnx_test": candidate.onnx_test,
        "engine": candidate.engine,
    }
    tags = {f"fair_pruner.{name}_digest": record.digest for name, record in records.items() if record}
    tags |= {"fair_pruner.onnx_sha256": candidate.onnx.file.sha256, "fair_pruner.weights_sha256": candidate.model.weights.sha256}
    tags |= {"fair_pruner.engine_status": candidate.engine.status, "fair_pruner.engine_reason": candidate.engine.reason}
    for size in batch_sizes(report.latency):
        tags[f"fair_pruner.verdict_batch_{size}"] = series_of(report.latency, candidate.name, size).verdict
    return tags


def candidate_params(candidate: Candidate) -> dict[str, str]:
    """What was decided about one candidate."""
    architecture, engine = candidate.model.architecture, candidate.engine
    values = {
        "candidate": candidate.name,
        "tolerance": "dense" if candidate.tolerance is None else f"{candidate.tolerance:.6g}",
        **_plan_params(candidate),
        "architecture": f"{architecture.source}:{architecture.name}",
        "stage": candidate.model.stage,
        "opset": str(candidate.onnx.opset),
        "engine_status": engine.status,
        "engine_library": f"{engine.library} {engine.library_version}".strip(),
        "engine_precision": engine.precision,
    }
    return {name: value for name, value in values.items() if value}


def _plan_params(candidate: Candidate) -> dict[str, str]:
    """How it was cut; nothing for the dense model."""
    plan = candidate.plan
    return {"rule": plan.rule, "goal": str(plan.goal), "rounds": str(plan.rounds)} if plan else {}


def candidate_metrics(report: RunReport, candidate: Candidate) -> dict[str, float]:
    """Every number known about one candidate, by metric name; shares are in [0, 1], times in ms or s as named."""
    model, test, engine = candidate.model, candidate.onnx_test, candidate.engine
    dense = report.candidates[0].model
    metrics: dict[str, float] = {
        "params": model.params,
        "macs": model.macs,
        "macs_share": model.macs / dense.macs,
        "onnx_bytes": candidate.onnx.file.size_bytes,
        "weights_bytes": model.weights.size_bytes,
        "top1_torch_validation": candidate.torch_validation.top1,
        "top1_torch_test": candidate.torch_test.top1,
        "top1_onnx_test": test.top1,
        "points_against_dense": points(report, candidate),
        "recall_min_onnx_test": min(test.recall),
        "parity_max_abs_diff": candidate.onnx.parity.max_abs_diff,
        "parity_max_relative_diff": candidate.onnx.parity.max_relative_diff,
        "parity_top1_agreement": candidate.onnx.parity.top1_agreement,
    }
    if candidate.recalibrated_validation:
        metrics["top1_recalibrated_validation"] = candidate.recalibrated_validation.top1
    if test.top5 is not None:
        metrics["top5_onnx_test"] = test.top5
    if model.stage == "finetuned":
        metrics["top1_finetuned_validation"] = candidate.torch_validation.top1
    if candidate.plan:
        plan = candidate.plan
        metrics |= {"tolerance": plan.tolerance, "units": plan.units, "units_removed": plan.units_removed}
        metrics |= {name: getattr(plan, name) for name in MASSES}
        metrics |= {_key("units_removed_of", depth.group): depth.removed for depth in plan.depths}
        metrics |= {_key("tod_of", depth.group): depth.tod for depth in plan.depths}
    if engine.file:
        metrics["engine_bytes"] = engine.file.size_bytes
    if candidate.engine_validation:
        metrics["top1_engine_validation"] = candidate.engine_validation.top1
    if engine.build_seconds is not None:
        metrics["engine_build_seconds"] = engine.build_seconds
    if len(test.recall) <= PER_CLASS_LIMIT:
        metrics |= {_key("recall_onnx_test", f"class_{index:02d}"): recall for index, recall in enumerate(test.recall)}
    metrics |= {_key("seconds", stage): seconds for stage, seconds in candidate.stage_seconds.items()}
    if candidate.plan and candidate.plan.latency_ms is not None:
        metrics["predicted_latency_ms"] = candidate.plan.latency_ms
    return metrics | _variant_metrics(candidate) | _latency_metrics(report, candidate)


def _variant_metrics(candidate: Candidate) -> dict[str, float]:
    """Sizes, losses and parity of the files in other precisions, grouped by precision."""
    metrics: dict[str, float] = {}
    for variant in candidate.variants:
        parity = variant.onnx.parity
        values = {
            "onnx_bytes": variant.onnx.file.size_bytes,
            "engine_bytes": variant.engine.file.size_bytes if variant.engine.file else None,
            "top1_onnx_validation": variant.validation.top1,
            "top1_engine_validation": variant.engine_validation.top1 if variant.engine_validation else None,
            "points_against_fp32": variant.against.points,
            "mcnemar_p": variant.against.p_value,
            "parity_max_relative_diff": parity.max_relative_diff,
            "parity_top1_agreement": parity.top1_agreement,
            "sqnr_db": parity.sqnr_db,
        }
        metrics |= {f"{variant.onnx.precision}/{name}": value for name, value in values.items() if value is not None}
    return metrics


def curve(candidate: Candidate) -> list[tuple[str, float, int]]:
    """The training curve as (metric, value, step of the optimiser): of the training, and for a pruned model the fine-tuning."""
    model = candidate.model
    losses = [(f"training/{name}", float(getattr(point, name)), point.step) for point in model.steps for name in ("loss", "lr")]
    found = [("epoch", "epoch"), ("top1_validation", "top1_validation"), ("epoch_loss", "loss")]
    return losses + [(f"training/{n}", float(getattr(each, field)), each.step) for each in model.history for n, field in found]


def _latency_metrics(report: RunReport, candidate: Candidate) -> dict[str, float]:
    """The fp32 file in the first runtime under short names, everything else with its precision and runtime in them."""
    metrics: dict[str, float] = {}
    first = runtimes(report.latency)[0]
    for series in report.latency.series:
        if series.candidate != candidate.name:
            continue
        plain = (series.precision, series.runtime) == ("fp32", first)
        which = f"batch_{series.batch_size}" if plain else f"{series.precision}_{series.runtime}_batch_{series.batch_size}"
        values = {f"latency_{which}/{name}": getattr(series, name) for name in TIMES}
        values |= {f"{name}_{which}": getattr(series, name) for name in RATIOS}
        metrics |= {name: value for name, value in values.items() if value is not None}
    return metrics


def _leaves(values: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, str]]:
    for key, value in values.items():
        name = FORBIDDEN.sub("_", f"{prefix}{key}")
        if isinstance(value, Mapping) and value:
            yield from _leaves(value, f"{name}.")
        else:
            yield name, str(value)


def _key(group: str, name: str) -> str:
    return f"{group}/{FORBIDDEN.sub('_', name)}"
