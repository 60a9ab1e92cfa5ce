"""Which file to ship: the quickest one that the gate lets pass, or plainly none."""

from pipeline.bounds import best, judge
from pipeline.config import GateConfig
from pipeline.latency import LatencyReport
from pipeline.measurements import Candidate, Recommendation


def recommend(
    candidates: tuple[Candidate, ...], latency: LatencyReport, gate: GateConfig, batch_size: int | None = None
) -> Recommendation:
    """The file with the largest speed-up (by the lower end of its interval) of those that `gate` lets pass.

    candidates[0] is the dense model, whose fp32 file is the reference; its other files may be recommended too. Decided at
    `batch_size` (default: the first) and in the first runtime, with the accuracy on the validation images.
    """
    files = judge(candidates, latency, gate, batch_size)
    refused = {file.name: "; ".join(file.objections) for file in files if file.objections}
    found = best(files)
    if found is None:
        return Recommendation(reason=_none(refused), refused=refused)
    series = found.series
    reason = (
        f"{found.candidate.name} in {found.onnx.precision} is at least {series.speedup_low:.2f} times as fast as the dense model "
        f"in {series.runtime} at batch {series.batch_size} and {_change(found.drop)} on the validation images"
    )
    return Recommendation(
        candidate=found.candidate.name, precision=found.onnx.precision, runtime=series.runtime, reason=reason, refused=refused
    )


def _change(drop: float) -> str:
    return f"loses {100 * drop:.2f} points" if drop > 0 else f"gains {-100 * drop:.2f} points" if drop < 0 else "loses nothing"


def _none(refused: dict[str, str]) -> str:
    if not refused:
        return "nothing is recommended: only the dense model was measured"
    name, why = next(iter(refused.items()))
    if len(refused) == 1:
        return f"nothing is recommended: {name} does not pass the gate ({why})"
    return f"nothing is recommended: none of the {len(refused)} files passes the gate, first {name} ({why})"
