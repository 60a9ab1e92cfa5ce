"""A finished run, read back from its folder."""

import re
from collections import Counter
from pathlib import Path

from pipeline.errors import InputError
from pipeline.input_size import REPORT_MIB, read_limited
from pipeline.measurements import Candidate, RunReport
from pipeline.records import FileRef
from pipeline.saved_record import record_in, values_in
from pipeline.store import Store

REPORT = "report.json"
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,199}")  # of what lies in one folder: such a path leads nowhere else


def read_report(folder: Path) -> RunReport:
    """The report in a run's folder. Raises InputError if there is none, it is torn, or another version wrote it."""
    file = folder / REPORT
    if not file.is_file():
        raise InputError(f"{folder} has no {REPORT}, so it is no finished run; give a run's folder, for example runs/digits")
    return read_report_file(file)


def read_report_file(file: Path) -> RunReport:
    """A run's report.json, wherever it lies. Raises InputError if it is missing, torn, or another version wrote it.

    What comes back has candidates and latencies, and none of a file that it does not hold. Its numbers can be reckoned with:
    see `record_in` and the bounds of the fields.
    """
    if not file.is_file():
        raise InputError(f"{file} is no file; give the {REPORT} of a run, for example runs/digits/{REPORT}")
    try:
        report = record_in(read_limited(file, REPORT_MIB), RunReport)
    except ValueError as error:
        raise InputError(f"{file} cannot be read: {error}; run again with this version to write it anew") from error
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
    held = Counter((candidate.name, file.onnx.precision) for candidate in report.candidates for file in candidate.files)
    measured = {(series.candidate, series.precision) for series in report.latency.series}
    if not held or not measured:
        return "it holds no candidates or no latencies"
    files = [value.path for value in values_in(report) if isinstance(value, FileRef)]
    names = (report.name, *(name for name, _ in held), *files)
    if odd := [name for name in names if not NAME.fullmatch(name)]:
        return f"it names {odd[0][:100]!r}, which is no plain name of a run, a candidate or a file of the store"
    if unknown := [" ".join(file) for file in sorted(measured - held.keys())]:
        return f"it has latencies of {', '.join(unknown)}, which it does not hold"
    if twice := [" ".join(file) for file, times in held.items() if times > 1]:
        return f"it holds {twice[0]} more than once"
    if len({len(candidate.onnx_test.recall) for candidate in report.candidates}) > 1:
        return "its candidates tell the recall of different numbers of classes"
    return "" if isinstance(report.config.get("data", {}), dict) else "its config has something else than settings under data"
