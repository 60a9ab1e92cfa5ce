"""A gate's result as files: JUnit XML for the CI system, Markdown for the page of the job."""

from datetime import UTC, datetime
from pathlib import Path

from pipeline.errors import InputError
from pipeline.gate import GateResult
from pipeline.gate_text import gate_text
from pipeline.junit import junit
from pipeline.measurements import RunReport
from pipeline.whole_files import make_folder, write_together


def write_gate(report: RunReport, result: GateResult, junit_file: Path | None, summary_file: Path | None) -> None:
    """Write the JUnit XML anew and append the summary to what its file holds; None: not written.

    Both whole or none. Raises InputError if they are one file, or cannot be written.
    """
    if junit_file and summary_file and junit_file.resolve() == summary_file.resolve():
        raise InputError(f"--junit and --summary both name {junit_file}; give two files")
    files: dict[Path, bytes] = {}
    if junit_file:
        files[junit_file] = junit(result, datetime.now(UTC))
    if summary_file:
        text = gate_text(report, result).encode()
        files[summary_file] = (summary_file.read_bytes() + b"\n" if summary_file.is_file() else b"") + text
    for file in files:
        if file.is_dir():
            raise InputError(f"{file} is a folder; name a file in it")
        make_folder(file.parent)
    write_together(files)
