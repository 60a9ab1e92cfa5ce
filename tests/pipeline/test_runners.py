import os
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from pipeline.errors import InputError
from pipeline.exported import OnnxRecord
from pipeline.models import device, load_model
from pipeline.records import ModelRecord
from pipeline.runners import Images, Logits, open_file, time_on_cpu
from pipeline.store import Store
from pipeline.torch_runner import TorchRunner

from ..onnx_files import classifier

ON_THIS_CPU = ("onnxruntime", "openvino")


@pytest.fixture
def images() -> Images:
    return np.random.default_rng(0).standard_normal((7, 1, 8, 8), dtype=np.float32)


@pytest.fixture
def path(onnx_record: OnnxRecord, store: Store) -> Path:
    return store.path(onnx_record.file)


def installed(runtime: str) -> str:
    if find_spec(runtime) is None:  # importing OpenVINO as it is would send a message
        pytest.skip(f"{runtime} is not installed")
    return runtime


@pytest.fixture
def expected(images: Images, dense_record: ModelRecord, store: Store) -> Logits:
    with torch.no_grad():
        return np.asarray(load_model(dense_record, store)(torch.from_numpy(images)))


def test_torch_gives_the_models_logits(images: Images, expected: Logits, dense_record: ModelRecord, store: Store) -> None:
    found = TorchRunner(load_model(dense_record, store), device())(images)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("runtime", ON_THIS_CPU)
def test_a_file_runs_at_any_batch_size_with_any_number_of_threads(
    runtime: str, images: Images, expected: Logits, path: Path
) -> None:
    for threads in (0, 1, 2):
        runner = open_file(path, installed(runtime), "input", "logits", threads)
        assert runner.runtime == runtime
        for batch in (7, 1, 3):
            found = runner(images[:batch])
            assert (found.dtype, found.shape) == (np.float32, (batch, 10))
            np.testing.assert_allclose(found, expected[:batch], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("runtime", [*ON_THIS_CPU, "torch"])
def test_every_run_is_timed_on_the_wall_and_on_the_cpu(
    runtime: str, images: Images, dense_record: ModelRecord, path: Path, store: Store
) -> None:
    if runtime == "torch":
        runner = TorchRunner(load_model(dense_record, store), "cpu")
    else:
        runner = open_file(path, installed(runtime), "input", "logits", threads=1)
    timings = runner.time(images, 6)
    assert timings.cpu_ms is not None
    for values in timings:
        assert values.shape == (6,)
        assert np.all(values > 0)


def test_neither_logits_nor_images_change_when_the_next_run_comes(images: Images, path: Path) -> None:
    for runtime in ON_THIS_CPU:
        runner = open_file(path, installed(runtime), "input", "logits")
        first, given = runner(images), -images
        kept, same = first.copy(), given.copy()
        runner.time(given, 2)
        runner(images)
        runner(given)
        np.testing.assert_array_equal(first, kept)
        np.testing.assert_array_equal(given, same)


def test_the_clock_counts_sleep_on_the_wall_only() -> None:
    calls = []
    timings = time_on_cpu(lambda: calls.append(time.sleep(0.02)), 3)
    assert len(calls) == 3
    assert np.all(timings.wall_ms >= 20)
    assert timings.cpu_ms is not None
    assert np.all(timings.cpu_ms < timings.wall_ms)


def test_torch_runs_in_eval_mode_and_without_gradients(images: Images) -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 10), nn.Dropout(0.5)).train()
    expected = model[1](torch.from_numpy(images).flatten(1)).detach().numpy()
    runner = TorchRunner(model, "cpu")
    np.testing.assert_allclose(runner(images), expected, rtol=1e-5, atol=1e-6)
    runner.time(images, 1)
    assert not model.training


@pytest.mark.parametrize("runtime", ON_THIS_CPU)
def test_images_need_not_be_contiguous(runtime: str, images: Images, path: Path) -> None:
    runner, turned = open_file(path, installed(runtime), "input", "logits"), images.transpose(0, 1, 3, 2)
    assert not turned.flags.c_contiguous
    np.testing.assert_array_equal(runner(turned), runner(np.ascontiguousarray(turned)))
    runner.time(turned, 1)


@pytest.mark.parametrize("runtime", ON_THIS_CPU)
def test_a_file_may_take_fp16(runtime: str, images: Images, tmp_path: Path) -> None:
    half = open_file(classifier(tmp_path / "half.onnx", input_dtype=np.float16), installed(runtime), "input", "logits")
    full = open_file(classifier(tmp_path / "full.onnx"), runtime, "input", "logits")
    found = half(images)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, full(images.astype(np.float16).astype(np.float32)), rtol=1e-5, atol=1e-5)
    half.time(images, 1)


def test_openvino_computes_fp32_files_in_fp32_with_the_threads_asked_for(path: Path, tmp_path: Path) -> None:
    installed("openvino")
    compiled = open_file(path, "openvino", "input", "logits", threads=1).compiled
    asked = {"INFERENCE_NUM_THREADS": 1, "NUM_STREAMS": 1, "ENABLE_CPU_PINNING": False}
    assert {name: compiled.get_property(name) for name in asked} == asked
    assert compiled.get_property("INFERENCE_PRECISION_HINT").get_type_name() == "f32"
    assert "LATENCY" in str(compiled.get_property("PERFORMANCE_HINT"))


@pytest.mark.parametrize("runtime", ON_THIS_CPU)
def test_a_broken_file_is_named(runtime: str, tmp_path: Path) -> None:
    (tmp_path / "broken.onnx").write_bytes(b"no protobuf")
    with pytest.raises(InputError, match=r"does not load broken\.onnx: .*export it anew") as caught:
        open_file(tmp_path / "broken.onnx", installed(runtime), "input", "logits")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("runtime", ON_THIS_CPU)
def test_a_tensor_that_is_not_there_is_named(runtime: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"own\.onnx.*pixels"):
        open_file(classifier(tmp_path / "own.onnx"), installed(runtime), "pixels", "logits")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
@pytest.mark.parametrize(
    ("runtime", "message"),
    [
        ("onnxruntime-cuda", "CUDAExecutionProvider"),
        ("onnxruntime-tensorrt", "TensorrtExecutionProvider"),
        ("tensorrt", "no GPU on this machine: engines are built here, not executed"),
        ("torch", "torch does not run .*; choose a runtime that reads ONNX files"),
    ],
)
def test_what_cannot_run_here_is_refused_in_one_sentence(runtime: str, message: str, path: Path) -> None:
    with pytest.raises(InputError, match=message) as caught:
        open_file(path, runtime, "input", "logits")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("runtime", "message"),
    [("onnxruntime", r"install fair-pruner\[cpu\] or fair-pruner\[gpu\]"), ("openvino", r"install fair-pruner\[openvino\]")],
)
def test_a_missing_library_names_its_extra(runtime: str, message: str, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, runtime, None)
    with pytest.raises(InputError, match=message):
        open_file(path, runtime, "input", "logits")


def test_importing_openvino_tells_nobody(tmp_path: Path, path: Path) -> None:
    """Its telemetry would write an identity into the home folder, and send it."""
    command = [sys.executable, "-c", CHILD, str(path), installed("openvino")]
    environment = {**os.environ, "HOME": str(tmp_path), "LOCALAPPDATA": str(tmp_path)}
    loaded = set(subprocess.run(command, capture_output=True, text=True, check=True, env=environment).stdout.split())
    assert "openvino" in loaded
    assert "openvino_telemetry" not in loaded
    assert not list(tmp_path.glob("[Ii]ntel*"))


CHILD = """
import sys
from pathlib import Path
import numpy as np
from pipeline.runners import open_file
runner = open_file(Path(sys.argv[1]), sys.argv[2], "input", "logits", 1)
runner(np.zeros((1, 1, 8, 8), np.float32))
runner.time(np.zeros((1, 1, 8, 8), np.float32), 1)
print(*{name.partition(".")[0] for name in sys.modules})
"""


@pytest.mark.parametrize("runtime", ON_THIS_CPU)
def test_onnx_files_run_without_torch(runtime: str, path: Path) -> None:
    command = [sys.executable, "-c", CHILD, str(path), installed(runtime)]
    loaded = set(subprocess.run(command, capture_output=True, text=True, check=True).stdout.split())
    assert runtime in loaded
    assert not loaded & {"torch", "pydantic", "onnx", *(set(ON_THIS_CPU) - {runtime})}
