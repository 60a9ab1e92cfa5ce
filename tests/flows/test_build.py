import hashlib
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from flows.cli import app
from pipeline import engine_builder
from pipeline.engine_file import check_engine
from pipeline.exported import EngineRecord

from ..disks import small_disk
from ..onnx_files import classifier, quantised

pytest.importorskip("tensorrt_rtx")


def build(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["build", *map(str, arguments)])


def test_any_file_becomes_an_engine_with_its_record_and_its_log(tmp_path: Path) -> None:
    model = classifier(tmp_path / "own.onnx", dtype=np.float16)
    result = build(model, "--target", "SM86", "--max-batch", "4")
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout.count("\n") == 1
    engine = tmp_path / "own.engine"
    record = EngineRecord.model_validate_json((tmp_path / "own.engine.json").read_text())
    assert check_engine(engine, record).library == record.library == "tensorrt_rtx"
    assert record.parents == (hashlib.sha256(model.read_bytes()).hexdigest(),)
    assert (record.status, record.precision, record.profile, record.targets) == ("built", "fp16", (1, 4, 4), ("SM86",))
    assert record.seconds > record.build_seconds > 0
    assert (tmp_path / record.log.path).read_text().startswith("[I] ")
    size = f"{record.file.size_bytes} bytes"
    for words in (f"built {engine}: ", size, f"{record.library_version} for SM86, ", record.file.sha256, "not executed"):
        assert words in result.stdout
    assert {path.name for path in tmp_path.iterdir()} == {"own.onnx", "own.engine", "own.engine.json", "own.engine.log"}


@pytest.mark.parametrize(
    ("batch", "options", "profile"),
    [
        ("n", (), (1, 8, 16)),
        ("n", ("--min-batch", 32), (32, 32, 32)),
        ("n", ("--opt-batch", 64), (1, 64, 64)),
        ("n", ("--min-batch", 2, "--opt-batch", 3, "--max-batch", 5), (2, 3, 5)),
        (4, (), (4, 4, 4)),
        (4, ("--opt-batch", 4), (4, 4, 4)),
    ],
)
def test_the_profile_follows_the_file_and_the_options(
    batch: int | str, options: tuple[object, ...], profile: tuple[int, ...], tmp_path: Path
) -> None:
    model, engine = classifier(tmp_path / "m.onnx", batch=batch), tmp_path / "other.plan"
    assert build(model, "--output", engine, *options).exit_code == 0
    assert json.loads((tmp_path / "other.plan.json").read_text())["profile"] == list(profile)


def written(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


Make = Callable[[Path], Path]
BAD_FILES: dict[str, tuple[Make, str]] = {
    "missing": (lambda path: path, "does not exist; give the path of an ONNX file"),
    "no protobuf": (lambda path: written(path, b"no protobuf at all"), "is not an ONNX file"),
    "opset too low": (lambda path: classifier(path, opset=6), "has opset 6, expected 7 or later"),
    "custom operator": (lambda path: classifier(path, activation=("MyRelu", "my.ops")), "is the custom operator MyRelu of the"),
    "operator that TensorRT does not know": (
        lambda path: classifier(path, activation=("NonZero", "")),
        "does not understand the ONNX file: node activation (NonZero): ",
    ),
    "two inputs": (lambda path: classifier(path, inputs=2), "has 2 inputs (input, mask)"),
    "input in fp16": (lambda path: classifier(path, input_dtype=np.float16), "expected float32 images"),
    "free height": (lambda path: classifier(path, image=(1, "h", 8)), "only the batch may be free"),
    "unsigned int8": (
        lambda path: quantised(path, unsigned=True),
        "is int8 for CPUs: node quantise (QuantizeLinear) is unsigned, and TensorRT takes signed, symmetric int8",
    ),
    "asymmetric int8": (lambda path: quantised(path, zero_point=3), "node quantise (QuantizeLinear) is not symmetric"),
    "int8 with int32 biases": (lambda path: quantised(path, int32_bias=True), "keeps qb, a bias, in int32"),
}
BAD_OPTIONS: dict[str, tuple[tuple[object, ...], str]] = {
    "batches that do not rise": (("--min-batch", 8, "--max-batch", 4), "batches must rise: min 8 <= opt 4 <= max 4"),
    "batch of zero": (("--min-batch", 0), "min_batch = 0 is refused"),
    "unknown target": (("--target", "SM87"), "targets = 'SM87' is refused"),
    "no workspace": (("--workspace-mib", 0), "workspace_mib = 0 is refused"),
    "output is a folder": (("--output", "."), "which is a folder; give it another path"),
    "output is the model": (("--output", "m.onnx"), "which is the model itself; give it another path"),
    "output in a folder that is not there": (
        ("--output", "none/m.engine"),
        "the folder of none/m.engine does not exist; make it first",
    ),
}


def is_refused(result: Result, message: str) -> None:
    assert result.exit_code == 2
    assert message in result.stderr
    assert result.stderr.startswith("fair-pruner: ")
    assert result.stderr.count("\n") == 1
    assert "cudaError" not in result.stderr
    assert result.stdout == ""


@pytest.mark.parametrize("case", BAD_FILES)
def test_a_file_that_no_engine_can_be_built_from_is_one_sentence_and_exit_code_2(case: str, tmp_path: Path) -> None:
    make, message = BAD_FILES[case]
    model = make(tmp_path / "m.onnx")
    before = [*tmp_path.iterdir()]
    is_refused(build(model), message)
    assert [*tmp_path.iterdir()] == before


@pytest.mark.parametrize("case", BAD_OPTIONS)
def test_a_bad_option_is_one_sentence_and_exit_code_2(case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    options, message = BAD_OPTIONS[case]
    monkeypatch.chdir(tmp_path)
    is_refused(build(classifier(Path("m.onnx")), *options), message)
    assert [path.name for path in tmp_path.iterdir()] == ["m.onnx"]


def test_a_fixed_batch_is_not_contradicted(tmp_path: Path) -> None:
    model = classifier(tmp_path / "m.onnx", batch=4)
    is_refused(build(model, "--max-batch", 16), "takes batches of 4 alone, max_batch is 16; leave the batches out, or export")
    assert [*tmp_path.iterdir()] == [model]


def test_without_a_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("tensorrt", "tensorrt_rtx"):
        monkeypatch.setitem(sys.modules, name, None)
    model = classifier(tmp_path / "m.onnx")
    is_refused(build(model), "no TensorRT library can build here: ")
    assert [*tmp_path.iterdir()] == [model]


def test_a_full_disk_leaves_nothing(tmp_path: Path) -> None:
    with small_disk(tmp_path) as disk:
        model = classifier(disk / "m.onnx")
        is_refused(build(model), f"no space left in {disk}: free some, or set the output elsewhere")
        assert [*disk.iterdir()] == [model]


def test_a_build_that_fails_leaves_its_log_alone_and_exit_code_1(tmp_path: Path) -> None:
    model = classifier(tmp_path / "m.onnx")
    result = build(model, "--target", "SM75")
    assert result.exit_code == 1
    assert "Turing (SM75): FP32 GEMM is not supported" in result.stderr
    log = tmp_path / "m.engine.log"
    assert result.stderr.endswith(f"; its log is {log}\n")
    assert result.stderr.count("\n") == 1
    assert "[E] " in log.read_text()
    assert {path.name for path in tmp_path.iterdir()} == {"m.onnx", "m.engine.log"}


def test_ctrl_c_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(engine_builder, "build", interrupted)
    model = classifier(tmp_path / "m.onnx")
    result = build(model)
    assert (result.exit_code, result.stderr) == (130, "fair-pruner: interrupted; no engine was written\n")
    assert [*tmp_path.iterdir()] == [model]


def test_a_bad_file_is_refused_before_torch_is_loaded(tmp_path: Path) -> None:
    command = [sys.executable, "-X", "importtime", "-m", "flows", "build", str(tmp_path / "none.onnx")]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 2
    assert "none.onnx does not exist" in result.stderr
    assert not {line.rpartition("|")[2].strip() for line in result.stderr.splitlines()} & {"torch", "prefect", "mlflow"}
