"""Finished runs at a URL: how one comes there, and how it is read from there."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from pipeline.errors import InputError, StageError
from pipeline.finished_runs import files_of
from pipeline.output import folder_of, place, shared_at
from pipeline.progress import log
from pipeline.remote import Remote
from pipeline.saved_report import REPORT, read_report
from pipeline.shared import fetch
from pipeline.sums import SUMS, read_sums

LAST = (REPORT, SUMS)  # a run whose report is there is there whole


def publish(folder: Path) -> None:
    """Bring a finished run to the URL in whose working folder it lies, in place of an earlier one of its name."""
    found = shared_at(folder)
    if not found:
        return
    remote, name = found
    here = [path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file() and path.name[0] != "."]
    try:
        there = remote.names(name)
        for file in (*LAST, *sorted({*there}.difference(here, LAST))):
            remote.remove(f"{name}/{file}")
        for file in (*sorted({*here}.difference(LAST)), *(file for file in LAST if file in here)):
            remote.send(folder / file, f"{name}/{file}")
    except StageError as error:
        raise StageError(f"{error}. The run is complete in {folder}") from error
    log.info("the run's folder is at %s/%s", remote.url, name)


def folder_of_run(run: str) -> Path:
    """The folder of a finished run; of one at a URL its working folder, with nothing but the report sure to be in it.

    Raises InputError if the URL is none or no run is there.
    """
    output, name = _split(run)
    if not isinstance(output, str):
        return Path(run)
    folder = folder_of(output) / name
    if not fetch(folder / REPORT):
        raise InputError(f"{output}/{name} has no {REPORT}, so it is no finished run; give a run's, for example {output}/digits")
    return folder


@contextmanager
def complete_run(run: str) -> Iterator[Path]:
    """The folder of a finished run, with its store beside it; of one at a URL a copy, which is gone after the block.

    Files that are missing there are missing in the copy. Raises InputError if there is no folder, or the URL is none.
    """
    output, name = _split(run)
    if not isinstance(output, str):
        if not Path(run).is_dir():
            raise InputError(f"{run} is no folder; give that of a finished run, for example runs/digits")
        yield Path(run)
        return
    with tempfile.TemporaryDirectory(prefix="fair-pruner-") as temporary:
        remote, copy = Remote(output), Path(temporary)
        for file in LAST:
            remote.fetch(f"{name}/{file}", copy / name / file)
        with suppress(InputError):
            for file in read_sums(copy / name):
                remote.fetch(f"{name}/{file}", copy / name / file)
        with suppress(InputError):
            for ref in {ref for candidate in read_report(copy / name).candidates for ref in files_of(candidate)}:
                remote.fetch(f"store/{ref.path}", copy / "store" / ref.path)
        yield copy / name


def _split(run: str) -> tuple[Path | str, str]:
    """Output and name of a run."""
    found = place(run)
    if isinstance(found, Path):
        return found.parent, found.name
    output, _, name = found.rpartition("/")
    if output.endswith("/"):
        raise InputError(f"{found} names no run; give the URL of one, for example {found}/digits")
    return output, name
