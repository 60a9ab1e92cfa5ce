from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from pipeline import onnxruntime_runner
from pipeline.errors import InputError, StageError
from pipeline.onnxruntime_runner import OnnxRunner
from pipeline.runners import open_file

from ..onnx_files import classifier


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return classifier(tmp_path / "a.onnx")


def test_threads_reach_onnx_runtime(path: Path) -> None:
    options = OnnxRunner(path, "input", "logits", threads=3).session.get_session_options()
    assert (options.intra_op_num_threads, options.inter_op_num_threads) == (3, 1)


def test_images_that_are_no_floats_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"bytes\.onnx has the inputs .*tensor\(int32\).*expected input of tensor\(float\)"):
        open_file(classifier(tmp_path / "bytes.onnx", input_dtype=np.int32), "onnxruntime", "input", "logits")


def test_a_provider_that_is_not_installed_says_what_to_install(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import onnxruntime

    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CPUExecutionProvider"])
    with pytest.raises(InputError, match=r"-cuda needs CUDAExecutionProvider, .* with CPUExecutionProvider; .*\[gpu\]"):
        open_file(path, "onnxruntime-cuda", "input", "logits")


def test_another_provider_is_refused(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import onnxruntime

    monkeypatch.setattr(onnxruntime.InferenceSession, "get_providers", lambda _: ["AzureExecutionProvider"])
    with pytest.raises(StageError, match="on AzureExecutionProvider, not on CPUExecutionProvider"):
        open_file(path, "onnxruntime", "input", "logits")


def test_a_gpu_that_does_not_work_is_told(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What ONNX Runtime's build for GPUs does without one: it opens a session on the CPU."""
    import onnxruntime

    def on_cpu(file: str, options: object, providers: list[str], enable_fallback: int) -> object:
        return real(file, options, providers=["CPUExecutionProvider"])

    real = onnxruntime.InferenceSession
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CUDAExecutionProvider", "CPUExecutionProvider"])
    monkeypatch.setattr(onnxruntime, "InferenceSession", on_cpu)
    with pytest.raises(InputError, match=r"CUDAExecutionProvider does not start here, .* on CPUExecutionProvider; check that"):
        open_file(path, "onnxruntime-cuda", "input", "logits")


class OnGpu:
    """A session whose nodes lie on providers as given: {provider: operators}. Holds the real one's members below."""

    def __init__(self, nodes: dict[str, list[str]]) -> None:
        self.nodes = nodes

    def get_providers(self) -> list[str]:
        return ["CUDAExecutionProvider", "CPUExecutionProvider"]

    def get_provider_graph_assignment_info(self) -> list[SimpleNamespace]:
        return [
            SimpleNamespace(ep_name=name, get_nodes=lambda kinds=kinds: [SimpleNamespace(op_type=kind) for kind in kinds])
            for name, kinds in self.nodes.items()
        ]


def test_only_shapes_may_be_computed_beside_the_gpu() -> None:
    cuda, cpu = "CUDAExecutionProvider", "CPUExecutionProvider"
    check = onnxruntime_runner._check_provider
    check(OnGpu({cuda: ["Conv", "Gemm"], cpu: ["Shape", "Gather", "Concat"]}), cuda, Path("a.onnx"))
    with pytest.raises(StageError, match=r"CUDAExecutionProvider does not run QLinearConv of a\.onnx, the CPU would"):
        check(OnGpu({cuda: ["Gemm"], cpu: ["Shape", "QLinearConv"]}), cuda, Path("a.onnx"))


def test_onnx_runtime_tells_where_each_node_lies(path: Path) -> None:
    parts = OnnxRunner(path, "input", "logits").session.get_provider_graph_assignment_info()
    assert {part.ep_name for part in parts} == {"CPUExecutionProvider"}
    assert "Conv" in "".join(node.op_type for part in parts for node in part.get_nodes())
