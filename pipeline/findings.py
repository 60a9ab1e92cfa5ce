"""What the numbers of a sweep say: who is not beaten, who is really faster, and how sure an accuracy is."""

import math
from collections.abc import Sequence

from pipeline.errors import StageError
from pipeline.exported import Precision
from pipeline.latency import LatencyReport, LatencySeries, Runtime
from pipeline.measurements import Candidate, RunReport

RUNTIME_NAMES: dict[Runtime, str] = {
    "torch": "torch",
    "onnxruntime": "ONNX Runtime",
    "onnxruntime-cuda": "ONNX Runtime with CUDA",
    "onnxruntime-tensorrt": "ONNX Runtime with TensorRT",
    "openvino": "OpenVINO",
    "tensorrt": "TensorRT",
}
NORMAL_95 = 1.959963984540054


def pareto(points: Sequence[tuple[float, float]]) -> tuple[int, ...]:
    """Indices, ascending, of the (accuracy, latency) points that no other point dominates.

    Accuracy is better high, latency better low. A point dominates another if it is at least as good in both and better in
    one; equal points do not dominate each other.
    """
    best_before = -math.inf
    kept: list[int] = []
    order = sorted(range(len(points)), key=lambda index: (points[index][1], -points[index][0]))
    for index in order:
        accuracy = points[index][0]
        if accuracy > best_before or (kept and points[index] == points[kept[-1]]):
            kept.append(index)
            best_before = accuracy
    return tuple(sorted(kept))


def batch_sizes(latency: LatencyReport) -> tuple[int, ...]:
    """The measured batch sizes in the order of the measurement; the first one decides headline and Pareto front."""
    return tuple(dict.fromkeys(series.batch_size for series in latency.series))


def runtimes(latency: LatencyReport) -> tuple[Runtime, ...]:
    """What ran the files, in the order of the configuration; the first one decides headline and Pareto front."""
    return tuple(dict.fromkeys(series.runtime for series in latency.series))


def series_of(
    latency: LatencyReport, candidate: str, batch_size: int, precision: Precision = "fp32", runtime: Runtime | None = None
) -> LatencySeries:
    """The measurement of one file at one batch size, in the first runtime unless told. Raises StageError if it was not made."""
    found = measured(latency, candidate, batch_size, precision, runtime)
    if found is None:
        raise StageError(
            f"the latency report has nothing on {candidate} at batch size {batch_size}; measure all candidates together"
        )
    return found


def measured(
    latency: LatencyReport, candidate: str, batch_size: int, precision: str, runtime: Runtime | None = None
) -> LatencySeries | None:
    """The same, or None: files of some precisions are not measured in every runtime."""
    which = runtime or runtimes(latency)[0]
    wanted = (candidate, batch_size, precision, which)
    return next((s for s in latency.series if (s.candidate, s.batch_size, s.precision, s.runtime) == wanted), None)


def faster(report: RunReport, batch_size: int) -> tuple[Candidate, ...]:
    """Candidates with the verdict "faster", most accurate in ONNX Runtime first, of equals the one with the larger speed-up."""
    latency = report.latency
    found = [c for c in report.candidates if series_of(latency, c.name, batch_size).verdict == "faster"]
    return tuple(sorted(found, key=lambda c: (-c.onnx_test.top1, -series_of(latency, c.name, batch_size).speedup)))


def wilson(share: float, samples: int) -> tuple[float, float]:
    """95 % Wilson score interval of a share in [0, 1] that was counted on `samples` images (>= 1)."""
    z2 = NORMAL_95**2
    centre = (share + z2 / (2 * samples)) / (1 + z2 / samples)
    half = NORMAL_95 / (1 + z2 / samples) * math.sqrt(share * (1 - share) / samples + z2 / (4 * samples**2))
    return min(share, max(0.0, centre - half)), max(share, min(1.0, centre + half))
