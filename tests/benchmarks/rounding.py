"""What `round_to: auto` gains at equal tolerance: python tests/benchmarks/rounding.py [--only a,b] [--output FOLDER]

The quickstart's VGG (trained here on the first call) and the trained ResNet-20 in tests/data are cut at the same tolerance with
round_to 1, 8, 16 and auto, exported, and measured interleaved in ONNX Runtime beside the dense model and beside each other;
with the latency that the layer costs predict; the ResNet-20 also in int8. Nothing is fine-tuned: this is about speed alone.
Needs a machine with nothing else to do, and Debian's dataset-fashion-mnist.
"""

from pathlib import Path

from flows.environment import prepare_environment

prepare_environment()

from arguments import chosen  # noqa: E402
from trained import WEIGHTS  # noqa: E402

from flows.branch import quantized  # noqa: E402
from flows.sweep import Start, prepare  # noqa: E402
from flows.tasks import DirectRunner, export_task, prune_task, recalibrate_task  # noqa: E402
from pipeline.benchmark import benchmark  # noqa: E402
from pipeline.config import RunConfig, load_config  # noqa: E402
from pipeline.device_text import conditions  # noqa: E402
from pipeline.latency import Contestant, LatencyReport, LatencySeries  # noqa: E402
from pipeline.preflight import preflight  # noqa: E402
from pipeline.records import ModelRecord, PlanRecord  # noqa: E402

ROOT = Path(__file__).resolve().parents[2]
WAYS = ("1", "8", "16", "auto")
COMMON = ("layer_costs.enabled=true", "benchmark.batch_sizes=[1]", "benchmark.min_seconds=3")
RESNET20 = (f"model.checkpoint={WEIGHTS}", "allocate.tolerances=[0.3]")
CONFIGS = {
    "digits": ("digits.yaml", ("allocate.tolerances=[0.4]",)),
    "fashion_mnist_resnet20": ("fashion_mnist_resnet20.yaml", RESNET20),
    "fashion_mnist_resnet20_int8": ("fashion_mnist_resnet20.yaml", (*RESNET20, "layer_costs.precision=int8-cpu")),
}
COLUMNS = (
    "network",
    "round_to",
    "units removed",
    "MACs",
    "predicted ms",
    "measured ms",
    "error",
    "against dense",
    "against round_to 1",
)


def exported(run: DirectRunner, config: RunConfig, start: Start, plan: PlanRecord, name: str) -> Contestant:
    common = {"data": config.data, "seed": config.seed}
    pruned = run(prune_task, name, model=start.model, plan=plan)
    model = run(recalibrate_task, name, model=pruned, calibration=start.calibration, config=config.recalibrate, **common)
    return contestant(run, config, start, model, name)


def contestant(run: DirectRunner, config: RunConfig, start: Start, model: ModelRecord, name: str) -> Contestant:
    """The file that layer costs are about, as if it were anybody's own, so that it may be the reference in int8 too."""
    onnx = run(export_task, name, model=model, data=config.data, seed=config.seed, config=config.export)
    if config.layer_costs.precision != "fp32":
        onnx = quantized(run, config, name, onnx, config.layer_costs.precision, start.calibration)
    return Contestant.of(name, onnx, model.macs).model_copy(update={"subject": ""})


def speedup(series: LatencySeries) -> str:
    return f"{series.speedup:.2f} [{series.speedup_low:.2f}, {series.speedup_high:.2f}] {series.verdict}"


def compared(config: RunConfig, name: str) -> tuple[list[str], LatencyReport]:
    """A row each way, and the measurement."""
    run, architecture = DirectRunner(config.output), preflight(config)
    plans, files = {}, []
    for way in WAYS:
        settings = config.allocate.model_copy(update={"round_to": way if way == "auto" else int(way)})
        start = prepare(run, config.model_copy(update={"allocate": settings}), architecture)
        (plans[way],) = start.plans
        files.append(exported(run, config, start, plans[way], f"round_to {way}"))
    dense = contestant(run, config, start, start.model, "dense")
    # one measurement; then the same files once more with the first of them as the reference
    against_dense = benchmark((dense, *files), config.benchmark, run.store)
    against_first = benchmark(tuple(files), config.benchmark, run.store)
    rows = []
    for place, way in enumerate(WAYS):
        plan, series = plans[way], against_dense.series[place + 1]
        assert plan.latency_ms is not None
        first = against_first.series[place]
        cells = (
            name,
            way,
            f"{plan.units_removed / plan.units:.1%}",
            f"{plan.macs / start.model.macs:.0%}",
            f"{plan.latency_ms:.3f}",
            f"{series.p50_ms:.3f}",
            f"{plan.latency_ms / series.p50_ms - 1:+.0%}",
            speedup(series),
            "1" if first.verdict == "reference" else speedup(first),
        )
        rows.append(f"| {' | '.join(cells)} |")
    return rows, against_dense


def main() -> None:
    wanted, output = chosen(__doc__, CONFIGS)
    print(f"| {' | '.join(COLUMNS)} |\n|{'---|' * len(COLUMNS)}")  # noqa: T201
    latency = None
    for name in wanted:
        file, changes = CONFIGS[name]
        config = load_config(ROOT / "deploy" / "configs" / file, (*COMMON, *changes, f"output={output}"))
        rows, latency = compared(config, name)
        print(*rows, sep="\n", flush=True)  # noqa: T201
    if latency:
        print("", *conditions(latency), sep="\n")  # noqa: T201


if __name__ == "__main__":
    main()
