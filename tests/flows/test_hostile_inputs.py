"""Every bad input of tests/hostile_inputs.py: one sentence, the exit code, and nothing left behind."""

import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from flows.cli import app

from ..hostile_inputs import FORM, INPUTS, Input, form_answer
from ..memory import memory_grows_by


def files(folder: Path) -> set[Path]:
    return {path for path in folder.rglob("*") if not path.is_dir()}


@pytest.mark.parametrize("bad", INPUTS, ids=lambda bad: f"{bad.door}: {bad.what}")
def test_a_bad_input_is_answered_in_one_sentence(bad: Input, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "inner"
    folder.mkdir()
    monkeypatch.chdir(folder)
    words = bad.make(folder)
    before = files(tmp_path)
    if bad.script:
        done = subprocess.run([sys.executable, *words], capture_output=True, text=True, check=False)
        code, said = done.returncode, done.stdout + done.stderr
    else:
        with memory_grows_by(2**30):
            result = CliRunner().invoke(app, words)
        code, said = result.exit_code, result.stderr
        assert result.stderr.count("\n") == 1
    assert bad.answer in said
    assert code == bad.code
    assert "Traceback" not in said
    assert files(tmp_path) == before
    assert not (folder / "it-ran").exists()


@pytest.mark.parametrize("what", FORM)
def test_a_bad_form_is_refused_before_there_is_a_run(what: str) -> None:
    values, answer = FORM[what]
    assert answer in form_answer(values)


def test_a_good_form_is_taken() -> None:
    assert form_answer({"seed": 3}) == ""


def test_there_are_forty_at_every_door() -> None:
    doors = {bad.door for bad in INPUTS}
    assert doors == {"command line", "YAML", "checkpoint", "data set", "ONNX", "bundle"}
    assert len(INPUTS) + len(FORM) >= 40
