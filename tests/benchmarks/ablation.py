"""Which variant of the method keeps most accuracy at equal cost: python tests/benchmarks/ablation.py [--quick]

The trained ResNet-20 in tests/data (Fashion-MNIST) is cut to 65, 50, 35 and 25 % of its MACs by every variant: one cut,
BatchNorm recalibrated on the calibration set, no fine-tuning. Top-1 on the held-out validation images (the test images stay
out of it), as mean and sample standard deviation over SEEDS, each of which draws another calibration set of 64 images a class
and other projections. Plans are those of `plan_for`, which meet a budget as nearly as whole units allow; the last column says
how many MACs are left, in % of the dense network's, at each budget on average. First come the ways to read U and R, with
ToD; the winner (best mean over the budgets) is kept for the signals, with each rule. Prints two tables in Markdown.
"""

import argparse
import statistics
from collections.abc import Iterable, Sequence
from itertools import product
from typing import Any, NamedTuple, get_args

import torch
from torch import Tensor, nn
from trained import load_trained

from fair_pruner import Budget, CostModel, PruningPlan, Ranking, plan_for, remove, score
from fair_pruner.types import Aggregation, Observation, Protection, Removal, Rule, ScoreTable
from pipeline.config import CalibrateConfig
from pipeline.data import Data, batches, shuffled
from pipeline.datasets import per_class
from pipeline.norms import measure_norms

SHARES = (0.65, 0.5, 0.35, 0.25)
SEEDS = (0, 1, 2)
RULES: tuple[Rule, ...] = ("tod", "uniform", "global")
BATCH = 64


class Outcome(NamedTuple):
    """One pruned network: share of validation images that it classifies rightly, and of MACs that are left."""

    top1: float
    macs: float


class Bench:
    """Cuts the trained network and measures what is left, each plan once."""

    def __init__(self, per_class_images: int, validation: int) -> None:
        self.model, self.data = load_trained()
        self.example = torch.zeros(2, *self.data.input_shape)
        self.costs = CostModel(self.model, self.example)
        self.images, self.labels = self.data.train.load(self.data.validation_indices[:validation])
        self.calibration = {seed: _calibration(self.data, per_class_images, seed) for seed in SEEDS}
        self._known: dict[Any, float] = {}

    def scores(self, seed: int, **how: Any) -> ScoreTable:
        """Scores on the calibration set of `seed`."""
        return score(self.model, self.calibration[seed], example_input=self.example, seed=seed, **how)

    def outcome(self, table: ScoreTable, rule: Rule, share: float, seed: int) -> Outcome:
        """Of the network cut down to `share` of its MACs by `rule`, recalibrated on the calibration set of `seed`."""
        budget = Budget(macs=share)
        plan = plan_for(Ranking(table), self.model, example_input=self.example, budget=budget, rule=rule, costs=self.costs)
        return Outcome(self._top1_after(plan, seed), self.costs.after(plan).macs / self.costs.dense.macs)

    def _top1_after(self, plan: PruningPlan, seed: int) -> float:
        key = (seed, tuple((group.name, group.pruned) for group in plan.groups))
        if key not in self._known:
            small = remove(self.model, plan, example_input=self.example)
            measure_norms(small, self.calibration[seed])
            self._known[key] = self.top1(small)
        return self._known[key]

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
    cells, left = [], []
    for share in SHARES:
        found = [outcomes[share, seed] for seed in SEEDS]
        values = [100 * one.top1 for one in found]
        cells.append(f"{statistics.mean(values):.2f} ± {statistics.stdev(values):.2f}")
        left.append(f"{100 * statistics.mean(one.macs for one in found):.1f}")
    mean = statistics.mean(100 * one.top1 for one in outcomes.values())
    return mean, f"| {' | '.join(name)} | {' | '.join(cells)} | {mean:.2f} | {' / '.join(left)} |"


def table(title: Iterable[str], rows: Sequence[tuple[float, str]]) -> None:
    """Print rows, best first."""
    heads = [*title, *(f"{100 * share:.0f} % of the MACs" for share in SHARES), "mean", "MACs, %"]
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
