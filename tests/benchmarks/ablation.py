"""Which variant of the method keeps most accuracy at equal cost: python tests/benchmarks/ablation.py [--quick]

The trained ResNet-20 in tests/data (Fashion-MNIST) is cut to 80, 65 and 50 % of its MACs by every variant: one cut, BatchNorm
recalibrated on the calibration set, no fine-tuning. Top-1 on the held-out validation images (the test images stay out of
it), as mean and sample standard deviation over SEEDS, each of which draws another calibration set of 64 images a class and
other projections. Depths are whole and tolerances act on all layers at once, so hardly any plan meets a budget exactly:
accuracy is interpolated, linearly in MACs, between the plan of the smallest number (tolerance or ratio) that meets it and
the plan of the number before. The last column says how far apart the MACs of these two are on average. First come
the ways to read U and R, with ToD; the winner (best mean over the three budgets) is kept for the signals, with each rule.
Prints two tables in Markdown.
"""

import argparse
import statistics
from collections.abc import Iterable, Sequence
from itertools import product
from typing import Any, NamedTuple, get_args

import torch
from torch import Tensor, nn
from trained import load_trained

from fair_pruner import Budget, CostModel, PruningPlan, Ranking, allocate, remove, score, tolerance_for
from fair_pruner.types import Aggregation, Observation, Protection, Removal, Rule, ScoreTable
from pipeline.config import CalibrateConfig
from pipeline.data import Data, batches, shuffled
from pipeline.datasets import per_class
from pipeline.recalibrate import measure_norms

SHARES = (0.8, 0.65, 0.5)
SEEDS = (0, 1, 2)
RULES: tuple[Rule, ...] = ("tod", "uniform", "global")
BATCH = 64


class Point(NamedTuple):
    """One pruned network: share of validation images that it classifies rightly, and of MACs that are left."""

    top1: float
    macs: float


class Outcome(NamedTuple):
    """Accuracy at a budget, and how far apart are the two plans that it is interpolated from, as a share of the MACs."""

    top1: float
    gap: float


class Bench:
    """Cuts the trained network and measures what is left, each plan once."""

    def __init__(self, per_class_images: int, validation: int) -> None:
        self.model, self.data = load_trained()
        self.example = torch.zeros(2, *self.data.input_shape)
        self.costs = CostModel(self.model, self.example)
        self.images, self.labels = self.data.train.load(self.data.validation_indices[:validation])
        self.calibration = {seed: _calibration(self.data, per_class_images, seed) for seed in SEEDS}
        self._known: dict[Any, float] = {}
        self._top1_dense = self.top1(self.model)

    def scores(self, seed: int, **how: Any) -> ScoreTable:
        """Scores on the calibration set of `seed`."""
        return score(self.model, self.calibration[seed], example_input=self.example, seed=seed, **how)

    def outcome(self, table: ScoreTable, rule: Rule, share: float, seed: int) -> Outcome:
        """Of the network cut down to `share` of its MACs by `rule`, recalibrated on the calibration set of `seed`."""
        ranking, budget = Ranking(table), Budget(macs=share)
        number = tolerance_for(ranking, self.model, example_input=self.example, budget=budget, rule=rule, costs=self.costs)
        critical = ranking.critical(rule=rule)
        before = max((other for other in critical if other < number), default=number / 2)
        small, large = (self._measured(allocate(ranking, tolerance=one, rule=rule), seed) for one in (number, before))
        if large.macs <= share:  # the smallest number there is does more than the budget asks for
            large = Point(self._top1_dense, 1.0)
        way = (share - small.macs) / (large.macs - small.macs)
        return Outcome(small.top1 + way * (large.top1 - small.top1), large.macs - small.macs)

    def _measured(self, plan: PruningPlan, seed: int) -> Point:
        key = (seed, tuple((group.name, group.pruned) for group in plan.groups))
        if key not in self._known:
            small = remove(self.model, plan, example_input=self.example)
            measure_norms(small, self.calibration[seed])
            self._known[key] = self.top1(small)
        return Point(self._known[key], self.costs.after(plan).macs / self.costs.dense.macs)

    def top1(self, network: nn.Module) -> float:
        """Share of the validation images that a network classifies rightly."""
        network.eval()
        with torch.no_grad():
            found = torch.cat([network(part).argmax(1) for part in self.images.split(500)])
        return float((found == self.labels).double().mean())


def _calibration(data: Data, count: int, seed: int) -> list[tuple[Tensor, Tensor]]:
    fit = torch.tensor(data.fit_indices)
    chosen = fit[list(per_class(data.train.labels[fit], data.num_classes, CalibrateConfig(per_class=count).per_class, seed))]
    order = shuffled(chosen.tolist(), torch.Generator().manual_seed(seed))
    return list(batches(data.train, order, BATCH))


def row(name: Sequence[str], outcomes: dict[tuple[float, int], Outcome]) -> tuple[float, str]:
    """Mean accuracy over all, and a line of the table."""
    cells = []
    for share in SHARES:
        found = [outcomes[share, seed] for seed in SEEDS]
        values = [100 * one.top1 for one in found]
        cells.append(f"{statistics.mean(values):.2f} ± {statistics.stdev(values):.2f}")
    gap = 100 * statistics.mean(one.gap for one in outcomes.values())
    mean = statistics.mean(100 * one.top1 for one in outcomes.values())
    return mean, f"| {' | '.join(name)} | {' | '.join(cells)} | {mean:.2f} | {gap:.1f} |"


def table(title: Iterable[str], rows: Sequence[tuple[float, str]]) -> None:
    """Print rows, best first."""
    heads = [*title, *(f"{100 - 100 * share:.0f} % fewer MACs" for share in SHARES), "mean", "MACs apart, %"]
    print(f"\n| {' | '.join(heads)} |\n|{'---|' * len(heads)}")  # noqa: T201
    for _, line in sorted(rows, reverse=True):
        print(line, flush=True)  # noqa: T201


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="few images, to see that the command works")
    quick = parser.parse_args().quick
    bench = Bench(*((4, 200) if quick else (64, 3000)))
    print(f"dense: {100 * bench.top1(bench.model):.2f} % of {len(bench.labels)} validation images", flush=True)  # noqa: T201

    cases, readings = [(share, seed) for share in SHARES for seed in SEEDS], {}
    for how in product(get_args(Observation), get_args(Aggregation), get_args(Protection)):
        observe, aggregate, protection = how
        tables = [bench.scores(seed, observe=observe, aggregate=aggregate, protection=protection) for seed in SEEDS]
        readings[how] = row(how, {case: bench.outcome(tables[case[1]], "tod", *case) for case in cases})
        print(readings[how][1], flush=True)  # noqa: T201
    table(("U read at", "over producers", "R"), list(readings.values()))
    observe, aggregate, protection = max(readings, key=lambda how: readings[how][0])

    rows = []
    for removal in get_args(Removal):
        how = {"observe": observe, "aggregate": aggregate, "protection": protection, "removal": removal}
        tables = [bench.scores(seed, **how) for seed in SEEDS]
        for rule in RULES:
            rows.append(row((removal, rule), {case: bench.outcome(tables[case[1]], rule, *case) for case in cases}))
            print(rows[-1][1], flush=True)  # noqa: T201
    table(("signal", "rule"), rows)


if __name__ == "__main__":
    main()
