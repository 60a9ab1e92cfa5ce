"""What MLflow could not be told: kept on disk, whole and in order, until `fair-pruner sync` tells it."""

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

from pydantic import StringConstraints

from pipeline.config import GateConfig, TrackConfig
from pipeline.file_lock import locked
from pipeline.measurements import RunReport
from pipeline.progress import log
from pipeline.records import FileRef, Value
from pipeline.store import Store
from pipeline.whole_files import make_folder, sync_folders

SPOOL = "unlogged.jsonl"


class Unlogged(Value):
    """A finished run that is not in MLflow. Its report and the files beside it lie in the store, whatever a later run replaces.

    `began_ms` and `ended_ms` are milliseconds since 1970: when the sweep began, and when its results were complete.
    """

    digest: str
    name: str
    files: dict[Annotated[str, StringConstraints(pattern=r"^[^/]+$")], FileRef]
    track: TrackConfig
    gate: GateConfig
    flow_run_url: str
    began_ms: int
    ended_ms: int


class Logged(Value):
    """A run of the spool that MLflow has been told by now."""

    logged: str


def spool(
    report: RunReport, track: TrackConfig, gate: GateConfig, flow_run_url: str, began_ms: int, ended_ms: int, output: Path
) -> Unlogged:
    """Append a run to the spool of an output folder; it is on the disk when this returns. Raises InputError if it is full."""
    store, folder = Store(output / "store"), Path(report.folder)
    files = {file.name: store.add(file) for file in sorted(folder.iterdir()) if file.is_file() and not file.name.startswith(".")}
    entry = Unlogged(
        digest=report.digest,
        name=report.name,
        files=files,
        track=track,
        gate=gate,
        flow_run_url=flow_run_url,
        began_ms=began_ms,
        ended_ms=ended_ms,
    )
    _append(output, entry)
    return entry


def unlogged(output: Path) -> tuple[Unlogged, ...]:
    """The runs that MLflow still has to be told, the earliest first. A line that a crash has torn is told of and left out."""
    waiting: list[Unlogged] = []
    file = output / SPOOL
    for number, line in enumerate(file.read_text(errors="replace").splitlines() if file.is_file() else (), 1):
        try:
            values = json.loads(line)
            if "logged" in values:
                done = Logged.model_validate(values).logged
                waiting = [entry for entry in waiting if entry.digest != done]
            else:
                waiting.append(Unlogged.model_validate(values))
        except (ValueError, TypeError, RecursionError):
            log.warning("line %d of %s is torn; it is left out", number, file)
    return tuple(waiting)


def mark_logged(entry: Unlogged, output: Path) -> None:
    """Say that MLflow knows a run now."""
    _append(output, Logged(logged=entry.digest))


@contextmanager
def syncing(output: Path) -> Iterator[None]:
    """One process at a time empties a spool."""
    with locked(output / SPOOL):
        yield


def _append(output: Path, entry: Value) -> None:
    """A line, written at once and to the disk; behind a line that a crash has torn it begins a new one."""
    make_folder(output)
    file = output / SPOOL
    new = not file.is_file()
    torn = not new and not file.read_bytes().endswith(b"\n") and file.stat().st_size > 0
    with file.open("ab") as end:
        fcntl.flock(end, fcntl.LOCK_EX)
        end.write(b"\n" * torn + entry.model_dump_json().encode() + b"\n")
        end.flush()
        os.fsync(end.fileno())
    if new:
        sync_folders([output])
