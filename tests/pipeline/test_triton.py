import pytest
from google.protobuf import text_format
from hypothesis import given
from hypothesis import strategies as st
from tritonclient.grpc import model_config_pb2
from tritonclient.grpc.model_config_pb2 import ModelConfig

from pipeline.manifest import Profile, TensorSpec
from pipeline.triton import triton_files, triton_names

SOURCE = TensorSpec(name="input", dtype="float32", shape=("batch", 3, 32, 24))
LOGITS = TensorSpec(name="logits", dtype="float32", shape=("batch", 2))
NAMES = ("net_onnx", "net_trt")
PROFILE = Profile(min=1, opt=8, max=16)


def parsed(text: str) -> ModelConfig:
    """By the schema that Triton itself reads config.pbtxt with; a misspelt field is an error."""
    return text_format.Parse(text, ModelConfig())


def files(profile: Profile = PROFILE, labels: tuple[str, ...] = ("cat", "dog")) -> dict[str, str]:
    return triton_files(NAMES, SOURCE, LOGITS, profile, labels, 2, "fp16")


def test_both_configurations_have_the_tensors_of_the_files_without_the_batch() -> None:
    for name in NAMES:
        config = parsed(files()[f"{name}/config.pbtxt"])
        (source,), (logits,) = config.input, config.output
        assert config.name == name
        assert (source.name, list(source.dims), source.data_type) == ("input", [3, 32, 24], model_config_pb2.TYPE_FP32)
        assert (logits.name, list(logits.dims), logits.data_type) == ("logits", [2], model_config_pb2.TYPE_FP32)
        assert logits.label_filename == "labels.txt"
        assert files()[f"{name}/labels.txt"] == "cat\ndog\n"
        assert config.max_batch_size == 16
        assert list(config.dynamic_batching.preferred_batch_size) == [8, 16]
        (warmup,) = config.model_warmup
        assert (warmup.batch_size, list(warmup.inputs["input"].dims)) == (1, [3, 32, 24])


def test_one_runs_in_onnx_runtime_on_the_cpu_and_one_is_a_tensorrt_plan() -> None:
    onnx, trt = (parsed(files()[f"{name}/config.pbtxt"]) for name in NAMES)
    assert onnx.backend == "onnxruntime"
    assert onnx.instance_group[0].kind == model_config_pb2.ModelInstanceGroup.KIND_CPU
    assert onnx.parameters["intra_op_thread_count"].string_value == "2"
    assert trt.platform == "tensorrt_plan"
    assert trt.instance_group[0].kind == model_config_pb2.ModelInstanceGroup.KIND_GPU
    assert trt.optimization.cuda.graphs
    assert "--precision fp16 --output triton/net_trt/1/model.plan" in files()["net_trt/1/README"]


def test_a_misspelt_field_would_be_found() -> None:
    with pytest.raises(text_format.ParseError, match="max_batch"):
        parsed(files()["net_onnx/config.pbtxt"].replace("max_batch_size", "max_batch"))


@given(st.tuples(st.integers(1, 64), st.integers(1, 64)))
def test_triton_never_sends_a_batch_that_the_engine_does_not_take(sizes: tuple[int, int]) -> None:
    profile = Profile(min=1, opt=min(sizes), max=max(sizes))
    for name in NAMES:
        config = parsed(files(profile)[f"{name}/config.pbtxt"])
        assert config.max_batch_size == profile.max
        preferred = list(config.dynamic_batching.preferred_batch_size)
        assert preferred == sorted({size for size in (profile.opt, profile.max) if size > 1})
        assert config.HasField("dynamic_batching") == (profile.max > 1)


def test_a_label_stays_on_its_line() -> None:
    assert files(labels=("a\nb", " c ", "ü"))["net_trt/labels.txt"] == "a b\nc\nü\n"


@pytest.mark.parametrize(
    ("run", "candidate", "expected"),
    [
        ("digits", "tolerance-0.2", ("digits_tolerance_0_2_onnx", "digits_tolerance_0_2_trt")),
        ("A.b-C", "macs-0.5", ("a_b_c_macs_0_5_onnx", "a_b_c_macs_0_5_trt")),
    ],
)
def test_names_hold_nothing_but_letters_digits_and_underscores(run: str, candidate: str, expected: tuple[str, str]) -> None:
    assert triton_names(run, candidate) == expected
