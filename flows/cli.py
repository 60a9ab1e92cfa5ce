"""The command line: run a sweep, look at plans and their reasons before it, see what works on this machine."""

from importlib.metadata import version
from pathlib import Path
from typing import Annotated

import typer

from flows.ablate import ablate
from flows.bench import bench
from flows.build import build
from flows.bundle import bundle
from flows.code_option import AllowCode
from flows.compare import compare
from flows.ending import one_sentence
from flows.environment import prepare_environment
from flows.gate import gate
from flows.promote import promote, rollback
from flows.rebuild import rebuild
from flows.runs import runs
from flows.sync import sync
from flows.up import up
from pipeline.config import RunConfig, load_config
from pipeline.errors import InputError

POINTS = 100

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Make a trained classifier small, export it, and measure whether it really is faster.",
)

Config = Annotated[Path, typer.Argument(help="YAML file, for example deploy/configs/digits.yaml", show_default=False)]
Set = Annotated[
    list[str] | None,
    typer.Option("--set", help="Change a value of the file, for example --set finetune.epochs=5. Repeatable."),
]
Tolerances = Annotated[
    str | None,
    typer.Option(
        help="Tolerances to try instead of the file's or its budgets, for example 0.05,0.1,0.2. Larger cuts deeper; 0 < t <= 1."
    ),
]


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"fair-pruner {version('fair-pruner')}")
        raise typer.Exit


@app.callback()
def options(
    _: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and leave.")] = False,
) -> None:
    """Options before the command."""


@app.command()
def run(
    config: Config,
    set_: Set = None,
    tolerances: Tolerances = None,
    max_accuracy_drop: Annotated[
        float | None,
        typer.Option(
            help="Find the deepest cut that loses no more than so many points of validation top-1 after fine-tuning; 0.5: half a "
            "point. Trains a few branches only."
        ),
    ] = None,
    target_latency: Annotated[
        float | None, typer.Option(help="Cut as deep as brings the predicted latency down to so many milliseconds a batch.")
    ] = None,
    _: AllowCode = False,
) -> None:
    """Prune at every tolerance or budget, export, and measure accuracy and latency of every exported model.

    Leaves a report, one folder per candidate and the MLflow database in the output folder. What an earlier run has already
    finished is used again.
    """
    with one_sentence():
        settings = _load(config, set_, tolerances, *_chosen(max_accuracy_drop, target_latency, tolerances))
        prepare_environment()
        from pipeline.preflight import preflight

        preflight(settings)
        from flows.console import keep_console_readable, show_report
        from flows.outage import leave_server_behind, outlive_server
        from flows.sweep import sweep

        keep_console_readable()
        show_report(outlive_server(sweep, settings))
        leave_server_behind()


@app.command()
def plan(config: Config, set_: Set = None, tolerances: Tolerances = None, _: AllowCode = False) -> None:
    """Show what every tolerance or budget would remove, and what the model would cost, before anything is pruned.

    Trains (or loads) and scores the dense model first if no earlier run has done it.
    """
    with one_sentence():
        settings = _load(config, set_, tolerances)
        prepare_environment()
        from flows.console import log_to_stderr, show_plans
        from flows.plan import plan_all

        log_to_stderr()
        show_plans(*plan_all(settings), settings.allocate.rounds)


@app.command()
def explain(
    config: Config,
    group: Annotated[str | None, typer.Option(help="Explain this group alone: its ToD curve, and why it is cut so deep.")] = None,
    set_: Set = None,
    tolerances: Tolerances = None,
    _: AllowCode = False,
) -> None:
    """Tell why each group is cut as deep as it is, and why others are left out; draws all ToD curves into one figure.

    Trains (or loads) and scores the dense model first if no earlier run has done it.
    """
    with one_sentence():
        settings = _load(config, set_, tolerances)
        prepare_environment()
        from flows.console import log_to_stderr
        from flows.explain import explain_all, show_explained

        log_to_stderr()
        show_explained(explain_all(settings, group), group)


@app.command()
def doctor(
    run: Annotated[str | None, typer.Argument(help="Folder or URL of a finished run to verify.", show_default=False)] = None,
    output: Annotated[str, typer.Option(help="Folder or URL where runs would be written.", envvar="FAIR_PRUNER_OUTPUT")] = "runs",
) -> None:
    """Tell what is installed, what will run on this machine, what will not, and why; or whether a finished run is undamaged.

    Exits with 1 if a run cannot start, or a file of the run is missing or altered.
    """
    prepare_environment()
    from flows.console import show_findings
    from pipeline.doctor import examine, usable
    from pipeline.output import place
    from pipeline.shared_run import complete_run
    from pipeline.verify_run import verify_run

    with one_sentence():
        if run:
            with complete_run(run) as folder:
                findings = verify_run(folder)
        else:
            findings = examine(place(output))
        show_findings(findings)
        raise typer.Exit(0 if usable(findings) else 1)


app.command()(ablate)
app.command()(bench)
app.command()(build)
app.command()(bundle)
app.command()(gate)
app.command()(promote)
app.command()(rollback)
app.command()(rebuild)
app.command()(up)
app.command()(compare)
app.command()(runs)
app.command()(sync)


INSTEAD = ("allocate.tolerances=[]", "allocate.budgets=[]", "allocate.max_accuracy_drop=null")


def _load(path: Path, overrides: list[str] | None, tolerances: str | None, *chosen: str) -> RunConfig:
    given = [*(overrides or []), *(INSTEAD if chosen or tolerances is not None else ()), *chosen]
    if tolerances is not None:
        given.append(f"allocate.tolerances=[{tolerances}]")
    return load_config(path, tuple(given))


def _chosen(max_accuracy_drop: float | None, target_latency: float | None, tolerances: str | None) -> tuple[str, ...]:
    """The settings that a goal stands for. Raises InputError if several goals are named, or one that cannot be."""
    goals = {"--max-accuracy-drop": max_accuracy_drop, "--target-latency": target_latency, "--tolerances": tolerances}
    named = [name for name, value in goals.items() if value is not None]
    if len(named) > 1:
        raise InputError(f"both {' and '.join(named)} are given; give one of them")
    if max_accuracy_drop is not None:
        if not 0 <= max_accuracy_drop <= POINTS:
            raise InputError(f"--max-accuracy-drop is {max_accuracy_drop}; it is in points of top-1, from 0 to {POINTS}")
        share = max_accuracy_drop / POINTS
        return f"allocate.max_accuracy_drop={share!r}", f"gate.max_accuracy_drop={share!r}"
    return (f"allocate.budgets=[{{latency_ms: {target_latency}}}]",) if target_latency is not None else ()
