"""Running an engine, against a stand-in for the GPU's driver and the library: nothing here says that one runs on a real GPU."""

import ctypes
import importlib
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnxruntime
import pytest

ENGINE = b"ftrt as the stand-in writes it"


class Driver:
    """Stands for libcuda: device memory is host memory, streams and events are numbers. Fails in the function `broken`."""

    def __init__(self) -> None:
        self.broken = ""
        self.memory: dict[int, Any] = {}
        self.clock = 0.0
        self.calls: list[str] = []

    def __getattr__(self, name: str) -> Callable[..., int]:
        if not name.startswith("cu"):
            raise AttributeError(name)

        def call(*arguments: Any) -> int:
            self.calls.append(name)
            if name == self.broken:
                return 2
            getattr(type(self), f"do_{name}", lambda *_: None)(self, *arguments)
            return 0

        return call

    def do_cuMemAlloc_v2(self, address: Any, size: ctypes.c_size_t) -> None:  # noqa: N802
        buffer = ctypes.create_string_buffer(size.value)
        address._obj.value = ctypes.addressof(buffer)
        self.memory[address._obj.value] = buffer

    def do_cuMemcpyHtoD_v2(self, target: Any, source: Any, size: Any) -> None:  # noqa: N802
        assert size.value <= len(self.memory[target.value])
        ctypes.memmove(target.value, source.value, size.value)

    def do_cuMemcpyDtoH_v2(self, target: Any, source: Any, size: Any) -> None:  # noqa: N802
        assert size.value <= len(self.memory[source.value])
        ctypes.memmove(target.value, source.value, size.value)

    def do_cuStreamCreate(self, stream: Any, flags: Any) -> None:  # noqa: N802
        stream._obj.value = 77

    def do_cuEventElapsedTime(self, milliseconds: Any, start: Any, end: Any) -> None:  # noqa: N802
        self.clock += 0.25
        milliseconds._obj.value = self.clock


class TensorRT:
    """Stands for the module `tensorrt`: an engine for batches of 1 to 16 that computes with an ONNX file."""

    __name__ = "tensorrt"
    __version__ = "10.3.0"
    Logger = SimpleNamespace(ERROR=1)

    def __init__(self, onnx: Path, driver: Driver) -> None:
        self.session = onnxruntime.InferenceSession(onnx, providers=["CPUExecutionProvider"])
        self.driver = driver
        self.Logger = type("Logger", (), {"ERROR": 1, "__init__": lambda *_: None})
        self.addresses: dict[str, int] = {}
        self.shape: tuple[int, ...] = ()
        self.loads = self.runs = True
        self.error = 0.0

    def nptype(self, dtype: str) -> type:
        return {"float": np.float32}[dtype]

    def Runtime(self, logger: Any) -> Any:  # noqa: N802
        return SimpleNamespace(deserialize_cuda_engine=lambda content: self.engine(content) if self.loads else None)

    def engine(self, content: bytes) -> Any:
        assert content == ENGINE
        context = SimpleNamespace(
            set_input_shape=self.set_input_shape,
            get_tensor_shape=lambda name: (self.shape[0], 10),
            set_tensor_address=lambda name, address: self.addresses.update({name: address}),
            execute_async_v3=self.execute,
        )
        return SimpleNamespace(
            get_tensor_profile_shape=lambda name, index: [(batch, 1, 8, 8) for batch in (1, 8, 16)],
            get_tensor_dtype=lambda name: "float",
            create_execution_context=lambda: context,
        )

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        self.shape = shape
        return 1 <= shape[0] <= 16

    def execute(self, stream: int) -> bool:
        assert stream == 77
        images = np.frombuffer(self.driver.memory[self.addresses["input"]], np.float32)[: np.prod(self.shape)]
        logits = self.session.run(None, {"input": images.reshape(self.shape)})[0] + np.float32(self.error)
        ctypes.memmove(self.addresses["logits"], logits.ctypes.data, logits.nbytes)
        return self.runs


@pytest.fixture
def driver(monkeypatch: pytest.MonkeyPatch) -> Driver:
    """A GPU, as if there were one."""
    driver = Driver()
    monkeypatch.setattr(ctypes, "CDLL", lambda name: driver)
    return driver


@pytest.fixture
def library(shared_bundle: Path, driver: Driver, monkeypatch: pytest.MonkeyPatch) -> TensorRT:
    """TensorRT, as if it were installed, with an engine of the fp16 file."""
    library = TensorRT(shared_bundle / "model.fp16.onnx", driver)
    monkeypatch.setitem(sys.modules, "tensorrt", library)  # type: ignore[arg-type]
    return library


@pytest.fixture
def engine_file(tmp_path: Path) -> Path:
    """What the stand-in takes for an engine."""
    path = tmp_path / "some.engine"
    path.write_bytes(ENGINE)
    return path


@pytest.fixture
def cuda_engine() -> Any:
    """The script as a module."""
    return importlib.import_module("pipeline.bundle_files.cuda_engine")


@pytest.fixture
def verify(shared_bundle: Path, cuda_engine: Any, monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """verify.py in this process, as if it lay in the bundle."""
    script: Any = importlib.import_module("pipeline.bundle_files.verify")
    monkeypatch.setattr(script, "FOLDER", shared_bundle)
    monkeypatch.setattr(sys, "dont_write_bytecode", sys.dont_write_bytecode)
    monkeypatch.setitem(sys.modules, "cuda_engine", cuda_engine)
    monkeypatch.setitem(sys.modules, "bundle_content", importlib.import_module("pipeline.bundle_files.bundle_content"))

    def run(*arguments: object) -> int:
        monkeypatch.setattr(sys, "argv", ["verify.py", *map(str, arguments)])
        return int(script.main())

    return run


def test_logits_come_back_from_the_gpu_whatever_the_batch(
    cuda_engine: Any, library: TensorRT, engine_file: Path, shared_bundle: Path
) -> None:
    engine, golden = cuda_engine.Engine(engine_file, "input", "logits"), np.load(shared_bundle / "golden.npz")
    assert (engine.version, engine.batches) == ("tensorrt 10.3.0", (1, 16))
    for batch in (3, 16, 1):  # memory grows, and serves smaller batches too
        found = engine(golden["images"][:batch])
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, golden["logits.fp16"][:batch], atol=1e-6)
    with pytest.raises(cuda_engine.EngineError, match="takes batches of 1 to 16, not 17"):
        engine(np.resize(golden["images"], (17, 1, 8, 8)))


def test_time_is_between_events_around_each_run(
    cuda_engine: Any, library: TensorRT, driver: Driver, engine_file: Path, shared_bundle: Path
) -> None:
    engine = cuda_engine.Engine(engine_file, "input", "logits")
    driver.calls.clear()
    assert engine.time(np.load(shared_bundle / "golden.npz")["images"][:2], 3) == [0.25, 0.5, 0.75]
    assert driver.calls.count("cuMemcpyHtoD_v2") == 1  # copied once, before the clock starts
    timed = driver.calls[driver.calls.index("cuEventRecord") :]
    assert timed == ["cuEventRecord", "cuEventRecord", "cuEventSynchronize", "cuEventElapsedTime"] * 3


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (lambda library, driver: setattr(library, "loads", False), "tensorrt 10.3.0 cannot load some.engine"),
        (lambda library, driver: setattr(library, "runs", False), "TensorRT refuses to run the engine"),
        (lambda library, driver: setattr(driver, "broken", "cuInit"), "refuses cuInit with CUDA error 2"),
        (lambda library, driver: setattr(driver, "broken", "cuMemAlloc_v2"), "refuses cuMemAlloc_v2 with CUDA error 2"),
        (lambda library, driver: setattr(driver, "broken", "cuStreamSynchronize"), "refuses cuStreamSynchronize"),
    ],
)
def test_what_goes_wrong_is_said(
    harm: Callable[[TensorRT, Driver], None],
    message: str,
    cuda_engine: Any,
    library: TensorRT,
    driver: Driver,
    engine_file: Path,
) -> None:
    harm(library, driver)
    with pytest.raises(cuda_engine.EngineError, match=message):
        cuda_engine.Engine(engine_file, "input", "logits")(np.zeros((1, 1, 8, 8), np.float32))


def test_an_engine_of_tensorrt_rtx_needs_that_library(
    cuda_engine: Any, engine_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine_file.write_bytes(b"vtrt")
    monkeypatch.setitem(sys.modules, "tensorrt_rtx", None)  # type: ignore[arg-type]
    with pytest.raises(cuda_engine.EngineError, match="needs tensorrt_rtx, which does not import"):
        cuda_engine.Engine(engine_file, "input", "logits")


def test_the_members_that_are_used_are_in_the_real_library() -> None:
    """TensorRT-RTX and TensorRT are built from one source; this one can be imported without a GPU."""
    library = pytest.importorskip("tensorrt_rtx")
    members = {
        library: ("Logger", "Runtime", "nptype"),
        library.Runtime: ("deserialize_cuda_engine",),
        library.ICudaEngine: ("get_tensor_profile_shape", "get_tensor_dtype", "create_execution_context"),
        library.IExecutionContext: ("set_input_shape", "get_tensor_shape", "set_tensor_address", "execute_async_v3"),
    }
    assert [(owner, name) for owner, names in members.items() for name in names if not hasattr(owner, name)] == []


def test_verify_compares_an_engine_with_the_gpu_tolerance(
    verify: Callable[..., int], library: TensorRT, engine_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert verify("--engine", engine_file, "--precision", "fp16") == 0
    lines = capsys.readouterr().out.splitlines()
    assert "ok    some.engine loads in tensorrt 10.3.0, for batches of 1 to 16" in lines
    assert sum(line.startswith("ok    some.engine, batch ") for line in lines) == 3
    # far beyond fp32 in the CPU's precision, within TF32 of the GPU
    library.error = 2e-3
    assert verify("--engine", engine_file, "--precision", "fp32") == 0
    library.error = 1.0
    assert verify("--engine", engine_file, "--precision", "fp16") == 1
    assert capsys.readouterr().out.count("FAIL  some.engine, batch ") == 3


def test_an_engine_that_the_bundle_shipped_is_known(
    verify: Callable[..., int], library: TensorRT, shared_bundle: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    library.loads = False  # it is none that a library could load
    assert verify("--engine", shared_bundle / "engines" / "model.fp16.engine") == 1
    assert "tensorrt 10.3.0 cannot load model.fp16.engine" in capsys.readouterr().out
