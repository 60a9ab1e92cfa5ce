"""One cut of each family of networks, from the config to the engine: python tests/benchmarks/families.py [--only a,b]

Every family goes through the product's own stages: preflight, dense, calibrate, score, allocate, prune, recalibrate, export
with parity, build_engine. The weights are random, for what is asked here is whether the way through works and what it takes
away, not what it does to the accuracy. Only the BatchNorm statistics of the dense model are measured first, by `recalibrate`:
with those that a new network has, signals fade to 1e-13 on their way through EfficientNet, and little would be compared.
Images are scikit-learn's handwritten digits, enlarged to what the network expects.
A row is written to stderr as soon as it is done; the table in Markdown comes last, on stdout. A family that fails in a stage
gets a row with the reason, and the command then exits with 1. Takes about ten minutes on 2 cores.
"""

import argparse
import os
import platform
import shutil
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))  # custom networks are named by their import path from there
os.environ["FAIR_PRUNER_ALLOW_CODE"] = "1"  # and are our own
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # read when onnxruntime is imported
# read when torch is imported: threads that spin for each other take up to 50 times as long when other work has one core
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

from fair_pruner.errors import first_line  # noqa: E402
from pipeline.allocate import allocate  # noqa: E402
from pipeline.build_engine import build_engine  # noqa: E402
from pipeline.calibrate import calibrate  # noqa: E402
from pipeline.config import (  # noqa: E402
    AllocateConfig,
    CalibrateConfig,
    DataConfig,
    ExportConfig,
    ModelConfig,
    RecalibrateConfig,
    RunConfig,
    ScoreConfig,
    TrainConfig,
)
from pipeline.dense import dense  # noqa: E402
from pipeline.doctor import installed_version  # noqa: E402
from pipeline.export import export  # noqa: E402
from pipeline.goals import goals  # noqa: E402
from pipeline.preflight import preflight  # noqa: E402
from pipeline.prune import prune  # noqa: E402
from pipeline.recalibrate import recalibrate  # noqa: E402
from pipeline.score import score  # noqa: E402
from pipeline.store import Store  # noqa: E402

R = TypeVar("R")
MINE = "tests.benchmarks.custom_networks"
NATIVE = 8  # pixels of the digits as they are
PER_CLASS, TOLERANCE, ROUND_TO, BATCH = 4, 0.2, 8, 8
EXPORT = ExportConfig(samples=32, max_batch=BATCH)  # the limits of parity are the product's: random weights keep them too
LIBRARIES = ("torch", "torchvision", "timm", "torch-pruning", "onnx", "onnxruntime")
COLUMNS = (
    "model",
    "input",
    "groups",
    "units",
    "params before → after",
    "MACs before → after",
    "units removed",
    "ONNX max. relative difference",
    "engine",
    "seconds: score / all",
)


@dataclass(frozen=True)
class Family:
    """A network, and the side of its square input in pixels."""

    title: str
    model: ModelConfig
    size: int = 224


def torchvision(title: str, name: str, **kwargs: Any) -> Family:
    return Family(f"{title} (torchvision)", ModelConfig(source="torchvision", name=name, kwargs=kwargs))


def timm(title: str, name: str, embedding: bool = False, **kwargs: Any) -> Family:
    return Family(f"{title} (timm)", ModelConfig(source="timm", name=name, kwargs=kwargs, embedding=embedding))


def mine(title: str, name: str, size: int, **kwargs: Any) -> Family:
    return Family(title, ModelConfig(source="custom", name=f"{MINE}:{name}", kwargs=kwargs), size)


FAMILIES = {  # a ConvNeXt begins with a layer scale of 1e-6, under which none of its blocks would count
    "vgg16_bn": torchvision("VGG-16-BN", "vgg16_bn"),
    "resnet18": torchvision("ResNet-18", "resnet18"),
    "resnet50": torchvision("ResNet-50", "resnet50"),
    "densenet121": torchvision("DenseNet-121", "densenet121"),
    "mobilenet_v2": torchvision("MobileNetV2", "mobilenet_v2"),
    "efficientnet_b0": torchvision("EfficientNet-B0", "efficientnet_b0"),
    "regnet_y_400mf": torchvision("RegNetY-400MF", "regnet_y_400mf"),
    "convnext_tiny": torchvision("ConvNeXt-Tiny", "convnext_tiny", layer_scale=1.0),
    "convnext_tiny_timm": timm("ConvNeXt-Tiny", "convnext_tiny", ls_init_value=1.0),
    "vit_tiny": timm("ViT-Ti/16", "vit_tiny_patch16_224"),
    "vit_small_torchvision": mine("ViT, 6 layers of 16 heads (torchvision)", "small_vit", 224),
    "deit_tiny": timm("DeiT-Ti/16", "deit_tiny_patch16_224"),
    "deit_tiny_embedding": timm("DeiT-Ti/16, `embedding: true`", "deit_tiny_patch16_224", embedding=True),
    "resnet20": Family("ResNet-20 (builtin)", ModelConfig(name="resnet20"), 32),
    "resnet56": Family("ResNet-56 (builtin)", ModelConfig(name="resnet56"), 32),
    "lstm": mine("LSTM, 2 layers", "RowReader", NATIVE, cells="LSTM"),
    "gru": mine("GRU, 2 layers", "RowReader", NATIVE, cells="GRU"),
    "grouped": mine("grouped convolutions", "Grouped", 32),
    "custom": mine(f"one's own, `{MINE}:TwoPaths`", "TwoPaths", 32),
}


def config_of(name: str, family: Family, output: Path) -> RunConfig:
    """The config that a person would write for this family."""
    size = {} if family.size == NATIVE else {"image_size": family.size, "resize": family.size, "channels": 3}
    return RunConfig(
        name=name,
        output=output / name,
        data=DataConfig(name="digits", **size),
        model=family.model,
        train=TrainConfig(epochs=0),
        calibrate=CalibrateConfig(per_class=PER_CLASS),
        score=ScoreConfig(batch_size=BATCH),
        allocate=AllocateConfig(tolerances=(TOLERANCE,), round_to=ROUND_TO),
        recalibrate=RecalibrateConfig(batch_size=BATCH),
        export=EXPORT,
    )


@dataclass
class Outcome:
    """What the stages gave, by their names, as far as they came; `failure` is why they did not come further."""

    records: dict[str, Any] = field(default_factory=dict)
    failure: str = ""
    seconds: float = 0.0

    def run(self, stage: Callable[..., R], **arguments: Any) -> R:
        """What a stage gives, kept. Any error of it is the family's failure, and goes on."""
        try:
            result = stage(**arguments)
        except Exception as error:
            self.failure = f"{stage.__name__}: {type(error).__name__}: {first_line(error)}"
            raise
        self.records[stage.__name__] = result
        return result


def outcome_of(config: RunConfig) -> Outcome:
    """All stages of one family."""
    outcome, start = Outcome(), time.perf_counter()
    try:
        all_stages(config, outcome)
    except Exception:
        if not outcome.failure:  # not of a stage, so of this file
            raise
    outcome.seconds = time.perf_counter() - start
    return outcome


def all_stages(config: RunConfig, outcome: Outcome) -> None:
    run, store = outcome.run, Store(config.output / "store")
    common: dict[str, Any] = {"data": config.data, "seed": config.seed}
    architecture = run(preflight, config=config)
    fresh = run(dense, architecture=architecture, source=config.train, store=store, **common)
    calibration = run(calibrate, config=config.calibrate, **common)
    model = run(recalibrate, model=fresh, calibration=calibration, config=config.recalibrate, store=store, **common)
    scores = run(
        score,
        model=model,
        calibration=calibration,
        ignore=config.model.ignore,
        embedding=config.model.embedding,
        config=config.score,
        label=config.name,
        store=store,
        **common,
    )
    (goal,) = goals(config.allocate)
    plan = run(
        allocate,
        model=model,
        dense=model,
        scores=scores,
        goal=goal,
        way=1.0,
        rule=config.allocate.rule,
        round_to=config.allocate.round_to,
        min_units=config.allocate.min_units,
        layer_costs=None,
        store=store,
    )
    pruned = run(prune, model=model, plan=plan, store=store)
    smaller = run(recalibrate, model=pruned, calibration=calibration, config=config.recalibrate, store=store, **common)
    onnx = run(export, model=smaller, config=config.export, store=store, **common)
    run(build_engine, onnx=onnx, config=config.engine, store=store)


def row(family: Family, outcome: Outcome) -> str:
    """A line of the table, made of the records alone; a dash where a stage was not reached."""
    found = outcome.records.get
    architecture, model, scores, plan, pruned = map(found, ("preflight", "dense", "score", "allocate", "prune"))
    onnx, engine = found("export"), found("build_engine")
    cells = (
        family.title,
        "×".join(map(str, architecture.input_shape)) if architecture else f"{family.size}",
        f"{scores.groups}" if scores else "-",
        f"{scores.units}" if scores else "-",
        change(model.params, pruned.params) if pruned else "-",
        change(model.macs, pruned.macs) if pruned else "-",
        f"{plan.units_removed} ({plan.units_removed / plan.units:.0%})" if plan else "-",
        f"{onnx.parity.max_relative_diff:.1e}" if onnx else "-",
        f"**failed in {outcome.failure}**" if outcome.failure else built(engine),
        f"{scores.seconds:.1f} / {outcome.seconds:.0f}" if scores else f"- / {outcome.seconds:.0f}",
    )
    return f"| {' | '.join(cell.replace('|', '¦') for cell in cells)} |"


def change(before: int, after: int) -> str:
    """Two numbers in the unit that suits the larger one, and the share that is left."""
    scale, unit = next((s, u) for s, u in ((1e9, "G"), (1e6, "M"), (1e3, "k"), (1, "")) if before >= s)
    return f"{before / scale:.2f} → {after / scale:.2f} {unit} ({after / before:.0%})"


def built(engine: Any) -> str:
    return f"{engine.status}, {engine.file.size_bytes / 1e6:.1f} MB" if engine.file else f"{engine.status}: {engine.reason}"


def caption(outcomes: Iterable[Outcome]) -> str:
    """The conditions of all figures, from the records where they have them."""
    calibrations, onnx, engines = (
        [outcome.records[stage] for outcome in outcomes if stage in outcome.records]
        for stage in ("calibrate", "export", "build_engine")
    )
    parities = [record.parity for record in onnx]
    compared = joined(f"{each.samples} in batches of {', '.join(map(str, each.batch_sizes))}" for each in parities)
    same = min((each.top1_agreement for each in parities), default=0.0)
    onnx_said = (
        f"ONNX: largest |torch - ONNX Runtime| over largest |torch| of the pruned model's logits for real images ({compared}); "
        f"limit {EXPORT.max_relative_diff:g}. {'All' if same == 1 else f'At least {same:.0%}'} of them keep their top-1 class. "
        if parities
        else ""
    )
    builders = joined(f"{each.library} {each.library_version}, {each.precision}" for each in engines if each.file)
    return (
        "Random weights (seed 0, not trained; BatchNorm measured), so nothing is said of accuracy. Scored on "
        f"{joined(len(each.indices) for each in calibrations)} images of scikit-learn's digits, resized; tolerance {TOLERANCE}, "
        f"`round_to` {ROUND_TO}, otherwise the defaults. MACs are for one image. {onnx_said}"
        f"{f'Engines: {builders}; built, not executed. ' if builders else ''}Times on {os.cpu_count()} CPUs ({cpu()}), Python "
        f"{platform.python_version()}, {', '.join(f'{name} {installed_version(name)}' for name in LIBRARIES)}."
    )


def cpu() -> str:
    information = Path("/proc/cpuinfo")
    lines = information.read_text().splitlines() if information.is_file() else []
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


def joined(values: Any) -> str:
    return ", ".join(sorted(map(str, set(values))))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default=",".join(FAMILIES), help=f"some of {', '.join(FAMILIES)}, with commas between")
    parser.add_argument("--output", type=Path, help="folder that keeps all files; default: a temporary one")
    arguments = parser.parse_args()
    wanted = arguments.only.split(",")
    if unknown := sorted(set(wanted) - FAMILIES.keys()):
        parser.error(f"there is no family {unknown[0]}; choose from {', '.join(FAMILIES)}")
    warnings.simplefilter("ignore")  # those of torch's exporter about itself
    output = arguments.output or Path(tempfile.mkdtemp(prefix="families-"))
    outcomes, rows = {}, []
    try:
        for name in wanted:
            outcomes[name] = outcome_of(config_of(name, FAMILIES[name], output))
            rows.append(row(FAMILIES[name], outcomes[name]))
            print(rows[-1], file=sys.stderr, flush=True)  # noqa: T201
            if not arguments.output:
                shutil.rmtree(output / name, ignore_errors=True)  # VGG-16 alone leaves gigabytes
    finally:
        if not arguments.output:
            shutil.rmtree(output, ignore_errors=True)
    print(f"| {' | '.join(COLUMNS)} |\n|{'---|' * len(COLUMNS)}", *rows, f"\n{caption(outcomes.values())}", sep="\n")  # noqa: T201
    return int(any(outcome.failure for outcome in outcomes.values()))


if __name__ == "__main__":
    sys.exit(main())
