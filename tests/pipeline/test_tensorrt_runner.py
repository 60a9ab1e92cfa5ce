"""The engine runner against a stand-in for the library and the GPU; nothing here says that an engine runs on a real one."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from pipeline import tensorrt_runner as stage
from pipeline.errors import InputError, StageError
from pipeline.tensorrt_runner import TensorRTRunner, engine_tensors

ENGINE = b"ftrt" + bytes(20) + bytes((11, 0, 0, 0)) + bytes(36) + b"weights"


class Context:
    """Doubles its input, for batches from 1 to 4. Counts what runs, and what a graph records."""

    def __init__(self, gpu: "Gpu") -> None:
        self.gpu, self.addresses, self.shape = gpu, {}, ()

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        self.shape = shape
        return 1 <= shape[0] <= 4

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        return self.shape

    def set_tensor_address(self, name: str, address: int) -> bool:
        self.addresses[name] = address
        return True

    def execute_async_v3(self, stream: int) -> bool:
        if self.gpu.capturing:
            self.gpu.captured += 1
            return not self.gpu.capture_fails
        self.gpu.enqueued += 1
        inputs, outputs = (self.gpu.memory[self.addresses[name]] for name in ("input", "logits"))
        outputs.copy_(inputs * 2)
        return True


class Gpu:
    """Stands for torch.cuda and the library at once; tensors lie on the CPU and are found by their address."""

    capture_fails = engine_is_broken = out_of_memory = False
    dtype, inputs = "FLOAT", ("input",)

    def __init__(self) -> None:
        self.enqueued = self.captured = self.replayed = 0
        self.capturing = False
        self.memory: dict[int, torch.Tensor] = {}
        self.library = SimpleNamespace(
            __name__="tensorrt", __version__="11.0.0.0", Runtime=lambda logger: SimpleNamespace(deserialize_cuda_engine=self.load)
        )

    def load(self, content: bytes) -> Any:
        assert content == ENGINE
        if self.engine_is_broken:
            return None
        return SimpleNamespace(
            num_io_tensors=2,
            get_tensor_name=("input", "logits").__getitem__,
            get_tensor_mode=lambda name: SimpleNamespace(name="INPUT" if name in self.inputs else "OUTPUT"),
            get_tensor_shape=lambda _: (-1, 3),
            get_tensor_dtype=lambda _: SimpleNamespace(name=self.dtype),
            get_tensor_profile_shape=lambda *_: [(1, 3), (2, 3), (4, 3)],
            create_execution_context=lambda: None if self.out_of_memory else Context(self),
        )

    @contextmanager
    def graph(self, graph: Any, stream: Any) -> Iterator[None]:
        self.capturing = True
        try:
            yield
        finally:
            self.capturing = False

    def event(self, enable_timing: bool) -> Any:
        assert enable_timing
        made = SimpleNamespace(at=-1)

        def record(_: Any) -> None:
            made.at = self.enqueued + self.replayed

        return SimpleNamespace(record=record, elapsed_time=lambda end: float(end.made.at - made.at), made=made)

    def replay(self) -> None:
        self.replayed += 1


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> Gpu:
    gpu = Gpu()
    stand_in = SimpleNamespace(
        is_available=lambda: True,
        Stream=lambda: SimpleNamespace(cuda_stream=7, synchronize=lambda: None),
        stream=lambda _: nullcontext(),
        synchronize=lambda: None,
        Event=gpu.event,
        CUDAGraph=lambda: SimpleNamespace(replay=gpu.replay),
        graph=gpu.graph,
    )
    monkeypatch.setattr(stage, "DEVICE", "cpu")
    monkeypatch.setattr(torch, "cuda", stand_in)
    monkeypatch.setattr(stage, "_library_of", lambda _: gpu.library)
    monkeypatch.setattr(stage, "Messages", lambda _: SimpleNamespace(logger=None, errors=["magic tag does not match"]))
    address = torch.Tensor.data_ptr

    def remember(tensor: torch.Tensor) -> int:
        gpu.memory[address(tensor)] = tensor
        return address(tensor)

    monkeypatch.setattr(torch.Tensor, "data_ptr", remember)
    return gpu


@pytest.fixture
def path(tmp_path: Path) -> Path:
    (tmp_path / "a.engine").write_bytes(ENGINE)
    return tmp_path / "a.engine"


@pytest.mark.parametrize("dtype", ["FLOAT", "HALF"])
def test_images_go_in_as_the_engine_takes_them_and_logits_come_out_as_floats(gpu: Gpu, path: Path, dtype: str) -> None:
    gpu.dtype = dtype
    runner = TensorRTRunner(path, "input", "logits")
    for batch in (3, 1):
        images = np.full((batch, 3), 0.1, dtype=np.float32)
        found = runner(images)
        assert found.dtype == np.float32
        np.testing.assert_array_equal(found, 2 * (images.astype(np.float16) if dtype == "HALF" else images))


def test_a_graph_is_captured_once_for_a_shape_and_replayed_for_every_run(gpu: Gpu, path: Path) -> None:
    runner, images = TensorRTRunner(path, "input", "logits"), np.ones((2, 3), dtype=np.float32)
    timings = runner.time(images, 5)
    assert timings.cpu_ms is None
    np.testing.assert_array_equal(timings.wall_ms, np.ones(5))  # one run between the events of a pair
    assert (gpu.enqueued, gpu.captured, gpu.replayed) == (stage.RUNS_BEFORE_CAPTURE, 1, 5)
    runner.time(images, 2)
    assert (gpu.enqueued, gpu.captured, gpu.replayed) == (stage.RUNS_BEFORE_CAPTURE, 1, 7)
    runner.time(images[:1], 1)
    assert gpu.captured == 2
    runner(images)  # other memory is bound now, the old graph would read it no more
    runner.time(images[:1], 1)
    assert gpu.captured == 3


def test_what_cannot_be_captured_is_enqueued_run_by_run(gpu: Gpu, path: Path) -> None:
    gpu.capture_fails = True
    timings = TensorRTRunner(path, "input", "logits").time(np.ones((2, 3), dtype=np.float32), 5)
    np.testing.assert_array_equal(timings.wall_ms, np.ones(5))
    assert (gpu.enqueued, gpu.replayed) == (stage.RUNS_BEFORE_CAPTURE + 5, 0)


def test_a_batch_outside_the_profile_is_refused(gpu: Gpu, path: Path) -> None:
    runner = TensorRTRunner(path, "input", "logits")
    for run in (runner, lambda images: runner.time(images, 1)):
        with pytest.raises(InputError, match=r"a\.engine takes inputs from \(1, 3\) to \(4, 3\), not \(5, 3\)"):
            run(np.ones((5, 3), dtype=np.float32))


def test_a_tensor_that_the_engine_lacks_is_named(gpu: Gpu, path: Path) -> None:
    with pytest.raises(InputError, match=r"a\.engine has the tensors input, logits, not pixels"):
        TensorRTRunner(path, "pixels", "logits")


def test_a_type_that_no_image_has_is_named(gpu: Gpu, path: Path) -> None:
    gpu.dtype = "INT64"
    with pytest.raises(InputError, match=r"input of a\.engine is INT64; expected one of FLOAT, HALF, BF16"):
        TensorRTRunner(path, "input", "logits")


def test_a_file_that_does_not_load_is_named_with_the_librarys_words(gpu: Gpu, path: Path) -> None:
    gpu.engine_is_broken = True
    with pytest.raises(InputError, match=r"tensorrt 11\.0\.0\.0 does not load a\.engine: magic tag .*; build it anew"):
        TensorRTRunner(path, "input", "logits")


def test_too_little_memory_is_told(gpu: Gpu, path: Path) -> None:
    gpu.out_of_memory = True
    with pytest.raises(StageError, match=r"cannot run a\.engine.*free memory of the GPU"):
        TensorRTRunner(path, "input", "logits")


def test_an_engine_needs_no_names(gpu: Gpu, path: Path) -> None:
    images = np.ones((2, 3), dtype=np.float32)
    np.testing.assert_array_equal(TensorRTRunner(path)(images), 2 * images)


def test_an_engine_tells_what_it_takes_and_gives(gpu: Gpu, path: Path) -> None:
    assert engine_tensors(path) == ("input", "logits", (3,))
    gpu.inputs = ("input", "logits")
    with pytest.raises(InputError, match=r"a\.engine takes input, logits; expected images alone"):
        engine_tensors(path)


USED = {
    "Runtime": ["deserialize_cuda_engine"],
    "ICudaEngine": [
        "num_io_tensors",
        "get_tensor_name",
        "get_tensor_mode",
        "get_tensor_shape",
        "get_tensor_dtype",
        "get_tensor_profile_shape",
        "create_execution_context",
        "create_runtime_config",
    ],
    "IRuntimeConfig": ["dynamic_shapes_kernel_specialization_strategy"],
    "IExecutionContext": [
        "set_input_shape",
        "get_tensor_shape",
        "set_tensor_address",
        "execute_async_v3",
        "is_stream_capturable",
    ],
    "TensorIOMode": ["INPUT", "OUTPUT"],
    "DynamicShapesKernelSpecializationStrategy": ["EAGER"],
    "DataType": list(stage.DTYPES),
}


@pytest.mark.parametrize("kind", USED)
def test_the_real_library_has_what_is_used_of_it(kind: str) -> None:
    library = pytest.importorskip("tensorrt_rtx", exc_type=ImportError)
    assert [name for name in USED[kind] if not hasattr(getattr(library, kind), name)] == []


def test_a_library_that_is_not_installed_says_which_extra_brings_it(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    with pytest.raises(InputError, match=r"a\.engine needs tensorrt, which cannot be imported .*; install fair-pruner\[gpu\]"):
        TensorRTRunner(path, "input", "logits")
