import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner, Result

from flows.cli import app
from pipeline import machine
from pipeline.latency import LatencyReport

from ..onnx_files import classifier

QUICK = ("--min-seconds", "0.05", "--rounds", "5")


@pytest.fixture(autouse=True)
def short_look(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "LOOK_SECONDS", 0.05)


def bench(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["bench", *map(str, arguments)])


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Result]:
    """A folder with two files and the report of their measurement."""
    folder = tmp_path_factory.mktemp("bench")
    files = [classifier(folder / "first.onnx"), classifier(folder / "second.onnx")]
    return folder, bench(*files, *QUICK, "--batch", 1, "--batch", 3, "--json", folder / "report.json")


def test_every_file_has_its_line_and_the_conditions_stand_below(measured: tuple[Path, Result]) -> None:
    folder, result = measured
    assert result.exit_code == 0
    for words in (
        "first.onnx",
        "second.onnx",
        "onnxruntime",
        "p50",
        "p90",
        "p99",
        "CPU time",
        "reference",
        "machine: ",
        "runs of",
    ):
        assert words in result.stdout
    report = LatencyReport.model_validate_json((folder / "report.json").read_text())
    assert [(series.candidate, series.batch_size) for series in report.series] == [
        (name, size) for size in (1, 3) for name in ("first.onnx", "second.onnx")
    ]
    assert all(series.runs >= 50 for series in report.series)
    assert {path.name for path in folder.iterdir()} == {"first.onnx", "second.onnx", "report.json"}


def test_an_earlier_report_of_this_machine_is_compared(measured: tuple[Path, Result]) -> None:
    folder, _ = measured
    result = bench(folder / "first.onnx", *QUICK, "--batch", 3, "--against", folder / "report.json")
    assert result.exit_code == 0
    for words in ("against the earlier report", "p50 then", "p50 now", "speed-up (interval)"):
        assert words in result.stdout


def changed(folder: Path, change: Callable[[dict[str, object]], object]) -> Path:
    values = json.loads((folder / "report.json").read_text())
    change(values)
    (folder / "changed.json").write_text(json.dumps(values))
    return folder / "changed.json"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda values: values["machine"].update(cpu="Other"),
            "different machines are not compared: cpu is Other there",
        ),
        (lambda values: values["machine"]["versions"].update(onnxruntime="0"), "version of onnxruntime is 0 there and "),
        (lambda values: values.update(threads=2), "measured with 2 threads, --threads is 1"),
        (lambda values: values.update(series=values["series"][1:2]), "nothing of that is asked for now"),
        (lambda values: values.pop("machine"), "is no latency report"),
    ],
)
def test_what_cannot_be_compared_is_refused_before_anything_is_measured(
    change: Callable[[dict[str, object]], object], message: str, measured: tuple[Path, Result], tmp_path: Path
) -> None:
    folder, _ = measured
    output = tmp_path / "new.json"
    result = bench(folder / "first.onnx", *QUICK, "--against", changed(folder, change), "--json", output)
    (folder / "changed.json").unlink()
    assert message in refused(result)
    assert not output.exists()


def refused(result: Result) -> str:
    """The one sentence of a command that exits with 2."""
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.startswith("fair-pruner: ")
    assert result.stderr.count("\n") == 1
    return result.stderr


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--runtime", "tflite"), "--runtime tflite is refused: Input should be 'torch', 'onnxruntime'"),
        (("--batch", 0), "--batch 0 is refused: Input should be greater than or equal to 1"),
        (("--rounds", 4), "--rounds 4 is refused: Input should be greater than or equal to 5"),
        (("--min-seconds", 0), "--min-seconds 0.0 is refused: Input should be greater than or equal to 0.05"),
        (("--threads", 0), "--threads 0 is refused"),
        (("--json", "no/such/folder/report.json"), "report.json lies in a folder that does not exist"),
        (("--against", "none.json"), "none.json does not exist"),
    ],
)
def test_a_bad_option_is_one_sentence_and_exit_code_2(
    options: tuple[object, ...], message: str, measured: tuple[Path, Result]
) -> None:
    folder, _ = measured
    assert message in refused(bench(folder / "first.onnx", *options))


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_what_only_a_gpu_runs_is_refused_without_one(measured: tuple[Path, Result]) -> None:
    folder, _ = measured
    assert "no GPU on this machine: engines are built here, not executed" in refused(
        bench(folder / "first.onnx", "--runtime", "tensorrt")
    )
    assert "CUDAExecutionProvider" in refused(bench(folder / "first.onnx", "--runtime", "onnxruntime-cuda"))


def test_bad_files_are_refused(tmp_path: Path, measured: tuple[Path, Result]) -> None:
    folder, _ = measured
    output = tmp_path / "report.json"
    assert "none.onnx does not exist" in refused(bench(tmp_path / "none.onnx", "--json", output))
    fixed = classifier(tmp_path / "fixed.onnx", batch=2)
    assert "fixed.onnx takes batches of 2 alone, --batch is 1" in refused(bench(folder / "first.onnx", fixed, "--json", output))
    wide = classifier(tmp_path / "wide.onnx", image=(1, 8, 9))
    assert "compare files that take the same images" in refused(bench(folder / "first.onnx", wide, "--json", output))
    assert not output.exists()


def test_a_report_that_cannot_be_written_is_told_before_the_measurement(measured: tuple[Path, Result]) -> None:
    folder, _ = measured
    assert "is a folder; give the path of a JSON file to write" in refused(bench(folder / "first.onnx", "--json", folder))


def test_the_command_measures_without_torch(measured: tuple[Path, Result]) -> None:
    folder, _ = measured
    command = [sys.executable, "-X", "importtime", "-m", "flows", "bench", str(folder / "first.onnx"), *QUICK, "--batch", "1"]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "first.onnx" in result.stdout
    loaded = {line.rpartition("|")[2].strip().partition(".")[0] for line in result.stderr.splitlines()}
    assert "onnx" in loaded
    assert not loaded & {"torch", "prefect", "mlflow"}


def test_the_command_ends_with_2_and_no_traceback(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "flows", "bench", str(tmp_path / "none.onnx")]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 2
    assert "Traceback" not in result.stderr
    assert "none.onnx does not exist" in result.stderr
