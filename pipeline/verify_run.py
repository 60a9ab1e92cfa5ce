"""Is a finished run still what it was: its report, the files beside it, and the store that they come from?"""

from collections.abc import Iterator
from pathlib import Path

from pipeline.doctor import Finding
from pipeline.errors import InputError
from pipeline.finished_runs import files_of
from pipeline.saved_report import REPORT, read_report, store_of
from pipeline.sums import SUMS, digest_of_file, read_sums


def verify_run(folder: Path) -> tuple[Finding, ...]:
    """Hash every file that the run left, and compare: the report, the files in its folder, and those in the store.

    A finding for each of the three, and one for every file that is missing or altered. Changes nothing.
    """
    return (*_folder(folder), *_store(folder))


def _folder(folder: Path) -> Iterator[Finding]:
    try:
        read_report(folder)
        yield Finding(REPORT, "ok", "complete, and of this version's form")
    except InputError as error:
        yield Finding(REPORT, "broken", str(error))
    try:
        sums = read_sums(folder)
    except InputError as error:
        yield Finding(SUMS, "missing", str(error))
        return
    flaws = [(path, flaw) for path, digest in sums.items() if (flaw := _flaw(folder / path, digest))]
    yield Finding("files of the run", "broken" if flaws else "ok", f"{len(sums) - len(flaws)} of {len(sums)} are as they were")
    for path, flaw in flaws:
        yield Finding(path, "broken", f"{flaw}; run again to make it anew")


def _store(folder: Path) -> Iterator[Finding]:
    try:
        report = read_report(folder)
    except InputError:
        return
    root = store_of(folder).root
    files = sorted({file for candidate in report.candidates for file in files_of(candidate)}, key=lambda file: file.path)
    flaws = [(file, flaw) for file in files if (flaw := _flaw(root / file.path, file.sha256))]
    yield Finding(
        "files of the store", "broken" if flaws else "ok", f"{len(files) - len(flaws)} of {len(files)} are as they were"
    )
    for file, flaw in flaws:
        yield Finding(f"store/{file.path}", "broken", f"{flaw}; run again to make it anew")


def _flaw(path: Path, digest: str) -> str:
    try:
        if not path.is_file():
            return "missing"
        return "" if digest_of_file(path) == digest else "altered"
    except OSError as error:
        return f"cannot be read: {error.strerror}"
