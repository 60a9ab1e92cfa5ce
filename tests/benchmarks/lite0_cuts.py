"""EfficientNet-Lite0 cut by several plans, and how far each cut network still follows the dense one, for pretrained.py."""

import tempfile
from collections.abc import Iterator, Sequence
from copy import deepcopy
from pathlib import Path
from typing import NamedTuple

import torch
from lite0 import ARCHITECTURE, PREPROCESSING, load_lite0
from photographs import Photograph, crops_of
from teacher import Agreement, agreement, frequent
from torch import Tensor, nn

from fair_pruner import Budget, CostModel, PruningPlan, Ranking, allocate, plan_for, remove, score
from fair_pruner.types import Rule
from pipeline.export import BATCH, EXAMPLE_BATCH, INPUT, OUTPUT
from pipeline.models import example_input
from pipeline.norms import measure_norms
from pipeline.preprocess import normalise
from pipeline.runners import open_file

EVALUATION_SEED = 1000
BATCH_SIZE = 32


class Size(NamedTuple):
    """How much is measured.

    Plans are made for `shares` of the MACs and for `tolerances`. `evaluation` and `calibration` are crops a photograph; of the
    latter the scores get the first `of_class` of each class that has so many, and BatchNorm is measured on `recalibration`.
    """

    photographs: int | None
    seeds: tuple[int, ...]
    shares: tuple[float, ...]
    tolerances: tuple[float, ...]
    evaluation: int
    calibration: int
    of_class: int
    recalibration: int


class Result(NamedTuple):
    """One network: what is left of the dense one (shares), and how far it follows it, in torch and in ONNX Runtime."""

    asked: str
    rule: str
    seed: int
    units: float
    macs: float
    params: float
    torch: Agreement
    onnx: Agreement | None


class Bench:
    """The dense network as the teacher, and the held-out crops on which others are compared with it."""

    def __init__(self, size: Size, held_out: Sequence[Photograph]) -> None:
        self.size = size
        self.model = load_lite0().to(memory_format=torch.channels_last)
        self.example = example_input(ARCHITECTURE, EXAMPLE_BATCH)
        self.costs = CostModel(self.model, self.example)
        self.held_out = torch.cat([crops_of(one, size.evaluation, EVALUATION_SEED) for one in held_out])
        self.wanted = logits(self.model, self.held_out)

    def results(self, calibration: Sequence[Photograph], seed: int) -> Iterator[Result]:
        """Of every plan, scored and recalibrated on crops of the photographs; first the dense network, only recalibrated."""
        crops = torch.cat([crops_of(one, self.size.calibration, seed) for one in calibration])
        crops = crops[torch.randperm(len(crops), generator=torch.Generator().manual_seed(seed))]  # batches of many photographs
        classes = logits(self.model, crops).argmax(1)
        chosen = frequent(classes, self.size.of_class)
        print(f"seed {seed}: scored on {len(chosen)} crops of {len(classes[chosen].unique())} classes", flush=True)  # noqa: T201
        batches = list(zip(normalised(crops[chosen]), classes[chosen].split(BATCH_SIZE), strict=True))
        table = score(self.model, batches, example_input=self.example, seed=seed)
        sample = crops[: self.size.recalibration]
        dense = recalibrated(deepcopy(self.model), sample)
        yield Result("nothing", "dense, recalibrated", seed, 1.0, 1.0, 1.0, *self._followed(dense))
        for asked, plan in self._plans(Ranking(table)):
            small = recalibrated(remove(self.model, plan, example_input=self.example), sample)
            cost, whole = self.costs.after(plan), self.costs.dense
            left = (1 - plan.units_removed / plan.units, cost.macs / whole.macs, cost.params / whole.params)
            yield Result(asked, plan.rule, seed, *left, *self._followed(small, export=plan.rule == "tod"))

    def _plans(self, ranking: Ranking) -> Iterator[tuple[str, PruningPlan]]:
        """What is asked for with the plan of ToD for it, and then with the uniform plan of as many MACs."""
        asked = [(f"{share:.0%} of the MACs", self._within(Budget(macs=share), ranking, "tod")) for share in self.size.shares]
        asked += [(f"tolerance {number:g}", allocate(ranking, tolerance=number)) for number in self.size.tolerances]
        for what, plan in asked:
            yield what, plan
            yield what, self._within(Budget(macs=self.costs.after(plan).macs), ranking, "uniform")

    def _within(self, budget: Budget, ranking: Ranking, rule: Rule) -> PruningPlan:
        return plan_for(ranking, self.model, example_input=self.example, budget=budget, rule=rule, costs=self.costs)

    def _followed(self, network: nn.Module, *, export: bool = True) -> tuple[Agreement, Agreement | None]:
        """In torch, and if it is exported the ONNX file in ONNX Runtime."""
        in_torch = agreement(self.wanted, logits(network, self.held_out))
        return in_torch, agreement(self.wanted, self._exported(network)) if export else None

    def _exported(self, network: nn.Module) -> Tensor:
        """The logits of the network's ONNX file, made as the pipeline makes it."""
        with tempfile.TemporaryDirectory() as folder, torch.random.fork_rng(devices=[]):
            path = Path(folder) / "model.onnx"
            names = {"input_names": [INPUT], "output_names": [OUTPUT], "dynamic_shapes": ({0: BATCH},)}
            torch.onnx.export(network, (self.example,), path, **names, external_data=False, verbose=False)
            runner = open_file(path, "onnxruntime", INPUT, OUTPUT)
            return torch.cat([torch.from_numpy(runner(images.contiguous().numpy())) for images in normalised(self.held_out)])


def normalised(crops: Tensor) -> Iterator[Tensor]:
    """Crops in bytes (n, 3, h, w) as batches of the network's input, channels last in memory: torch is faster so on a CPU."""
    for part in crops.split(BATCH_SIZE):
        yield normalise(part, PREPROCESSING).contiguous(memory_format=torch.channels_last)


def recalibrated(network: nn.Module, crops: Tensor) -> nn.Module:
    """The network itself, with the BatchNorm statistics of the crops, in eval mode."""
    measure_norms(network, ((images, images) for images in normalised(crops)))
    return network.eval()


@torch.inference_mode()
def logits(network: nn.Module, crops: Tensor) -> Tensor:
    """(n, 1000) of crops in bytes (n, 3, h, w)."""
    return torch.cat([network(images) for images in normalised(crops)])
