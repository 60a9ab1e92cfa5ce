"""The stand-alone builder: with TensorRT-RTX, which builds without a GPU, and against a stand-in for TensorRT."""

import hashlib
import importlib
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from .test_verify import failures, flip

Script = Callable[..., subprocess.CompletedProcess[str]]


def test_it_builds_with_tensorrt_rtx_and_notes_what_it_built(own_bundle: Path, script: Script) -> None:
    pytest.importorskip("tensorrt_rtx")
    done = script(own_bundle, "build_engine.py", "--library", "tensorrt_rtx", "--opt", 4, "--max", 12)
    assert (done.returncode, done.stderr) == (0, "")
    engine = own_bundle / "model.fp16.engine"
    content, note = engine.read_bytes(), json.loads((own_bundle / "model.fp16.engine.json").read_bytes())
    assert content.startswith(b"vtrt")
    assert note["sha256"] == hashlib.sha256(content).hexdigest()
    assert note["onnx_sha256"] == hashlib.sha256((own_bundle / "model.fp16.onnx").read_bytes()).hexdigest()
    assert (note["status"], note["precision"], note["profile"]) == ("built", "fp16", [1, 4, 12])
    assert note["library"] == "tensorrt_rtx"
    assert "model.fp16.onnx" in (own_bundle / "model.fp16.engine.log").read_text()
    assert (
        "trtexec --onnx=model.fp16.onnx --saveEngine=model.fp16.engine --minShapes=input:1x1x8x8 --optShapes=input:4x1x8x8 "
        "--maxShapes=input:12x1x8x8 --stronglyTyped --memPoolSize=workspace:1024 --timingCacheFile=timing.cache --skipInference"
    ) in done.stdout
    assert not (own_bundle / "timing.cache").exists()  # TensorRT-RTX has no use for one
    assert not list(own_bundle.glob(".*.writing"))


def test_verify_knows_the_engine_and_says_that_there_is_no_gpu(own_bundle: Path, script: Script) -> None:
    pytest.importorskip("tensorrt_rtx")
    torch = pytest.importorskip("torch")
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    engine = own_bundle / "small.engine"
    assert (
        script(own_bundle, "build_engine.py", "--precision", "int8-trt", "--target", "SM86", "--output", engine).returncode == 0
    )
    assert json.loads((own_bundle / "small.engine.json").read_bytes())["targets"] == ["SM86"]
    done = script(own_bundle, "verify.py", "--engine", engine)
    assert done.returncode == 1
    assert "ok    small.engine was built from model.int8-trt.onnx of this bundle" in done.stdout
    assert [line for line in failures(done) if "there is no driver of an NVIDIA GPU here" in line] == failures(done)
    flip(engine)
    assert "FAIL  small.engine is the file that build_engine.py wrote" in failures(
        script(own_bundle, "verify.py", "--engine", engine)
    )


def test_a_failed_build_leaves_its_log_and_no_engine(own_bundle: Path, script: Script) -> None:
    pytest.importorskip("tensorrt_rtx")
    done = script(own_bundle, "build_engine.py", "--precision", "fp32", "--library", "tensorrt_rtx", "--target", "SM75")
    assert done.returncode == 1
    assert done.stderr.startswith("build_engine.py: tensorrt_rtx gives no engine: ERROR")
    assert "SM75" in done.stderr
    assert "cudaError 35" not in done.stderr
    assert "SM75" in (own_bundle / "model.fp32.engine.log").read_text()
    assert not (own_bundle / "model.fp32.engine").exists()
    assert not (own_bundle / "model.fp32.engine.json").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--precision", "int8-cpu"), "int8-cpu is for ONNX Runtime and OpenVINO on a CPU, TensorRT refuses it; take int8-trt"),
        (("--precision", "fp8"), "the bundle has no fp8, only fp32, fp16, int8-cpu, int8-trt"),
        (("--opt", 32), "batches must rise, min 1 <= opt 32 <= max 16; change --min, --opt, --max"),
        (("--min", -1), "batches must rise"),
        (("--output", "nowhere/model.engine"), "the folder nowhere does not exist"),
        (("--library", "tensorrt_rtx", "--target", "SM87"), "--target of tensorrt_rtx can be SM120, SM121, SM75, "),
    ],
)
def test_arguments_that_do_not_fit_end_with_2(
    arguments: tuple[Any, ...], message: str, shared_bundle: Path, script: Script
) -> None:
    pytest.importorskip("tensorrt_rtx")
    done = script(shared_bundle, "build_engine.py", *arguments)
    assert done.returncode == 2
    assert done.stderr.startswith(f"build_engine.py: {message}")
    assert done.stderr.count("\n") == 1
    assert done.stdout == ""


def test_a_damaged_model_is_not_built_from(own_bundle: Path, script: Script) -> None:
    flip(own_bundle / "model.fp16.onnx")
    done = script(own_bundle, "build_engine.py")
    assert done.returncode == 2
    assert "model.fp16.onnx is not the file that manifest.json names; run verify.py" in done.stderr


class FullTensorRT:
    """Stands for the module `tensorrt`, with a timing cache and a GPU; records what it is asked for."""

    __name__ = "tensorrt"
    __version__ = "10.3.0"
    NetworkDefinitionCreationFlag = SimpleNamespace(STRONGLY_TYPED=1)
    MemoryPoolType = SimpleNamespace(WORKSPACE="workspace")
    refused_cache = b"of another GPU"

    class ILogger:
        pass

    def __init__(self) -> None:
        self.asked: dict[str, Any] = {"caches": []}
        self.engine: bytes | None = b"ftrt engine"
        self.gpu = self.loads = True

    def Builder(self, logger: Any) -> Any:  # noqa: N802
        if not self.gpu:
            raise TypeError("pybind11::init(): factory function returned nullptr")
        config = SimpleNamespace(
            set_memory_pool_limit=lambda pool, size: self.asked.update(workspace=size),
            add_optimization_profile=lambda profile: 0,
            create_timing_cache=lambda content: content,
            set_timing_cache=self.set_timing_cache,
            get_timing_cache=lambda: SimpleNamespace(serialize=lambda: b"timed"),
        )
        return SimpleNamespace(
            create_network=lambda flags: self.asked.update(flags=flags),
            create_builder_config=lambda: config,
            create_optimization_profile=lambda: SimpleNamespace(set_shape=lambda *shapes: self.asked.update(shapes=shapes)),
            build_serialized_network=lambda network, config: self.engine,
        )

    def set_timing_cache(self, cache: bytes, ignore_mismatch: bool) -> bool:
        self.asked["caches"].append(cache)
        return cache != self.refused_cache and not ignore_mismatch

    def OnnxParser(self, network: Any, logger: Any) -> Any:  # noqa: N802
        return SimpleNamespace(parse_from_file=lambda path: self.asked.update(file=path) is None)

    def Runtime(self, logger: Any) -> Any:  # noqa: N802
        return SimpleNamespace(deserialize_cuda_engine=lambda content: object() if self.loads else None)


@pytest.fixture
def full(monkeypatch: pytest.MonkeyPatch) -> FullTensorRT:
    """TensorRT, as if it were installed."""
    library = FullTensorRT()
    monkeypatch.setitem(sys.modules, "tensorrt", library)  # type: ignore[arg-type]
    return library


@pytest.fixture
def build(own_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """The script in this process, as if it lay in the bundle."""
    script: Any = importlib.import_module("pipeline.bundle_files.build_engine")
    monkeypatch.setattr(script, "FOLDER", own_bundle)
    monkeypatch.setattr(sys, "dont_write_bytecode", sys.dont_write_bytecode)
    monkeypatch.setitem(sys.modules, "bundle_content", importlib.import_module("pipeline.bundle_files.bundle_content"))

    def run(*arguments: str) -> int:
        monkeypatch.setattr(sys, "argv", ["build_engine.py", *arguments])
        return int(script.main())

    return run


def test_tensorrt_is_asked_for_a_strongly_typed_engine_and_its_timing_is_kept(
    build: Callable[..., int], full: FullTensorRT, own_bundle: Path
) -> None:
    assert build("--workspace-mib", "64") == 0
    assert (own_bundle / "model.fp16.engine").read_bytes() == b"ftrt engine"
    assert full.asked["flags"] == 1 << 1
    assert full.asked["shapes"] == ("input", (1, 1, 8, 8), (8, 1, 8, 8), (16, 1, 8, 8))
    assert full.asked["workspace"] == 64 * 2**20
    assert full.asked["file"] == str(own_bundle / "model.fp16.onnx")
    assert (own_bundle / "timing.cache").read_bytes() == b"timed"
    assert build() == 0
    assert full.asked["caches"] == [b"", b"timed"]
    (own_bundle / "timing.cache").write_bytes(full.refused_cache)
    assert build() == 0
    assert full.asked["caches"][2:] == [full.refused_cache, b""]  # a new one in place of another GPU's


@pytest.mark.parametrize(
    ("change", "code", "message"),
    [
        ({"gpu": False}, 1, "tensorrt finds no GPU"),
        ({"engine": None}, 1, "tensorrt gives no engine: see the .log file"),
        ({"engine": b"nonsense"}, 1, "gives 8 bytes that begin with b'nons', which is no engine"),
        ({"loads": False}, 1, "tensorrt cannot load what it built"),
        ({"__version__": "8.6.2"}, 2, "tensorrt 8.6.2 has no strongly typed networks, 10 and newer have"),
    ],
)
def test_tensorrt_that_cannot_build_ends_in_one_sentence(
    change: dict[str, Any],
    code: int,
    message: str,
    build: Callable[..., int],
    full: FullTensorRT,
    own_bundle: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    vars(full).update(change)
    assert build("--library", "tensorrt") == code
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not list(own_bundle.glob("*.engine"))
    assert not (own_bundle / "timing.cache").exists()


def test_targets_are_refused_where_the_gpu_is_at_hand(
    build: Callable[..., int], full: FullTensorRT, capsys: pytest.CaptureFixture[str]
) -> None:
    assert build("--target", "SM86") == 2
    assert "--target of tensorrt can be the GPU of this machine only: leave it out" in capsys.readouterr().err
