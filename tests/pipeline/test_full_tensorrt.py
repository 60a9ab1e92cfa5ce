"""What of a build with TensorRT can be tested without its GPU: how it is called, by a stand-in for the library."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pipeline.compile_engine import EngineError, OnnxSource, compile_engine
from pipeline.config import EngineConfig

CONFIG = EngineConfig()
FULL_ENGINE = (b"ftrt" + bytes(20) + bytes([10, 9, 0, 34])).ljust(100, b"\0")


@pytest.fixture
def source(tmp_path: Path) -> OnnxSource:
    """The stand-in reads no file."""
    return OnnxSource(tmp_path / "m.onnx", "input", (1, 8, 8))


class FullTensorRT(SimpleNamespace):
    """TensorRT as far as a build goes, which no machine without a GPU can run. It knows no compute capabilities to build for.

    `caches` are the contents that timing caches were made from; b"damaged" is none, b"other GPU" does not fit.
    """

    def __init__(self, engine: bytes | None = FULL_ENGINE, finds_gpu: bool = True) -> None:
        severity = SimpleNamespace(INFO=3, WARNING=2, ERROR=1, INTERNAL_ERROR=0)
        super().__init__(
            __name__="tensorrt",
            __version__="10.9.0.34",
            ILogger=type("ILogger", (), {"Severity": severity}),
            IProgressMonitor=object,
            NetworkDefinitionCreationFlag=SimpleNamespace(STRONGLY_TYPED=1),
            MemoryPoolType=SimpleNamespace(WORKSPACE="workspace"),
            OnnxParser=lambda network, logger: SimpleNamespace(parse_from_file=lambda path: True),
        )
        self.engine, self.finds_gpu = engine, finds_gpu
        self.caches: list[bytes] = []
        self.network_flags = 0
        self.settings = self

    def Builder(self, logger: Any) -> "FullTensorRT":  # noqa: N802
        if not self.finds_gpu:
            raise TypeError("pybind11::init(): factory function returned nullptr")
        return self

    def create_network(self, flags: int) -> None:
        self.network_flags = flags

    def create_builder_config(self) -> Any:
        owner = self

        class Settings:
            __slots__ = ("progress_monitor", "timing_cache", "workspace")  # any other member would be an AttributeError

            def set_memory_pool_limit(self, pool: str, pool_size: int) -> None:
                self.workspace = (pool, pool_size)

            def add_optimization_profile(self, profile: Any) -> int:
                return 0

            def create_timing_cache(self, serialized_timing_cache: bytes) -> bytes | None:
                owner.caches.append(serialized_timing_cache)
                return None if serialized_timing_cache == b"damaged" else serialized_timing_cache

            def set_timing_cache(self, cache: bytes, ignore_mismatch: bool) -> bool:
                assert not ignore_mismatch
                self.timing_cache = cache
                return cache != b"other GPU"

            def get_timing_cache(self) -> Any:
                return SimpleNamespace(serialize=lambda: self.timing_cache + b"+timed")

        self.settings = Settings()
        return self.settings

    def create_optimization_profile(self) -> Any:
        return SimpleNamespace(set_shape=lambda *_: None)

    def build_serialized_network(self, network: Any, config: Any) -> bytes | None:
        return self.engine


@pytest.mark.parametrize(
    ("engine", "message"),
    [
        (None, "gives no engine: it gives no message"),
        (b"abcd" + bytes(96), "gives no engine, for it begins with b'abcd'"),
        (b"ftrt", "gives no engine, for it has 4 bytes"),
        (FULL_ENGINE.replace(b"ftrt", b"vtrt"), "gives 100 bytes with the header EngineHeader(library='tensorrt_rtx'"),
    ],
)
def test_what_does_not_begin_as_an_engine_is_refused(engine: bytes | None, message: str, source: OnnxSource) -> None:
    with pytest.raises(EngineError) as caught:
        compile_engine(FullTensorRT(engine), source, CONFIG, None)
    assert message in str(caught.value)


def test_tensorrt_gets_a_strongly_typed_network_the_workspace_and_no_targets(source: OnnxSource) -> None:
    library = FullTensorRT()
    built = compile_engine(library, source, EngineConfig(targets=("SM86",), workspace_mib=64), None)
    assert built.engine == FULL_ENGINE
    assert library.network_flags == 1 << 1
    assert library.settings.workspace == ("workspace", 64 * 2**20)
    assert library.caches == []


def test_tensorrt_11_has_no_flag_for_strong_types(source: OnnxSource) -> None:
    library = FullTensorRT()
    library.NetworkDefinitionCreationFlag = SimpleNamespace()
    compile_engine(library, source, CONFIG, None)
    assert library.network_flags == 0


def test_tensorrt_without_a_gpu_is_one_sentence(source: OnnxSource) -> None:
    with pytest.raises(EngineError, match="finds no GPU that it can use"):
        compile_engine(FullTensorRT(finds_gpu=False), source, CONFIG, None)


@pytest.mark.parametrize(
    ("before", "made_from"),
    [
        (None, [b""]),
        (b"earlier", [b"earlier"]),
        (b"damaged", [b"damaged", b""]),
        (b"other GPU", [b"other GPU", b""]),
    ],
)
def test_the_timing_cache_is_read_and_kept(
    before: bytes | None, made_from: list[bytes], source: OnnxSource, tmp_path: Path
) -> None:
    file, library = tmp_path / "timing.cache", FullTensorRT()
    if before is not None:
        file.write_bytes(before)
    compile_engine(library, source, CONFIG, file)
    assert library.caches == made_from
    assert file.read_bytes() == made_from[-1] + b"+timed"


def test_a_build_that_fails_leaves_the_timing_cache_alone(source: OnnxSource, tmp_path: Path) -> None:
    file = tmp_path / "timing.cache"
    file.write_bytes(b"earlier")
    with pytest.raises(EngineError):
        compile_engine(FullTensorRT(None), source, CONFIG, file)
    assert file.read_bytes() == b"earlier"
