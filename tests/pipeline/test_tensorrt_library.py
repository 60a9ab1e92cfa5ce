import ast
import re
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import pipeline
from pipeline import tensorrt_members
from pipeline.tensorrt_library import Messages, NoTensorRTError, installed_version, load_tensorrt

# what TensorRT 10.8 to 10.16 have and 11.1 has no more, of the classes that are met here (the bindings' source, compared)
REMOVED_IN_11 = {
    "Builder": ("platform_has_fast_fp16", "platform_has_fast_int8", "platform_has_tf32"),
    "BuilderFlag": (
        "BF16",
        "FP16",
        "FP4",
        "FP8",
        "INT4",
        "INT8",
        "OBEY_PRECISION_CONSTRAINTS",
        "PREFER_PRECISION_CONSTRAINTS",
        "REJECT_EMPTY_ALGORITHMS",
        "WEIGHTLESS",
    ),
    "IBuilderConfig": (
        "algorithm_selector",
        "clear_quantization_flag",
        "get_calibration_profile",
        "get_quantization_flag",
        "int8_calibrator",
        "quantization_flags",
        "set_calibration_profile",
        "set_quantization_flag",
    ),
    "ICudaEngine": (
        "create_execution_context_without_device_memory",
        "device_memory_size",
        "get_device_memory_size_for_profile",
        "has_implicit_batch_dimension",
        "minimum_weight_streaming_budget",
        "weight_streaming_budget",
    ),
    "IExecutionContext": ("all_shape_inputs_specified",),
    "NetworkDefinitionCreationFlag": ("EXPLICIT_BATCH",),
    "OnnxParser": ("parse_with_weight_descriptors", "supports_model"),
}
FLAGS = frozenset({"BuilderFlag", "NetworkDefinitionCreationFlag"})  # their values are met as CLASS.NAME, and are common words
# names that TensorRT lacks, or old or new ones of it: what to ask for with hasattr or getattr before they are used
NOT_EVERYWHERE = {
    "STRONGLY_TYPED": {"STRONGLY_TYPED"},
    "supports_model_v2": {"supports_model_v2"},
    "ComputeCapability": {"ComputeCapability", "set_compute_capability"},
    "set_compute_capability": {"ComputeCapability", "set_compute_capability"},
    "num_compute_capabilities": {"ComputeCapability", "set_compute_capability"},
    "is_stream_capturable": {"is_stream_capturable"},
    "dynamic_shapes_kernel_specialization_strategy": {"DynamicShapesKernelSpecializationStrategy"},
    "cuda_graph_strategy": {"cuda_graph_strategy", "CudaGraphStrategy"},
    "create_runtime_cache": {"create_runtime_cache"},
    "get_engine_validity": {"get_engine_validity"},
}
SOURCES = sorted(Path(pipeline.__file__).parent.rglob("*.py"))


@pytest.fixture
def rtx() -> Any:
    """The real library, which builds without a GPU."""
    return pytest.importorskip("tensorrt_rtx")


def members(protocol: type) -> set[str]:
    return {name for name in {*vars(protocol), *protocol.__annotations__} if not name.startswith("_")}


@pytest.mark.parametrize(
    ("protocol", "real"),
    [
        ("TensorRT", ""),
        ("Builder", "Builder"),
        ("Profile", "IOptimizationProfile"),
        ("BuilderConfig", "IBuilderConfig"),
        ("RtxBuilderConfig", "IBuilderConfig"),
        ("TimingCache", "ITimingCache"),
        ("OnnxParser", "OnnxParser"),
    ],
)
def test_the_library_has_every_member_that_is_used(protocol: str, real: str, rtx: Any) -> None:
    wanted = members(getattr(tensorrt_members, protocol))
    assert wanted
    assert {name for name in wanted if not hasattr(getattr(rtx, real) if real else rtx, name)} == set()


def test_the_library_has_what_is_reached_through_any(rtx: Any) -> None:
    assert rtx.__version__
    assert {"INFO", "WARNING", "ERROR", "INTERNAL_ERROR"} <= set(rtx.ILogger.Severity.__members__)
    assert "WORKSPACE" in rtx.MemoryPoolType.__members__
    assert {"SM75", "SM80", "SM86", "SM89", "SM120", "SM121"} <= set(rtx.ComputeCapability.__members__)
    for method in ("phase_start", "step_complete", "phase_finish"):
        assert hasattr(rtx.IProgressMonitor, method)
    for method in ("desc", "node_name", "node_operator"):
        assert hasattr(rtx.ParserError, method)


def removed_names(source: str) -> set[str]:
    """The names of REMOVED_IN_11 that a source uses, as members or as strings for getattr."""
    return {
        f"{owner}.{name}"
        for owner, names in REMOVED_IN_11.items()
        for name in names
        if re.search(rf"{owner if owner in FLAGS else ''}\.{name}\b|{owner}, [\"']{name}[\"']", source)
        or (owner not in FLAGS and re.search(rf"[\"']{name}[\"']", source))
    }


def unguarded_names(source: str) -> set[str]:
    """The names of NOT_EVERYWHERE that a source uses as members, though it nowhere asks whether they are there."""
    nodes = [*ast.walk(ast.parse(source))]
    used = {node.attr for node in nodes if isinstance(node, ast.Attribute)}
    asked = {
        argument.value
        for node in nodes
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ("hasattr", "getattr")
        for argument in node.args
        if isinstance(argument, ast.Constant)
    }
    return {name for name in used & set(NOT_EVERYWHERE) if not asked & NOT_EVERYWHERE[name]}


def test_nothing_is_used_that_tensorrt_11_removed() -> None:
    assert removed_names("config.int8_calibrator, trt.BuilderFlag.FP16") == {"IBuilderConfig.int8_calibrator", "BuilderFlag.FP16"}
    assert removed_names("getattr(engine, 'device_memory_size')") == {"ICudaEngine.device_memory_size"}
    assert removed_names("engine.device_memory_size_v2, DataType.INT8, parser.supports_model_v2") == set()
    assert {path.name: found for path in SOURCES if (found := removed_names(path.read_text()))} == {}


def test_what_tensorrt_11_removed_is_gone_from_the_library_of_the_same_source(rtx: Any) -> None:
    found = {f"{owner}.{name}" for owner, names in REMOVED_IN_11.items() for name in names if hasattr(getattr(rtx, owner), name)}
    assert found == set()


def test_what_only_some_libraries_have_is_asked_for_before() -> None:
    assert unguarded_names("settings.set_compute_capability(cc, 0)") == {"set_compute_capability"}
    assert unguarded_names("if hasattr(s, 'set_compute_capability'): s.set_compute_capability(cc, 0)") == set()
    assert {path.name: found for path in SOURCES if (found := unguarded_names(path.read_text()))} == {}


def test_the_names_to_ask_for_are_those_of_the_library(rtx: Any) -> None:
    owners = (rtx, rtx.IBuilderConfig, rtx.IExecutionContext, rtx.OnnxParser, rtx.Runtime, rtx.IRuntimeConfig)
    owners += (rtx.NetworkDefinitionCreationFlag,)
    assert {name for name in NOT_EVERYWHERE if not any(hasattr(owner, name) for owner in owners)} == set()


def test_without_a_library(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("tensorrt", "tensorrt_rtx"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(NoTensorRTError) as caught:
        load_tensorrt(gpu=False)
    for words in ("tensorrt (", "tensorrt_rtx (", "fair-pruner[gpu]", "fair-pruner[rtx]"):
        assert words in str(caught.value)
    assert installed_version("tensorrt_rtx") == ""


def test_a_package_of_stubs_is_no_library(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("tensorrt", "tensorrt_rtx"):
        monkeypatch.setitem(sys.modules, name, SimpleNamespace())
    with pytest.raises(NoTensorRTError, match=r"tensorrt \(it has no Builder\)"):
        load_tensorrt(gpu=False)


@pytest.mark.parametrize(("gpu", "first"), [(True, "tensorrt"), (False, "tensorrt_rtx")])
def test_the_gpu_decides_which_library_is_taken(gpu: bool, first: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("tensorrt", "tensorrt_rtx"):
        monkeypatch.setitem(sys.modules, name, SimpleNamespace(__name__=name, __version__="10.9", Builder=object))
    assert load_tensorrt(gpu).__name__ == first


def test_full_tensorrt_needs_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorrt_rtx", None)
    monkeypatch.setitem(sys.modules, "tensorrt", SimpleNamespace(__name__="tensorrt", __version__="10.9", Builder=object))
    with pytest.raises(NoTensorRTError, match=r"tensorrt \(10.9 needs the GPU that will run the engine, and there is none\)"):
        load_tensorrt(gpu=False)


def test_messages_are_kept_from_info_on_without_the_noise_of_a_missing_gpu(rtx: Any) -> None:
    messages = Messages(rtx)
    severity = rtx.ILogger.Severity
    noise = "[checkMacros.cpp::catchCudaError::250] Error Code 1: Cuda Runtime ... cudaError 35"
    messages.logger.log(severity.VERBOSE, "a detail")
    messages.logger.log(severity.INFO, "a fact")
    messages.logger.log(severity.WARNING, "a warning")
    messages.logger.log(severity.ERROR, f"first\n  line\n{noise}")
    messages.logger.log(severity.ERROR, "first\n  line")
    messages.logger.log(severity.INTERNAL_ERROR, noise)
    messages.logger.log(severity.INTERNAL_ERROR, "second")
    assert messages.errors == ["first line", "second"]
    assert messages.text() == "[I] a fact\n[W] a warning\n[E] first line\n[E] first line\n[E] second\n"


def test_every_holder_of_messages_hears_the_one_logger_and_one_that_is_gone_does_not(rtx: Any) -> None:
    first, second = Messages(rtx), Messages(rtx)
    assert first.logger is second.logger
    first.logger.log(rtx.ILogger.Severity.ERROR, "to both")
    del second
    first.logger.log(rtx.ILogger.Severity.ERROR, "to the first")
    assert first.errors == ["to both", "to the first"]
    assert Messages(rtx).errors == []


def test_messages_of_a_build_arrive_though_an_earlier_builder_lives(rtx: Any) -> None:
    """The library ignores the logger of every later builder."""
    earlier = Messages(rtx)
    builder = rtx.Builder(earlier.logger)
    messages = Messages(rtx)
    later = rtx.Builder(messages.logger)
    parser = rtx.OnnxParser(later.create_network(0), messages.logger)
    assert not parser.parse_from_file("none.onnx")
    assert later.build_serialized_network(later.create_network(0), later.create_builder_config()) is None
    assert any("at least one output" in error for error in messages.errors)
    assert builder
