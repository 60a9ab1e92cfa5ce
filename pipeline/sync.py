"""Tell MLflow, later, what it could not be told when a run ended."""

import tempfile
from pathlib import Path
from typing import NamedTuple

from pipeline.errors import InputError, StageError
from pipeline.measurements import RunReport, TrackRecord
from pipeline.mlflow_runs import Times
from pipeline.registry import register
from pipeline.saved_report import REPORT, read_report_file
from pipeline.spool import Unlogged, mark_logged, syncing, unlogged
from pipeline.store import Store
from pipeline.track import track


class Synced(NamedTuple):
    """What became of one run of the spool: `tracked` is None if it still waits, and `reason` says why."""

    entry: Unlogged
    tracked: TrackRecord | None
    reason: str = ""


def sync(output: Path) -> tuple[Synced, ...]:
    """Log every run of the spool in `output` with its original times and steps, exactly once, and register what it recommends.

    One process at a time; a run that MLflow knows already, because an earlier call was killed before it could say so, is not
    logged again. What MLflow refuses waits on; the others are tried all the same.
    """
    with syncing(output):
        return tuple(_synced(entry, output) for entry in unlogged(output))


def _synced(entry: Unlogged, output: Path) -> Synced:
    store = Store(output / "store")
    try:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            for file, ref in entry.files.items():
                (folder / file).write_bytes(store.path(ref).read_bytes())
            report = _report(folder / REPORT, entry)
            times = Times(entry.began_ms, entry.ended_ms)
            tracked = track(report, entry.track, output, store, entry.flow_run_url, times, folder)
            if entry.track.registry:
                register(report, tracked, entry.track, entry.gate)
    except (StageError, InputError) as error:
        return Synced(entry, None, str(error))
    mark_logged(entry, output)
    return Synced(entry, tracked)


def _report(file: Path, entry: Unlogged) -> RunReport:
    try:
        report = read_report_file(file)
    except InputError as error:
        raise InputError(
            f"the report of {entry.name} in the spool cannot be read; log it with the version that ran it"
        ) from error
    if report.digest != entry.digest:
        raise InputError(f"the report of {entry.name} in the spool is not the one that was put there; run again")
    return report
