"""What a sweep survives: python tests/benchmarks/faults.py [--only a,b] [--repeats 3] [--json FILE] [--folder FOLDER]

A small sweep on digits is disturbed in every way below, started again if it ended, and its results are compared with those of
an undisturbed run: weights, plan, files, predictions, by digest. Prints the table as Markdown. Needs Linux; root for the full
disk, a C compiler for the clock, some minutes a row.
"""

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from pipeline.spool import unlogged

if __package__:
    from .disturbed import Disturbed, cached, digests, file_of, finish, flaws, mlflow_server, prefect_server
    from .moved_clock import MovedClock
    from .served_sweep import served_sweep
else:  # started as a script
    sys.path.insert(0, str(Path(__file__).resolve().parent))
    from disturbed import Disturbed, cached, digests, file_of, finish, flaws, mlflow_server, prefect_server
    from moved_clock import MovedClock
    from served_sweep import served_sweep

OUTAGE_SECONDS = 30
DAY_SECONDS = 86400
# where kill -9 is sent: a stage, what it is about, and a file that is there by then
KILLS = (
    ("dense", "", "unfinished"),
    ("calibrate", "", ""),
    ("score", "", ""),
    ("evaluate", "dense · torch, validation", ""),
    ("export", "dense", ""),
    ("build_engine", "dense", ""),
    ("quantize", "dense", ""),
    ("prune", "", ""),
    ("recalibrate", "", ""),
    ("finetune", "", "unfinished"),
    ("benchmark", "", ""),
    ("report", "", ""),
    ("track", "", ""),
)


class Seen(NamedTuple):
    """One repeat of a row: what the disturbed run did, what was not there any more, whether the digests are those expected."""

    happened: str
    lost: tuple[str, ...]
    equal: bool


class Bench:
    """What the rows share: a folder each, the servers, and the digests and files of a run that nothing disturbed."""

    def __init__(self, folder: Path, prefect: str) -> None:
        self.folder, self.environment = folder, {"PREFECT_API_URL": prefect}
        self.undisturbed = folder / "undisturbed"
        started = time.monotonic()
        finish(Disturbed(self.undisturbed, self.environment))
        self.seconds = time.monotonic() - started
        self.expected = digests(self.undisturbed)

    def fresh(self, name: str) -> Path:
        """A folder without what an earlier call of this script left in it."""
        output = self.folder / name
        shutil.rmtree(output, ignore_errors=True)
        return output

    def copy(self, name: str) -> Path:
        """A finished run's output that may be damaged."""
        output = self.fresh(name)
        shutil.copytree(self.undisturbed, output)
        shutil.rmtree(output / "faults")
        finish(Disturbed(output, self.environment))
        return output

    def seen(self, happened: str, output: Path, *lost: str) -> Seen:
        """Compare what is there now with the undisturbed run."""
        return Seen(happened, (*lost, *flaws(output)), digests(output) == self.expected)


def killed_everywhere(bench: Bench, repeat: int) -> Iterator[tuple[str, Seen]]:
    """kill -9 in one stage after the other, each time in the run that was started behind the kill before."""
    output, chance = bench.fresh(f"kills-{repeat}"), random.Random(repeat)  # noqa: S311
    done, outcomes = set[str](), list[tuple[str, str, tuple[str, ...]]]()
    for stage, about, file in KILLS:
        run = Disturbed(output, bench.environment)
        run.wait_for_task(stage, about)
        if file:
            run.wait_for(lambda folder=output / file: any(folder.glob("[!.]*")), f"a checkpoint of {stage}")
            time.sleep(chance.uniform(0, 0.5))
        else:
            time.sleep(chance.uniform(0, 0.01))
        run.end(signal.SIGKILL)
        again = tuple(f"{task} was made again" for task in done & run.tasks("Completed"))
        done |= run.tasks("Completed")
        hit = "" if stage in run.interrupted else "missed: the stage was over; "
        outcomes.append((stage, f"{hit}{_resumed(run)}", again))
    last = finish(Disturbed(output, bench.environment))
    again = tuple(f"{task} was made again" for task in done & last.tasks("Completed"))
    seen = bench.seen(_resumed(last), output, *again)
    for place, (stage, _, lost) in enumerate(outcomes):
        following = outcomes[place + 1][1] if place + 1 < len(outcomes) else seen.happened
        missed = outcomes[place][1] if outcomes[place][1].startswith("missed") else ""
        yield f"kill -9 in {stage}", Seen(missed or f"the next run went on{following}", (*lost, *seen.lost), seen.equal)


def _resumed(run: Disturbed) -> str:
    at = run.resumed_at
    return f", training from step {at[0]} of {at[1]}" if at else ""


def terminated(bench: Bench, repeat: int) -> Seen:
    """SIGTERM in the middle of the fine-tuning."""
    output = bench.fresh(f"term-{repeat}")
    run = Disturbed(output, bench.environment)
    run.wait_for_task("finetune")
    run.wait_for(lambda: any((output / "unfinished").glob("[!.]*")), "a checkpoint")
    code = run.end(signal.SIGTERM)
    return bench.seen(f"ended with {code}; the next run went on{_resumed(finish(Disturbed(output, bench.environment)))}", output)


def two_at_once(bench: Bench, repeat: int) -> Seen:
    """The same config twice, started together."""
    output = bench.fresh(f"two-{repeat}")
    runs = [Disturbed(output, bench.environment) for _ in range(2)]
    for run in runs:
        finish(run)
    return bench.seen("both ended well, with one set of files", output)


def deleted(bench: Bench, repeat: int) -> Seen:
    """A candidate's weights are gone from the store."""
    output = bench.copy(f"deleted-{repeat}")
    file_of(output, "weights").unlink()
    found = _told(output)
    run = finish(Disturbed(output, bench.environment))
    return bench.seen(f"doctor told {found} of it; the next run made {_made(run)} anew", output)


def altered(bench: Bench, repeat: int) -> Seen:
    """One byte of a candidate's ONNX file is another one."""
    output = bench.copy(f"altered-{repeat}")
    file = file_of(output, "onnx")
    content = bytearray(file.read_bytes())
    content[len(content) * (repeat + 1) // 4] ^= 1
    file.write_bytes(content)
    found = _told(output)
    run = finish(Disturbed(output, bench.environment))
    return bench.seen(f"doctor told {found} of it; the next run made {_made(run)} anew", output)


def altered_record(bench: Bench, repeat: int) -> Seen:
    """One byte of a cached record is another one."""
    output = bench.copy(f"record-{repeat}")
    record = cached(output, "finetune")[0]
    content = bytearray(record.read_bytes())
    content[len(content) * (repeat + 1) // 4] ^= 1
    record.write_bytes(content)
    run = finish(Disturbed(output, bench.environment))
    return bench.seen(f"the next run made {_made(run)} anew", output)


def _told(output: Path) -> str:
    broken = [line for line in flaws(output) if "missing" in line or "altered" in line]
    return f"{len(broken)} file{'s' * (len(broken) > 1)}" if broken else "nothing"


def _made(run: Disturbed) -> str:
    return ", ".join(sorted({task.partition(" · ")[0] for task in run.tasks("Completed")})) or "nothing"


def full_disk(bench: Bench, repeat: int) -> Seen:
    """The disk is full in the middle of the run, and larger the next time."""
    disk = bench.folder / f"disk-{repeat}"
    disk.mkdir(exist_ok=True)
    mount = ["mount", "-t", "tmpfs", "-o"]
    size = (300, 700, 1500)[repeat % 3]
    subprocess.run([*mount, f"size={size}k", "none", str(disk)], check=True)
    try:
        output = disk / "runs"
        run = Disturbed(output, bench.environment)
        code = run.end()
        said = next((line for line in reversed(run.lines) if "no space left" in line or "cannot write" in line), run.lines[-1])
        left = [str(path) for path in output.rglob(".writing-*")]
        subprocess.run(["mount", "-o", "remount,size=200m", str(disk)], check=True)  # noqa: S607
        finish(Disturbed(output, bench.environment))
        told = "in one sentence" if said.startswith("fair-pruner: ") else f"saying {said[:200]}"
        return bench.seen(f"at {size} KiB ended with {code} {told}; with room the next run went on", output, *left)
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)  # noqa: S607


def clock_set_back(bench: Bench, repeat: int) -> Seen:
    """kill -9 in the fine-tuning, and the clock is a day back when the run is started again."""
    output = bench.fresh(f"clock-{repeat}")
    run = Disturbed(output, bench.environment)
    run.wait_for_task("finetune")
    run.wait_for(lambda: any((output / "unfinished").glob("[!.]*")), "a checkpoint")
    run.end(signal.SIGKILL)
    again = finish(Disturbed(output, bench.environment | MovedClock(output, -DAY_SECONDS).environment))
    return bench.seen(f"the next run, a day earlier, went on{_resumed(again)}", output)


def clock_set_back_meanwhile(bench: Bench, repeat: int) -> Seen:
    """The clock is set back by an hour in the middle of the fine-tuning."""
    output = bench.fresh(f"clock-meanwhile-{repeat}")
    output.mkdir(parents=True)
    clock = MovedClock(output)
    run = Disturbed(output, bench.environment | clock.environment)
    run.wait_for_task("finetune")
    clock.move(-3600)
    finish(run)
    return bench.seen("the run went through", output)


def worker_killed(bench: Bench, repeat: int) -> Seen:
    """kill -9 to the worker of `fair-pruner up` in the middle of the fine-tuning."""
    output = bench.fresh(f"worker-{repeat}")
    return bench.seen(served_sweep(output), output)


def mlflow_away_for_a_while(bench: Bench, repeat: int) -> Seen:
    """MLflow's server is killed when the run begins to log, and comes back 30 s later."""
    return _mlflow_away(bench, f"mlflow-while-{repeat}", back_at_once=True)


def mlflow_away_for_good(bench: Bench, repeat: int) -> Seen:
    """MLflow's server is killed when the run begins to log; another one is there when `sync` is called."""
    return _mlflow_away(bench, f"mlflow-good-{repeat}", back_at_once=False)


def _mlflow_away(bench: Bench, name: str, back_at_once: bool) -> Seen:
    output = bench.fresh(name)
    shutil.copytree(bench.undisturbed, output)
    with mlflow_server(bench.folder / f"{name}-server") as (server, url):
        environment = bench.environment | {"MLFLOW_TRACKING_URI": url}
        run = Disturbed(output, environment)
        run.wait_for_task("track")
        server.stop()
        if back_at_once:
            time.sleep(OUTAGE_SECONDS)
            server.start()
        finish(run)
        waited = len(unlogged(output))
        if not back_at_once:
            server.start()
        for _ in range(2):  # the second time there is nothing to do
            command = [sys.executable, "-m", "flows", "sync", "--output", str(output)]
            subprocess.run(command, check=True, capture_output=True, env=os.environ | environment)
        runs = _logged(url)
        lost = () if runs == 1 and not unlogged(output) else (f"MLflow has the run {runs} times",)
        return bench.seen(f"the run ended well; {waited} run waited for sync, MLflow has it {runs} time", output, *lost)


def _logged(url: str) -> int:
    """Finished sweeps in MLflow."""
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=url)
    experiments = [each.experiment_id for each in client.search_experiments(filter_string="name = 'fair-pruner'")]
    runs = client.search_runs(experiments, "attributes.status = 'FINISHED'")
    return len([run for run in runs if "mlflow.parentRunId" not in run.data.tags])


def prefect_away_for_a_while(bench: Bench, repeat: int) -> Seen:
    """Prefect's server is killed in the middle of the fine-tuning, and comes back 30 s later."""
    return _prefect_away(bench, f"prefect-while-{repeat}", comes_back=True)


def prefect_away_for_good(bench: Bench, repeat: int) -> Seen:
    """Prefect's server is killed in the middle of the fine-tuning, for good."""
    return _prefect_away(bench, f"prefect-good-{repeat}", comes_back=False)


def _prefect_away(bench: Bench, name: str, comes_back: bool) -> Seen:
    output = bench.fresh(name)
    with prefect_server(bench.folder / f"{name}-server") as (server, url):
        run = Disturbed(output, {"PREFECT_API_URL": url})
        run.wait_for_task("finetune")
        server.stop()
        if comes_back:
            time.sleep(OUTAGE_SECONDS)
            server.start()
        code = run.end()
    if code == 0:
        return bench.seen("the run ended well", output)
    again = finish(Disturbed(output, bench.environment))
    return bench.seen(f"the run ended with {code}; the next one went on{_resumed(again)}", output)


Row = Callable[[Bench, int], Seen]
ROWS: dict[str, Row] = {
    "SIGTERM": terminated,
    "two runs at once": two_at_once,
    "a file deleted": deleted,
    "a file altered by one byte": altered,
    "a cached record altered by one byte": altered_record,
    "disk full": full_disk,
    "clock set back by a day between two runs": clock_set_back,
    "clock set back by an hour during a run": clock_set_back_meanwhile,
    "worker killed": worker_killed,
    "MLflow away for 30 s": mlflow_away_for_a_while,
    "MLflow away for good": mlflow_away_for_good,
    "Prefect away for 30 s": prefect_away_for_a_while,
    "Prefect away for good": prefect_away_for_good,
}


@contextmanager
def bench_in(folder: Path) -> Iterator[Bench]:
    """A Prefect server that all runs share but those that it is taken from, and a run that nothing disturbs."""
    with prefect_server(folder / "server") as (_, url):
        yield Bench(folder, url)


def measured(bench: Bench, wanted: list[str], repeats: int, tell: Callable[[dict[str, list[Seen]]], None]) -> None:
    """Every row as often as asked for; `tell` hears of all so far after each."""
    found: dict[str, list[Seen]] = {}
    for repeat in range(repeats):
        if "kills" in wanted:
            for name, seen in killed_everywhere(bench, repeat):
                found.setdefault(name, []).append(seen)
            tell(found)
        for name in wanted:
            if name in ROWS:
                try:
                    seen = ROWS[name](bench, repeat)
                except (RuntimeError, OSError, subprocess.SubprocessError, ValueError) as error:
                    seen = Seen(f"FAILED: {error}", ("the run",), False)
                found.setdefault(name, []).append(seen)
                tell(found)


def table(found: dict[str, list[Seen]]) -> str:
    """As Markdown, one row a disturbance."""
    lines = ["| disturbance | repeats | what happened | lost | digests as undisturbed |", "|---|---|---|---|---|"]
    for name, repeats in found.items():
        happened = "; or: ".join(dict.fromkeys(seen.happened.splitlines()[0] for seen in repeats))
        lost = ", ".join(dict.fromkeys(what for seen in repeats for what in seen.lost)) or "nothing"
        equal = sum(seen.equal for seen in repeats)
        lines.append(f"| {name} | {len(repeats)} | {happened} | {lost} | {equal} of {len(repeats)} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    rows = ["kills", *ROWS]
    parser.add_argument("--only", default=",".join(rows), help=f"some of {', '.join(rows)}, with commas between")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", type=Path, default=Path("faults.json"), help="written anew after every row")
    parser.add_argument("--folder", type=Path, help="where the runs lie, to be looked at; default: a temporary folder")
    arguments = parser.parse_args()
    wanted = arguments.only.split(",")
    if unknown := sorted(set(wanted) - set(rows)):
        parser.error(f"there is no {unknown[0]}; choose from {', '.join(rows)}")

    def tell(found: dict[str, list[Seen]]) -> None:
        content = {name: [seen._asdict() for seen in repeats] for name, repeats in found.items()}
        arguments.json.write_text(json.dumps({"undisturbed_seconds": bench.seconds, "rows": content}, indent=1) + "\n")
        sys.stdout.write(f"{table(found)}\n\n")
        sys.stdout.flush()

    with tempfile.TemporaryDirectory() as temporary, bench_in(arguments.folder or Path(temporary)) as bench:
        measured(bench, wanted, arguments.repeats, tell)


if __name__ == "__main__":
    main()
