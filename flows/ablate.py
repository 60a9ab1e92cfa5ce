"""The command `ablate`: other removal signals and rules against the method, on one's own model and at the same cost."""

from pathlib import Path
from typing import Annotated

import typer

from flows.code_option import AllowCode
from flows.ending import one_sentence
from flows.environment import prepare_environment
from pipeline.config import RunConfig, load_config
from pipeline.errors import InputError

METHODS = "fair,wasserstein-uniform,l1-uniform,random-uniform"


def ablate(
    config: Annotated[Path, typer.Argument(help="YAML file, for example deploy/configs/digits.yaml", show_default=False)],
    methods: Annotated[
        str,
        typer.Option(help="What to compare, the first with all others: fair, or signal-rule as in l1-uniform."),
    ] = METHODS,
    budgets: Annotated[
        str | None,
        typer.Option(help="Shares of the dense model's MACs, for example 0.5,0.25; default: the file's budgets, else 0.5."),
    ] = None,
    seeds: Annotated[int, typer.Option(help="How many seeds, from the file's on.", min=1, max=100)] = 3,
    latency: Annotated[bool, typer.Option(help="Measure the latency of the first seed's files.")] = True,
    set_: Annotated[list[str] | None, typer.Option("--set", help="Change a value of the file. Repeatable.")] = None,
    _: AllowCode = False,
) -> None:
    """Compare ways to prune your own model: the same cost, data and recipe for each, over several seeds.

    Leaves ablation.json, ablation.md, recovery.png and the MLflow database in the output folder. What an earlier call has
    finished is used again.
    """
    with one_sentence():
        from pipeline.ablation import methods as parsed

        settings, compared = _load(config, budgets, set_), parsed(methods)
        prepare_environment()
        from pipeline.preflight import preflight

        preflight(settings, [method.removal for method in compared])
        from flows.ablation import ablation
        from flows.console import keep_console_readable
        from flows.outage import leave_server_behind, outlive_server
        from pipeline.ablation_text import ablation_text

        keep_console_readable()
        report = outlive_server(ablation, settings, compared, tuple(range(settings.seed, settings.seed + seeds)), latency)
        typer.echo(ablation_text(report))
        typer.echo(f"report: {settings.output}/{report.full_name}/ablation.md")
        leave_server_behind()


def _load(path: Path, budgets: str | None, overrides: list[str] | None) -> RunConfig:
    """The config with the budgets to compare at. Raises InputError."""
    given = tuple(overrides or ())
    settings = load_config(path, given)
    if budgets is not None or not settings.allocate.budgets:
        asked = ", ".join(f"{{macs: {share}}}" for share in _shares(budgets or "0.5"))
        instead = ("allocate.tolerances=[]", "allocate.max_accuracy_drop=null", f"allocate.budgets=[{asked}]")
        settings = load_config(path, (*given, *instead))
    if settings.allocate.rounds > 1:
        raise InputError("allocate.rounds is for a run; a comparison takes rounds by the method, as in --methods fair,fair@3")
    if settings.allocate.needs_layer_costs:
        raise InputError(
            "a comparison measures no layer costs, which budgets in latency_ms and round_to auto need; give --budgets 0.5,0.25 "
            "for shares of the MACs, and set allocate.round_to to a number"
        )
    return settings


def _shares(budgets: str) -> list[str]:
    shares = [part.strip() for part in budgets.split(",") if part.strip()]
    for share in shares:
        try:
            fits = 0 < float(share) < 1
        except ValueError:
            fits = False
        if not fits:
            raise InputError(f"--budgets holds {share}; expected shares of the dense MACs between 0 and 1, such as 0.5,0.25")
    return shares
