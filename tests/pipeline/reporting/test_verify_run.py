import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pipeline.doctor import usable
from pipeline.errors import InputError
from pipeline.report import report
from pipeline.sums import SUMS, read_sums
from pipeline.verify_run import verify_run


@pytest.fixture
def run(make_sweep: Callable[..., dict[str, Any]], tmp_path: Path) -> Path:
    """The folder of a finished run, with files of its own where the store's are links."""
    report(**make_sweep(tmp_path, "dense", "quick"))
    copy = tmp_path / "copy"
    shutil.copytree(tmp_path / "digits", copy)
    return copy


def flaws(folder: Path) -> dict[str, str]:
    return {finding.subject: finding.detail for finding in verify_run(folder) if finding.state != "ok"}


def test_an_untouched_run_is_as_it_was(run: Path) -> None:
    assert flaws(run) == {}
    assert usable(verify_run(run))


def test_sha256sum_itself_agrees(run: Path) -> None:
    command = ["sha256sum", "--check", "--strict", SUMS]
    checked = subprocess.run(command, cwd=run, capture_output=True, text=True)
    assert checked.returncode == 0, checked.stdout


def test_every_file_of_the_run_is_covered(run: Path) -> None:
    files = {str(path.relative_to(run)) for path in run.rglob("*") if path.is_file() and not path.name.startswith(".")}
    assert set(read_sums(run)) == files - {SUMS}


def test_one_flipped_byte_in_any_file_is_found(run: Path) -> None:
    for name in read_sums(run):
        file = run / name
        content = file.read_bytes()
        place = len(content) // 2
        file.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
        assert name in flaws(run)
        assert not usable(verify_run(run))
        file.write_bytes(content)
    assert flaws(run) == {}


def test_what_is_missing_is_named(run: Path) -> None:
    (run / "dense" / "model.onnx").unlink()
    assert flaws(run)["dense/model.onnx"] == "missing; run again to make it anew"
    for file in (run.parent / "store").glob("*.safetensors"):
        file.unlink()
    assert any(name.startswith("store/") and name.endswith(".safetensors") for name in flaws(run))
    (run / SUMS).unlink()
    assert f"has no {SUMS}" in flaws(run)[SUMS]


@pytest.mark.parametrize("line", ["", "abc  file", f"{'0' * 64}  ../../etc/passwd", f"{'0' * 64}  /etc/passwd", "\x00"])
def test_sums_that_are_none_or_lead_elsewhere_are_refused(run: Path, line: str) -> None:
    (run / SUMS).write_text(f"{line}\n")
    with pytest.raises(InputError, match="expected a SHA-256 and a path within the folder"):
        read_sums(run)


@example(content=f"{'0' * 64}  {'x' * 300}".encode())
@example(content=f"{'0' * 64}  a\0b".encode())
@given(content=st.binary(max_size=40) | st.text(max_size=20).map(lambda name: f"{'0' * 64}  {name}".encode()))
def test_whatever_the_sums_are_the_rest_is_told_too(content: bytes, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.getbasetemp() / "sums"
    folder.mkdir(exist_ok=True)
    (folder / SUMS).write_bytes(content)
    found = verify_run(folder)
    assert {finding.subject for finding in found} >= {"report.json"}
    assert len(found) >= 2
    assert all(len(finding.detail.splitlines()) == 1 for finding in found)
