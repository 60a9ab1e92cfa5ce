"""The parts of report.md that concern the device: latency, precisions, engines, predictions, what to ship."""

from collections.abc import Iterator

from pipeline.exported import EngineRecord, OnnxRecord
from pipeline.findings import batch_sizes, measured, runtimes
from pipeline.headline import interval
from pipeline.latency import LatencyReport, LatencySeries
from pipeline.markdown import section
from pipeline.measurements import Candidate, EvalReport, RunReport, Variant

LATENCY_NOTE = """\
Time of one batch; 95% intervals in brackets. The speed-up is against the dense model's fp32 file in the same runtime, 1 is equal.
The verdict is "faster" only if the whole interval lies above 1, "slower" if it lies below; around 1 it is "too noisy to tell" if
the interval is wide, else "not faster". The MACs ratio is what the arithmetic alone would promise; only what the clock shows is
a speed-up. CPU time is that of all threads of the process together."""
PRECISION_NOTE = """\
Every file is compared with its candidate's fp32 file, in ONNX Runtime on the CPU: logits on {parity} validation images
(SQNR: signal-to-noise ratio, higher is closer), and top-1 on all {samples} of them. p is McNemar's: how often chance alone would
part two equally good classifiers so far. int8-cpu is for ONNX Runtime and OpenVINO on CPUs, int8-trt and fp16 for TensorRT; what
a file is not meant for is not measured there. What stands under "against it" is never recommended."""
PREDICTION_NOTE = """\
Predicted from the latency of single layers, measured beforehand on this machine, in {costs.precision} and for batches of
{costs.batch_size}; the dense model's own latency calibrates their sum. The error is predicted over measured, minus one."""
ENGINE_NOTE = """\
{what} The log of each build lies beside its engine."""
NO_ENGINE_TIMES = "No latency in this report comes from an engine."


def recommendation(report: RunReport) -> str:
    """What to ship, in a sentence."""
    found = report.recommendation
    return f"{'To ship: ' if found.candidate else ''}{found.reason}."


def latency(report: RunReport) -> str:
    """Every file that was measured, at every batch size, in every runtime."""
    several = len(runtimes(report.latency)) > 1 or len({series.precision for series in report.latency.series}) > 1
    rows = [
        (
            str(s.batch_size),
            s.candidate,
            *((s.precision, s.runtime) if several else ()),
            f"{s.p50_ms:.3f} ({s.p50_low_ms:.3f} to {s.p50_high_ms:.3f})",
            f"{s.p90_ms:.3f}",
            f"{s.p95_ms:.3f}",
            f"{s.p99_ms:.3f}",
            "-" if s.cpu_ms is None else f"{s.cpu_ms:.3f}",
            f"{s.throughput:,.0f}",
            "1" if s.verdict == "reference" else interval(s),
            str(s.verdict),
            "-" if s.macs_ratio is None else f"{s.macs_ratio:.2f}",
        )
        for s in report.latency.series
    ]
    titles = ("p50 [ms]", "p90 [ms]", "p95 [ms]", "p99 [ms]", "CPU time [ms]", "images/s", "speed-up", "verdict", "MACs ratio")
    heads = ("batch", "candidate", *(("precision", "runtime") if several else ()), *titles)
    return section("Latency", LATENCY_NOTE, heads, rows)


def prediction(report: RunReport) -> tuple[str, ...]:
    """What the layer costs predicted, beside what was measured; nothing where they were not measured."""
    costs, rows = report.layer_costs, []
    if costs is None:
        return ()
    for candidate, series in _predicted(report):
        assert candidate.plan and candidate.plan.latency_ms is not None
        predicted = candidate.plan.latency_ms
        rows.append((candidate.name, f"{predicted:.3f}", f"{series.p50_ms:.3f}", f"{predicted / series.p50_ms - 1:+.1%}"))
    titles = ("candidate", "predicted [ms]", "measured p50 [ms]", "error")
    return (section("Predicted latency", PREDICTION_NOTE.format(costs=costs), titles, rows),)


def _predicted(report: RunReport) -> Iterator[tuple[Candidate, LatencySeries]]:
    costs = report.layer_costs
    for c in report.candidates:
        if costs and c.plan and c.plan.latency_ms is not None:
            found = measured(report.latency, c.name, costs.batch_size, costs.precision, costs.runtime)
            if found and report.latency.threads == costs.threads:
                yield c, found


def precisions(report: RunReport) -> tuple[str, ...]:
    """Every file in another precision than fp32, its losses and its gains; nothing where there is none."""
    dense, rows = report.candidates[0], []
    for candidate in report.candidates:
        for variant in candidate.variants:
            rows.append(_variant_row(report, candidate, variant))
    if not rows:
        return ()
    titles = (
        "candidate",
        "precision",
        "MB",
        "largest relative difference",
        "SQNR [dB]",
        "same top-1",
        "top-1 validation",
        "points against fp32",
        "p",
        f"speed-up against its fp32, batch {batch_sizes(report.latency)[0]}",
        "engine",
        "against it",
    )
    note = PRECISION_NOTE.format(samples=dense.onnx_validation.samples, parity=dense.onnx.parity.samples)
    return (section("Precisions", note, titles, rows),)


def _variant_row(report: RunReport, candidate: Candidate, variant: Variant) -> tuple[str, ...]:
    onnx, size = variant.onnx, batch_sizes(report.latency)[0]
    series = measured(report.latency, candidate.name, size, onnx.precision)
    return (
        candidate.name,
        onnx.precision,
        f"{onnx.file.size_bytes / 1e6:.3f}",
        f"{onnx.parity.max_relative_diff:.1e}",
        "-" if onnx.parity.sqnr_db is None else f"{onnx.parity.sqnr_db:.1f}",
        f"{onnx.parity.top1_agreement:.2%}",
        f"{variant.validation.top1:.2%}",
        f"{variant.against.points:+.2f}",
        f"{variant.against.p_value:.2g}",
        _fp32_speedup(series),
        engine_status(variant.engine),
        _against(report, candidate, onnx),
    )


def _fp32_speedup(series: LatencySeries | None) -> str:
    if series is None or series.fp32_speedup is None:
        return "not measured"
    return f"{series.fp32_speedup:.2f} ({series.fp32_speedup_low:.2f} to {series.fp32_speedup_high:.2f})"


def _against(report: RunReport, candidate: Candidate, onnx: OnnxRecord) -> str:
    return report.recommendation.refused.get(f"{candidate.name} {onnx.precision}", "-")


def conditions(report: LatencyReport) -> tuple[str, ...]:
    """The conditions of a latency measurement, a line each."""
    machine, runs = report.machine, sorted({series.runs for series in report.series})
    versions = ", ".join(f"{name} {version}" for name, version in sorted(machine.versions.items()))
    clocks = [f"governor {machine.governor}" if machine.governor else "frequency governor not visible"]
    clocks += [f"{machine.mhz:.0f} MHz at the start"] if machine.mhz else []
    clocks += ["throttling not visible" if machine.throttled is None else f"throttled {machine.throttled} times meanwhile"]
    pinned = f", held to core{'s' * (len(report.pinned) > 1)} {', '.join(map(str, report.pinned))}" if report.pinned else ""
    return (
        f"machine: {machine.cpu}, {machine.cores} cores, {machine.system}; {machine.gpu or 'no GPU'}",
        f"clocks: {', '.join(clocks)}",
        f"software: {versions}",
        f"runtimes: {', '.join(runtimes(report))}, threads: {report.threads}{pinned}",
        f"runs of each file and batch size: {' to '.join(map(str, dict.fromkeys((runs[0], runs[-1]))))}, "
        f"in {report.rounds} rounds, each in a process of its own, all files interleaved",
        f"other work when it began: {machine.busy_cores:.2f} cores busy; load average {machine.load_average:.2f}, which counts "
        "the minute before too (in a sweep its own training)",
    )


def engines(report: RunReport) -> str:
    """Every engine, or why there is none."""
    rows = [
        _engine_row(candidate.name, onnx.precision, engine, accuracy)
        for candidate in report.candidates
        for onnx, _, engine, accuracy in candidate.files
        if onnx.precision != "int8-cpu"
    ]
    titles = (
        "candidate",
        "file",
        "status",
        "bytes",
        "library",
        "precision",
        "batch min / opt / max",
        "for",
        "build [s]",
        "peak memory [MB]",
        "top-1 validation",
        "reason",
    )
    what = "" if "tensorrt" in runtimes(report.latency) else NO_ENGINE_TIMES
    return section("TensorRT engines", ENGINE_NOTE.format(what=what), titles, rows)


def _engine_row(candidate: str, precision: str, e: EngineRecord, accuracy: EvalReport | None) -> tuple[str, ...]:
    return (
        candidate,
        precision,
        engine_status(e),
        f"{e.file.size_bytes:,}" if e.file else "-",
        f"{e.library} {e.library_version}".strip() or "-",
        e.precision or "-",
        " / ".join(map(str, e.profile)) if e.profile else "-",
        e.gpu or ", ".join(e.targets) or ("all RTX cards it knows" if e.file else "-"),
        f"{e.build_seconds:.1f}" if e.build_seconds is not None else "-",
        f"{e.peak_memory_bytes / 1e6:.0f}" if e.peak_memory_bytes is not None else "-",
        f"{accuracy.top1:.2%}" if accuracy else "-",
        e.reason or "-",
    )


def engine_status(engine: EngineRecord) -> str:
    """The status in words that claim no more than was done."""
    return {"skipped": "none", "built": "built, not executed", "executed": "built and executed"}[engine.status]
