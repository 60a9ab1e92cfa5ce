"""What is logged of a report, before any of it goes to MLflow."""

from pipeline.measurements import RunReport
from pipeline.report import report
from pipeline.track_values import candidate_metrics, parent_tags


def test_every_precision_and_runtime_has_names_of_its_own(with_variants):
    result = report(**with_variants)
    metrics = candidate_metrics(result, result.candidates[1])
    assert metrics["int8-cpu/top1_onnx_validation"] == 0.85
    assert metrics["int8-cpu/mcnemar_p"] == 0.0005
    assert metrics["fp16/sqnr_db"] == 30.0
    assert metrics["fp16/engine_bytes"] == result.candidates[1].engine.file.size_bytes
    assert "int8-cpu/engine_bytes" not in metrics
    assert metrics["latency_int8-cpu_onnxruntime_batch_1/p50_ms"] == 0.25
    assert metrics["fp32_speedup_low_int8-cpu_onnxruntime_batch_1"] == 1.5
    assert (metrics["latency_batch_1/p50_ms"], metrics["speedup_batch_1"]) == (0.4, 1.25)


def test_the_parent_names_what_to_ship(with_variants):
    result: RunReport = report(**with_variants)
    tags = parent_tags(result)
    assert (tags["fair_pruner.recommended"], tags["fair_pruner.recommended_precision"]) == ("tolerance-0.2", "fp32")
    assert tags["mlflow.note.content"].endswith(f"{result.recommendation.reason}.")
