"""Engines made anew from a finished run."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from flows.cli import app
from flows.rebuild_engine import rebuild_engine
from flows.sweep import sweep
from pipeline.errors import InputError
from pipeline.measurements import RunReport
from pipeline.store import Store

from .conftest import tiny

pytestmark = pytest.mark.usefixtures("prefect_server")


@pytest.fixture(scope="module")
def source(prefect_server: None, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, RunReport]:
    output = tmp_path_factory.mktemp("rebuild")
    changes = {"engine": {"enabled": False}, "quantize": {"precisions": ["fp16", "int8-cpu"], "samples": 40}}
    return output / "tiny", sweep(tiny(output, **changes))


def test_the_same_files_get_engines_and_a_run_of_their_own(source: tuple[Path, RunReport]) -> None:
    pytest.importorskip("tensorrt_rtx")
    folder, before = source
    report = rebuild_engine(folder, ("tolerance-0.6",), ("engine.enabled=true", "engine.max_batch=8"))
    assert report.rebuilt_from == before.digest
    assert report.name.startswith("tiny-rebuilt-tensorrt_rtx-")
    assert [candidate.name for candidate in report.candidates] == ["dense", "tolerance-0.6"]
    for candidate in report.candidates:
        old = next(each for each in before.candidates if each.name == candidate.name)
        assert candidate.onnx == old.onnx
        assert (candidate.engine.status, candidate.engine.profile) == ("built", (1, 8, 8))
        assert [variant.engine.status for variant in candidate.variants] == ["built", "skipped"]
        assert (Path(report.folder) / candidate.name / "model.fp16.engine").stat().st_size > 0
    assert {series.candidate for series in report.latency.series} == {"dense", "tolerance-0.6"}
    assert json.loads((folder / "report.json").read_text())["rebuilt_from"] == ""  # the source stays as it was


def test_a_file_that_was_altered_is_named_before_anything_is_built(source: tuple[Path, RunReport]) -> None:
    folder, before = source
    file = Store(folder.parent / "store").path(before.candidates[1].onnx.file)
    content = file.read_bytes()
    try:
        file.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
        with pytest.raises(InputError, match=r"of tolerance-0\.3 is missing from the store or altered"):
            rebuild_engine(folder, (), ("engine.enabled=true",))
    finally:
        file.write_bytes(content)


BAD_INPUT = {
    "no run": (["{folder}/none"], "has no report.json, so it is no finished run"),
    "no such candidate": (
        ["{folder}", "--candidate", "tolerance-0.9"],
        "has no candidate tolerance-0.9; it has dense, tolerance-0.3",
    ),
    "a setting that is none": (["{folder}", "--set", "engine.batch=3"], "unknown key engine.batch"),
    "no engine wanted": (["{folder}"], "no engine can be built here: switched off by engine.enabled"),
}


@pytest.mark.parametrize("case", BAD_INPUT)
def test_bad_input_is_one_sentence_and_exit_code_2(source: tuple[Path, RunReport], case: str) -> None:
    words, message = BAD_INPUT[case]
    result = CliRunner().invoke(app, ["rebuild", *(word.format(folder=source[0]) for word in words)])
    assert result.exit_code == 2
    assert message in result.stderr
