"""Every precision in every runtime that this machine has: python tests/benchmarks/precisions.py [--only a,b] [--output FOLDER]

The dense model and one candidate of three networks go through the product's own stages: digits (trained here), ResNet-20 on
Fashion-MNIST (trained weights in tests/data, recalibrated after the cut), and torchvision's ResNet-18 at 224x224, random weights,
of which only bytes and speed say anything. All files are then measured in ONNX Runtime and OpenVINO on the CPU (also those that
a sweep leaves out, because their runtime gains nothing from them), and engines are built. The table in Markdown goes to stdout.
Needs a machine with nothing else to do, pip install fair-pruner[cpu,openvino,rtx], and Debian's dataset-fashion-mnist.
"""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from flows.environment import prepare_environment

prepare_environment()

from arguments import chosen  # noqa: E402
from trained import WEIGHTS  # noqa: E402

from flows.branch import branch, measured  # noqa: E402
from flows.sweep import prepare  # noqa: E402
from flows.tasks import DirectRunner  # noqa: E402
from pipeline.benchmark import benchmark  # noqa: E402
from pipeline.config import RunConfig, load_config  # noqa: E402
from pipeline.device_text import conditions  # noqa: E402
from pipeline.exported import EngineRecord, OnnxRecord  # noqa: E402
from pipeline.findings import RUNTIME_NAMES  # noqa: E402
from pipeline.latency import Contestant, LatencyReport, LatencySeries, Runtime  # noqa: E402
from pipeline.measurements import Candidate, PairedTest  # noqa: E402
from pipeline.preflight import preflight  # noqa: E402

ROOT = Path(__file__).resolve().parents[2]
CPU_RUNTIMES: tuple[Runtime, ...] = ("onnxruntime", "openvino")
CHANGES = {
    "digits": (ROOT / "deploy/configs/digits.yaml", ("allocate.tolerances=[0.4]", "benchmark.batch_sizes=[1]")),
    "fashion_mnist_resnet20": (
        ROOT / "deploy/configs/fashion_mnist_resnet20.yaml",
        (f"model.checkpoint={WEIGHTS}", "allocate.tolerances=[0.3]", "finetune.epochs=0", "benchmark.batch_sizes=[1]"),
    ),
    "resnet18": (
        ROOT / "deploy/configs/digits.yaml",
        (
            "name=resnet18",
            "data={name: digits, image_size: 224, resize: 224, channels: 3}",
            "model={source: torchvision, name: resnet18}",
            "train.epochs=0",
            "calibrate.per_class=8",
            "allocate={tolerances: [0.4], round_to: 16}",
            "finetune.epochs=0",
            "export.samples=64",
            "quantize.samples=64",
            "benchmark.batch_sizes=[1]",
        ),
    ),
}
COLUMNS = (
    "model",
    "file",
    "MB",
    "relative difference",
    "SQNR, dB",
    "validation top-1",
    "points against fp32 (p)",
    *(f"{RUNTIME_NAMES[runtime]}: ms, speed-up, verdict" for runtime in CPU_RUNTIMES),
    "engine",
)


class File(NamedTuple):
    """One ONNX file of a candidate."""

    candidate: Candidate
    onnx: OnnxRecord
    top1: float
    against: PairedTest | None
    engine: EngineRecord


def candidates_of(config: RunConfig, run: DirectRunner) -> list[Candidate]:
    """The dense model and what the configuration cuts it to."""
    start = prepare(run, config, preflight(config))
    dense = measured(run, config, "dense", start.model, start.calibration, made=(start.model,))
    return [dense, *(branch(run, config, start.model, start.calibration, start.layer_costs, plan) for plan in start.plans)]


def files_of(candidate: Candidate) -> Iterator[File]:
    yield File(candidate, candidate.onnx, candidate.onnx_validation.top1, None, candidate.engine)
    for one in candidate.variants:
        yield File(candidate, one.onnx, one.validation.top1, one.against, one.engine)


def row(name: str, file: File, latency: LatencyReport, trained: bool) -> str:
    parity, paired = file.onnx.parity, file.against
    cells = (
        f"{name}, {file.candidate.name}",
        file.onnx.precision,
        f"{file.onnx.file.size_bytes / 1e6:.2f}",
        f"{parity.max_relative_diff:.1e}",
        "-" if parity.sqnr_db is None or paired is None else f"{parity.sqnr_db:.1f}",
        f"{file.top1:.2%}" if trained else "random weights",
        "-" if paired is None or not trained else f"{paired.points:+.2f} ({paired.p_value:.2g})",
        *(cell(series_of(latency, file, runtime)) for runtime in CPU_RUNTIMES),
        f"{file.engine.status}, {file.engine.file.size_bytes / 1e6:.2f} MB" if file.engine.file else file.engine.status,
    )
    return f"| {' | '.join(cells)} |"


def series_of(latency: LatencyReport, file: File, runtime: Runtime) -> LatencySeries:
    wanted = (file.candidate.name, file.onnx.precision, runtime)
    return next(one for one in latency.series if (one.candidate, one.precision, one.runtime) == wanted)


def cell(series: LatencySeries) -> str:
    if series.verdict == "reference":
        return f"{series.p50_ms:.3f}"
    return f"{series.p50_ms:.3f}, {series.speedup:.2f} [{series.speedup_low:.2f}, {series.speedup_high:.2f}] {series.verdict}"


def main() -> None:
    wanted, output = chosen(__doc__, CHANGES)
    rows, latency = [], None
    for name in wanted:
        path, changes = CHANGES[name]
        config = load_config(path, (*changes, f"output={output}", "benchmark.min_seconds=3"))
        run = DirectRunner(config.output)
        files = [file for candidate in candidates_of(config, run) for file in files_of(candidate)]
        everything = tuple(
            Contestant.of(file.candidate.name, file.onnx, file.candidate.model.macs, runtime)
            for runtime in CPU_RUNTIMES
            for file in files
        )
        latency = benchmark(everything, config.benchmark, run.store)
        rows += [row(name, file, latency, trained=name != "resnet18") for file in files]
        print(rows[-len(files) :], file=sys.stderr, flush=True)  # noqa: T201
    print(f"| {' | '.join(COLUMNS)} |\n|{'---|' * len(COLUMNS)}", *rows, sep="\n")  # noqa: T201
    if latency:
        print("", *conditions(latency), sep="\n")  # noqa: T201


if __name__ == "__main__":
    main()
