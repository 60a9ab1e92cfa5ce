"""Why groups are cut as deep as they are: computed like plans, from the same cache, and shown on the terminal."""

from dataclasses import dataclass
from itertools import cycle
from pathlib import Path

from rich.console import Console
from rich.table import Table

from flows.console import terminal
from flows.sweep import prepare
from flows.tasks import DirectRunner
from pipeline.config import RunConfig
from pipeline.curve_figure import CURVES, curves_figure
from pipeline.curve_text import LETTERS, curve_text
from pipeline.explain import Cut, Explanation, check_group, explain, structure
from pipeline.preflight import preflight
from pipeline.rankings import ranking_of
from pipeline.records import PlanRecord, ScoreRecord
from pipeline.whole_files import make_folder, write_together


@dataclass(frozen=True)
class Explained:
    """Every group of a model, why others were left out, and the figure of the curves."""

    scores: ScoreRecord
    plans: tuple[PlanRecord, ...]
    groups: tuple[Explanation, ...]
    left_out: dict[str, str]
    figure: Path


def explain_all(config: RunConfig, group: str | None) -> Explained:
    """Score the dense model if no earlier run has, and explain each candidate's first cut.

    Writes the figure of all curves into the run's folder. Raises InputError if there is no group of the name asked for,
    before anything is trained.
    """
    architecture = preflight(config)
    found = structure(architecture, config.model)
    if group is not None:
        check_group(group, found)
    run = DirectRunner(config.output)
    start = prepare(run, config, architecture)
    scores, plans = start.scores, start.plans
    ranking = ranking_of(scores, run.store)
    folder = run.output / config.name
    make_folder(folder)
    figure = folder / CURVES
    write_together({figure: curves_figure(ranking.groups, plans, config.name)})
    return Explained(scores, plans, explain(ranking, plans, config.allocate), found.refused, figure)


def show_explained(explained: Explained, group: str | None) -> None:
    """One line a group; or one group with its curve and the reason for each depth."""
    console = terminal()
    if group is None:
        _show_groups(console, explained)
    else:
        _show_group(console, next(each for each in explained.groups if each.name == group))
    console.print(f"all ToD curves: {explained.figure}", soft_wrap=True, highlight=False)


def _show_groups(console: Console, explained: Explained) -> None:
    removal = explained.scores.removal
    table = Table(title=f"units removed of each group; correlation: Spearman's, of {removal} and R-Score")
    table.add_column("group", overflow="fold")
    table.add_column("kind")
    for title in ("units", "correlation", *(_title(plan) for plan in explained.plans)):
        table.add_column(title, justify="right")
    for each in explained.groups:
        depths = (f"{cut.depth.removed}" for cut in each.cuts)
        table.add_row(each.name, each.kind, f"{each.units}", _correlation(each), *depths)
    console.print(table)
    if explained.left_out:
        console.print(f"left out: {len(explained.left_out)}")
    for name, reason in explained.left_out.items():
        console.print(f"  {name}: {reason}", soft_wrap=True, highlight=False, markup=False)


def _show_group(console: Console, group: Explanation) -> None:
    console.print(
        f"[bold]{group.name}[/bold]: {group.units} units ({group.kind}); rank correlation of removal signal and R-Score "
        f"{_correlation(group)}\n\nToD at each depth",
        highlight=False,
    )
    for line in curve_text(group.curve, [cut.depth.removed for cut in group.cuts]):
        console.print(line, highlight=False, markup=False, soft_wrap=True)
    table = Table()
    for title in ("", "cut at", "removed", "ToD", "at most"):
        table.add_column(title, justify="right")
    for title in ("R-mass", "bound", "at random", "uniform"):
        table.add_column(title, justify="right")
    for letter, cut in zip(cycle(LETTERS), group.cuts, strict=False):
        table.add_row(letter, f"{cut.plan.goal}{_found(cut.plan)}", *_cells(cut))
    console.print(table)
    for cut in group.cuts:
        console.print(f"{cut.plan.goal}: {cut.reason}", soft_wrap=True, highlight=False)
    console.print(
        "at most: what a tolerance a can remove of n units, n / (2 - a). R-mass removed, what it cannot exceed, and what would\n"
        "go by removing as many units at random, or in a uniform plan of as many units in all (in brackets: units of this group)",
        style="dim",
        soft_wrap=True,
        highlight=False,
    )


def _cells(cut: Cut) -> tuple[str, ...]:
    depth = cut.depth
    masses = (depth.removed_mass, depth.mass_bound, depth.random_mass)
    return (
        f"{depth.removed} of {depth.units}",
        f"{depth.tod:.3g}",
        "-" if cut.cap is None else f"{cut.cap}",
        *(f"{mass:.3g}" for mass in masses),
        f"{cut.uniform_mass:.3g} ({cut.uniform_depth})",
    )


def _title(plan: PlanRecord) -> str:
    """A candidate as the title of a narrow column."""
    return f"{plan.goal}".replace(" ", "\n") + _found(plan)


def _found(plan: PlanRecord) -> str:
    """The rule's number that was found for a budget."""
    return f" ({plan.tolerance:.3g})" if plan.goal.is_budget else ""


def _correlation(group: Explanation) -> str:
    return "-" if group.correlation is None else f"{group.correlation:+.2f}"
