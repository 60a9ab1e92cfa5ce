"""A finished run, read back from its folder."""

import re
from collections.abc import Iterator
from pathlib import Path

from pydantic import ValidationError

from pipeline.errors import InputError
from pipeline.input_size import REPORT_MIB, read_limited
from pipeline.measurements import Candidate, RunReport
from pipeline.records import FileRef, Value
from pipeline.store import Store

REPORT = "report.json"
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")  # of what lies in one folder: such a path leads nowhere else


def read_report(folder: Path) -> RunReport:
    """The report in a run's folder. Raises InputError if there is none, it is torn, or another version wrote it."""
    file = folder / REPORT
    if not file.is_file():
        raise InputError(f"{folder} has no {REPORT}, so it is no finished run; give a run's folder, for example runs/digits")
    return read_report_file(file)


def read_report_file(file: Path) -> RunReport:
    """A run's report.json, wherever it lies. Raises InputError if it is missing, torn, or another version wrote it.

    What comes back has candidates and latencies, and none of a file that it does not hold.
    """
    if not file.is_file():
        raise InputError(f"{file} is no file; give the {REPORT} of a run, for example runs/digits/{REPORT}")
    try:
        report = RunReport.model_validate_json(read_limited(file, REPORT_MIB))
    except ValidationError as error:
        what = error.errors()[0]
        where = ".".join(map(str, what["loc"])) or "the file"
        raise InputError(
            f"{file} cannot be read: {where}: {what['msg']}; run again with this version to write it anew"
        ) from error
    flaw = _flaw(report)
    if flaw:
        raise InputError(f"{file} cannot be used: {flaw}; run again to write it anew")
    return report


def store_of(folder: Path) -> Store:
    """The store that a run's files lie in, beside its folder."""
    return Store(folder.resolve().parent / "store")


def candidate_named(report: RunReport, name: str) -> Candidate:
    """One candidate of a run. Raises InputError that lists what there is."""
    for candidate in report.candidates:
        if candidate.name == name:
            return candidate
    raise InputError(f"{report.name} has no candidate {name}; it has {', '.join(c.name for c in report.candidates)}")


def _flaw(report: RunReport) -> str:
    """Why a report is none, though it can be read; empty if it is one."""
    held = {(candidate.name, file.onnx.precision) for candidate in report.candidates for file in candidate.files}
    measured = {(series.candidate, series.precision) for series in report.latency.series}
    if not held or not measured:
        return "it holds no candidates or no latencies"
    unknown = [" ".join(file) for file in sorted(measured - held)]
    if unknown:
        return f"it has latencies of {', '.join(unknown)}, which it does not hold"
    files = [file.path for record in (report.scores, *report.candidates) for file in _files(record)]
    odd = [name for name in (report.name, *(each.name for each in report.candidates), *files) if not NAME.fullmatch(name)]
    return f"it names {odd[0][:100]!r}, which is no plain name of a run, a candidate or a file of the store" if odd else ""


def _files(value: object) -> Iterator[FileRef]:
    """Every file that a value names, however deep."""
    if isinstance(value, FileRef):
        yield value
    elif isinstance(value, Value):
        for _, inner in value:
            yield from _files(inner)
    elif isinstance(value, tuple):
        for inner in value:
            yield from _files(inner)
