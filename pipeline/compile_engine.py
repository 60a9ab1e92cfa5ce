"""An engine from any ONNX file, by TensorRT or TensorRT-RTX: one way for both, and the little that only one of them has."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, Self, cast

from pipeline.builder_memory import PeakMemory
from pipeline.device_sections import EngineConfig
from pipeline.engine_file import HEADER_BYTES, read_header
from pipeline.errors import InputError, StageError
from pipeline.tensorrt_library import Messages, progress_monitor, without_noise
from pipeline.tensorrt_members import Builder, BuilderConfig, Network, OnnxParser, RtxBuilderConfig, TensorRT
from pipeline.whole_files import write_together

Advance = Callable[[int, int], None]
MIB = 2**20


class EngineError(StageError):
    """The library builds no engine. The message holds its errors, `log` all that it said."""

    def __init__(self, message: str, log: str) -> None:
        super().__init__(message)
        self.log = log

    @classmethod
    def of(cls, library: TensorRT, what: str, messages: Messages, errors: list[str] | None = None) -> Self:
        """What the library does, and its own words for it."""
        said = "; ".join(errors or messages.errors) or "it gives no message"
        return cls(f"{library.__name__} {library.__version__} {what}: {said}", messages.text())


class RefusedModelError(EngineError):
    """The library does not understand the ONNX file, or a part of it."""


class OnnxSource(NamedTuple):
    """The ONNX file to build from, and its one input: (batch, *image_shape)."""

    path: Path
    input_name: str
    image_shape: tuple[int, int, int]


class Built(NamedTuple):
    """An engine and what it took: `seconds` for the build alone, memory of this process from reading the file on."""

    engine: bytes
    log: str
    seconds: float
    peak_memory_bytes: int


def compile_engine(
    library: TensorRT, source: OnnxSource, config: EngineConfig, timing_cache: Path | None, advance: Advance = lambda *_: None
) -> Built:
    """Build an engine for batches of `config.min_batch` to `config.max_batch`, tuned for `config.opt_batch`.

    The network is strongly typed: the precision is the ONNX file's own (for fp32 a library may use TF32 units).
    `config.targets` matter to TensorRT-RTX alone. `timing_cache` is a file for TensorRT alone: read if it is there, written
    after the build. `advance` is told (done, total) from threads of the library. Nothing but a kill ends the build. Raises
    RefusedModelError if the file is not understood, EngineError if the build
    fails or its result does not begin as an engine does, InputError for a target that the library does not know.
    """
    messages = Messages(library)
    with PeakMemory() as memory:
        ready = _prepare(library, source, config, messages)
        if timing_cache:
            _load_timing_cache(ready.settings, timing_cache)
        ready.settings.progress_monitor = monitor = progress_monitor(library, advance)
        start = time.perf_counter()
        buffer = ready.builder.build_serialized_network(ready.network, ready.settings)
        seconds = time.perf_counter() - start
        del monitor  # until here the library holds a bare pointer to it
    engine = b"" if buffer is None else bytes(memoryview(buffer))
    _check(library, engine, messages)
    if timing_cache:
        write_together({timing_cache: bytes(memoryview(ready.settings.get_timing_cache().serialize()))})
    return Built(engine, messages.text(), seconds, memory.peak_bytes)


class _Ready(NamedTuple):
    """What a build needs; the parser owns the weights and must live until the engine is built."""

    builder: Builder
    network: Network
    parser: OnnxParser
    settings: BuilderConfig


def _prepare(library: TensorRT, source: OnnxSource, config: EngineConfig, messages: Messages) -> _Ready:
    try:
        builder = library.Builder(messages.logger)
    except TypeError as error:  # of its bindings, which got nothing from the library
        raise EngineError.of(library, "finds no GPU that it can use", messages) from error
    network = _empty_network(library, builder)
    parser = library.OnnxParser(network, messages.logger)
    if not parser.parse_from_file(str(source.path)):
        errors = _node_errors(library, builder, source.path, messages) or _errors_of(parser)
        raise RefusedModelError.of(library, "does not understand the ONNX file", messages, errors)
    return _Ready(builder, network, parser, _settings(library, builder, source, config, messages))


def _empty_network(library: TensorRT, builder: Builder) -> Network:
    typed = getattr(library.NetworkDefinitionCreationFlag, "STRONGLY_TYPED", None)  # gone where there is no other way
    return builder.create_network(0 if typed is None else 1 << int(typed))


def _node_errors(library: TensorRT, builder: Builder, path: Path, messages: Messages) -> list[str]:
    """What is wrong with every node that cannot be built; reading the file ends at the first. Empty if the library can't tell."""
    network = _empty_network(library, builder)  # must outlive the parser
    parser = library.OnnxParser(network, messages.logger)
    if not hasattr(parser, "supports_model_v2") or parser.supports_model_v2(path.read_bytes(), str(path)):
        return []
    return _errors_of(parser)


def _errors_of(parser: OnnxParser) -> list[str]:
    errors = [parser.get_error(index) for index in range(parser.num_errors)]
    return [
        f"node {error.node_name()} ({error.node_operator()}): {without_noise(error.desc())}"
        if error.node_name()
        else without_noise(error.desc())
        for error in errors
    ]


def _settings(library: TensorRT, builder: Builder, source: OnnxSource, config: EngineConfig, messages: Messages) -> BuilderConfig:
    settings, profile = builder.create_builder_config(), builder.create_optimization_profile()
    settings.set_memory_pool_limit(library.MemoryPoolType.WORKSPACE, config.workspace_mib * MIB)
    batches = (config.min_batch, config.opt_batch, config.max_batch)
    profile.set_shape(source.input_name, *((batch, *source.image_shape) for batch in batches))
    if settings.add_optimization_profile(profile) < 0:
        raise EngineError.of(library, f"refuses batches of {batches}", messages)
    if config.targets and hasattr(settings, "set_compute_capability"):
        _set_targets(library, cast(RtxBuilderConfig, settings), config.targets)
    return settings


def _set_targets(library: Any, settings: RtxBuilderConfig, targets: tuple[str, ...]) -> None:
    known = library.ComputeCapability.__members__
    settings.num_compute_capabilities = len(targets)
    for index, target in enumerate(targets):
        if target not in known or not settings.set_compute_capability(known[target], index):
            names = ", ".join(name for name in known if name.startswith("SM"))
            raise InputError(f"{library.__name__} {library.__version__} cannot build for {target}; its targets are {names}")


def _load_timing_cache(settings: BuilderConfig, file: Path) -> None:
    cache = settings.create_timing_cache(file.read_bytes()) if file.is_file() else None
    if cache is None or not settings.set_timing_cache(cache, ignore_mismatch=False):  # damaged, or of another GPU
        empty = settings.create_timing_cache(b"")
        assert empty is not None
        settings.set_timing_cache(empty, ignore_mismatch=False)


def _check(library: TensorRT, engine: bytes, messages: Messages) -> None:
    if not engine:
        raise EngineError.of(library, "gives no engine", messages)
    try:
        header = read_header(engine[:HEADER_BYTES])
    except InputError as error:
        raise EngineError.of(library, f"gives no engine, for {error}", messages) from error
    if header.library not in ("", library.__name__) or header.length not in (None, len(engine)):
        raise EngineError.of(library, f"gives {len(engine)} bytes with the header {header}", messages)
