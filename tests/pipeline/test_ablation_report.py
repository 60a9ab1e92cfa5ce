"""The folder of a comparison: all files or none, and what is read back is what was written."""

from pathlib import Path

import pytest

from pipeline import ablation_report as module
from pipeline.ablation import FILES, AblationReport
from pipeline.ablation_report import ablation_report
from pipeline.ablation_text import ablation_text
from pipeline.errors import InputError

from .ablations import cell, comparison, latency, three_seeds


def test_the_folder_holds_figure_text_and_a_record_that_is_read_back_equal(tmp_path: Path) -> None:
    report = comparison(three_seeds(), latency())
    folder = tmp_path / "runs" / report.full_name
    assert ablation_report(report, folder) is report
    assert {file.name for file in folder.iterdir()} == set(FILES)
    read = AblationReport.model_validate_json((folder / "ablation.json").read_text())
    assert (read, read.digest) == (report, report.digest)
    text = (folder / "ablation.md").read_text()
    assert text.startswith(ablation_text(report))
    assert "](recovery.png)" in text
    assert (folder / "recovery.png").read_bytes().startswith(b"\x89PNG")


def test_a_figure_that_fails_leaves_the_earlier_files_as_they_were(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ablation_report(comparison([cell()]), tmp_path)
    before = {file.name: file.read_bytes() for file in tmp_path.iterdir()}

    def fail(report: AblationReport) -> bytes:
        raise ValueError("no font")

    monkeypatch.setattr(module, "recovery_figure", fail)
    with pytest.raises(ValueError, match="no font"):
        ablation_report(comparison(three_seeds()), tmp_path)
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == before


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("a file, no folder")
    with pytest.raises(InputError, match=r"cannot write in .*taken"):
        ablation_report(comparison([cell()]), tmp_path / "taken" / "runs")
