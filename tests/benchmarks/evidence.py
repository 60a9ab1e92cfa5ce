"""What the method keeps, beside what a user would pick instead: python tests/benchmarks/evidence.py [NAME ...] [--tables]

Runs `fair-pruner ablate` on the configs in the folder evidence/ and writes what came out to evidence/<name>.json, one file a
comparison, with every cell; the tables for README are printed from these files. With --tables nothing is run. A comparison
that was interrupted goes on where it was, since all its stages are cached in runs/evidence. Latency is measured at its end:
nothing else may run then; --no-latency leaves it out. A comparison that differs from another one in its settings alone is
set beside it, seed by seed.
"""

import argparse
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from pipeline.ablation import AblationReport, Cell, Reading, Spread, difference
from pipeline.ablation_text import WIDTH, ablation_text, spread_text
from pipeline.ablation_verdicts import difference_text, readings
from pipeline.markdown import section

HERE = Path(__file__).parent / "evidence"
OUTPUT = Path("runs/evidence")


class Comparison(NamedTuple):
    """A config, what is compared on it, what is changed in it, and the comparison without that change."""

    config: str
    methods: str
    settings: tuple[str, ...] = ()
    unchanged: str = ""


DISTILLED = "finetune.distillation.weight=0.5"
COMPARISONS = {
    "resnet20": Comparison("resnet20", "fair,l1-uniform"),
    "resnet20_at_35": Comparison("resnet20", "fair", ("allocate.budgets=[{macs: 0.35}]",)),
    "resnet20_distilled": Comparison("resnet20", "fair", (DISTILLED,), "resnet20"),
    "vgg": Comparison("vgg", "fair,l1-uniform"),
    "resnet56": Comparison("resnet56", "fair,fair@3,l1-uniform"),
}


def run(name: str, latency: bool) -> None:
    """One comparison, and its file."""
    how = COMPARISONS[name]
    settings = [word for each in (f"name={name}", f"output={OUTPUT}", *how.settings) for word in ("--set", each)]
    options = ["--methods", how.methods, "--seeds", "3", "--latency" if latency else "--no-latency"]
    command = [sys.executable, "-m", "flows", "ablate", str(HERE / f"{how.config}.yaml"), *options, *settings]
    subprocess.run(command, check=True)
    keep(OUTPUT / f"{name}-ablation" / "ablation.json", name)


def keep(found: Path, name: str) -> None:
    """The report without what each plan does group by group, which is most of it."""
    values: dict[str, Any] = json.loads(found.read_text())
    for cell in values["cells"]:
        cell["plan"]["depths"] = []
    (HERE / f"{name}.json").write_text(json.dumps(values, indent=1) + "\n")


def read(name: str) -> AblationReport | None:
    """What a comparison found; None if it was not run yet."""
    file = HERE / f"{name}.json"
    return AblationReport.model_validate_json(file.read_text()) if file.is_file() else None


def beside(changed: AblationReport, unchanged: AblationReport) -> str:
    """What a change of the settings did to each method that both compared, with the 95 % interval over their seeds."""
    rows = []
    for goal in changed.goals:
        for method in (each for each in changed.methods if each in unchanged.methods):
            cells = changed.of(method, goal), unchanged.of(method, goal)
            for reading, what in readings(changed).items():
                after, before = (_top1(each, reading) for each in cells)
                gain = difference_text(difference(after, before))
                rows.append((str(goal), method, what, *(spread_text(Spread.of(each)) for each in (before, after)), gain))
    titles = ("budget", "method", "top-1 in %", unchanged.name, changed.name, "difference in points")
    return section(f"{changed.name} beside {unchanged.name}", "Seed by seed.", titles, rows, WIDTH)


def _top1(cells: Sequence[Cell], reading: Reading) -> list[float]:
    return [cell.top1(reading) for cell in cells]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(COMPARISONS)}; default: all")
    parser.add_argument("--tables", action="store_true", help="print the tables of what was found before")
    parser.add_argument("--no-latency", action="store_true", help="measure no latency")
    arguments = parser.parse_args()
    for name in arguments.names or COMPARISONS:
        if name not in COMPARISONS:
            parser.error(f"{name} is no comparison; there are {', '.join(COMPARISONS)}")
        if not arguments.tables:
            run(name, not arguments.no_latency)
        found, twin = read(name), read(COMPARISONS[name].unchanged)
        print(ablation_text(found) if found else f"{name}: not run yet")  # noqa: T201
        if found and twin:
            print(beside(found, twin))  # noqa: T201


if __name__ == "__main__":
    main()
