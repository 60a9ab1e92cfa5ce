"""Bad inputs through every door, each in a process of its own: python -m tests.benchmarks.hostile_inputs

To be run in the project's folder. The table in Markdown goes to stdout, a line a case to stderr as soon as it is answered.
Exits with 1 if an answer is a traceback, has another exit code than it should, or leaves a file behind.
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pipeline.build_file
import pipeline.preflight  # noqa: F401  # both so that no fork has to import torch and onnx anew
from flows.__main__ import main as fair_pruner_command
from tests.hostile_inputs import FORM, INPUTS, Input, form_answer

LONGEST = 230  # of an answer in the table


def answer(bad: Input) -> tuple[str, int, list[str]]:
    """What is said, the exit code, and what is wrong with the answer."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name, "inner")
        folder.mkdir()
        earlier = Path.cwd()
        os.chdir(folder)
        try:
            words = bad.make(folder)
        finally:
            os.chdir(earlier)
        before = _files(Path(name))
        code, said = _script(words, folder) if bad.script else _command(words, folder)
        flaws = {
            "a traceback": "Traceback" in said,
            f"exit code {code}": code != bad.code,
            "not the answer": bad.answer not in said,
            "more than a sentence": not bad.script and said.count("\n") != 1,
            "something left behind": _files(Path(name)) != before or Path(folder, "it-ran").exists(),
        }
    line = next((line for line in said.splitlines() if bad.answer in line), said)
    return line.removeprefix("fair-pruner: "), code, [flaw for flaw, found in flaws.items() if found]


def main() -> int:
    """Print the table; returns the exit code."""
    rows, failed = [("door", "what comes in", "answer", "exit code"), ("---",) * 4], 0
    for bad in INPUTS:
        said, code, flaws = answer(bad)
        failed += bool(flaws)
        sys.stderr.write(f"{bad.door}, {bad.what}: {', '.join(flaws) or 'as it should be'}\n")
        rows.append((bad.door, bad.what, _cell(said), str(code)))
    for what, (values, wanted) in FORM.items():
        said = form_answer(values)
        failed += wanted not in said
        rows.append(("form", what, _cell(said), "no run"))
    sys.stdout.write("".join(f"| {' | '.join(row)} |\n" for row in rows))
    sys.stdout.write(f"\n{len(rows) - 2} inputs, {failed} answered wrongly.\n")
    return 1 if failed else 0


def _command(words: list[str], folder: Path) -> tuple[int, str]:
    """`fair-pruner` with these words in a fork of this process, which has imported all it needs: exit code, and what it says."""
    with tempfile.TemporaryFile("w+") as said:
        child = os.fork()
        if not child:
            os.chdir(folder)
            for stream in (sys.stdout, sys.stderr):
                os.dup2(said.fileno(), stream.fileno())
            sys.argv = ["fair-pruner", *words]
            code: object = 0
            try:
                fair_pruner_command()
            except SystemExit as end:
                code = end.code
            except BaseException:  # noqa: BLE001  # what Python itself would print
                sys.excepthook(*sys.exc_info())
                code = 1
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(int(str(code)))
        _, status = os.waitpid(child, 0)
        said.seek(0)
        return os.waitstatus_to_exitcode(status), said.read()


def _script(words: list[str], folder: Path) -> tuple[int, str]:
    done = subprocess.run([sys.executable, *words], cwd=folder, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr


def _files(folder: Path) -> set[Path]:
    return {path for path in folder.rglob("*") if not path.is_dir()}


def _cell(said: str) -> str:
    """Short, and with nothing that Markdown takes for a mark."""
    short = said if len(said) <= LONGEST else f"{said[:LONGEST]} ..."
    return short.translate({ord(letter): f"\\{letter}" for letter in "|*_<>[]`"})


if __name__ == "__main__":
    sys.exit(main())
