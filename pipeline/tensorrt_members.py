"""The members of TensorRT and TensorRT-RTX that are used to build engines, as Protocols; a test holds them to the real module.

Both libraries are one module under two names. What only one of the two has, or only newer ones, is asked for with hasattr.
"""

from typing import Any, Protocol


class Network(Protocol):
    """INetworkDefinition: the parsed model."""

    num_inputs: int

    def get_input(self, index: int) -> Any:
        """An ITensor with `.name` and `.shape` (-1 where free)."""
        ...


class Profile(Protocol):
    """IOptimizationProfile: the shapes the engine must serve."""

    def set_shape(self, input: str, min: tuple[int, ...], opt: tuple[int, ...], max: tuple[int, ...]) -> None:  # noqa: A002
        """Smallest, usual and largest shape of an input."""
        ...


class TimingCache(Protocol):
    """ITimingCache: how long each kernel took on this GPU."""

    def serialize(self) -> Any:
        """Its content as a buffer."""
        ...


class BuilderConfig(Protocol):
    """IBuilderConfig."""

    progress_monitor: Any

    def set_memory_pool_limit(self, pool: Any, pool_size: int) -> None:
        """Bytes that the builder may plan for."""
        ...

    def add_optimization_profile(self, profile: Profile) -> int:
        """Its index, or -1 if the profile is refused."""
        ...

    def create_timing_cache(self, serialized_timing_cache: bytes) -> TimingCache | None:
        """A cache from a file's content, empty from empty content, None from content that is none. Not for TensorRT-RTX."""
        ...

    def set_timing_cache(self, cache: TimingCache, ignore_mismatch: bool) -> bool:
        """False if the cache is of another GPU or version. Not for TensorRT-RTX."""
        ...

    def get_timing_cache(self) -> TimingCache:
        """The cache, after the build with what was timed in it. Not for TensorRT-RTX."""
        ...


class RtxBuilderConfig(Protocol):
    """What TensorRT-RTX adds to IBuilderConfig."""

    num_compute_capabilities: int

    def set_compute_capability(self, compute_capability: Any, index: int) -> bool:
        """Compile for a member of ComputeCapability, False if it is refused."""
        ...


class Builder(Protocol):
    """Makes everything else; needs a GPU in TensorRT, none in TensorRT-RTX."""

    def create_network(self, flags: int) -> Network:
        """An empty network."""
        ...

    def create_builder_config(self) -> BuilderConfig:
        """Settings of one build."""
        ...

    def create_optimization_profile(self) -> Profile:
        """An empty profile."""
        ...

    def build_serialized_network(self, network: Network, config: BuilderConfig) -> Any:
        """The engine as a buffer, or None after an error, which only the log tells."""
        ...


class OnnxParser(Protocol):
    """Reads an ONNX file into a network."""

    num_errors: int

    def parse_from_file(self, path: str) -> bool:
        """Whether all of it was understood."""
        ...

    def get_error(self, index: int) -> Any:
        """An error with `.desc()`, `.node_name()` and `.node_operator()`."""
        ...

    def supports_model_v2(self, model: bytes, path: str) -> bool:
        """Whether all of a model can be built; if not, there is an error for every node that cannot. Since TensorRT 10.1."""
        ...


class TensorRT(Protocol):
    """The module."""

    __name__: str
    __version__: str
    ILogger: Any
    IProgressMonitor: Any
    NetworkDefinitionCreationFlag: Any
    MemoryPoolType: Any

    def Builder(self, logger: Any) -> Builder:  # noqa: N802
        """Raises TypeError where the library finds no GPU and needs one."""
        ...

    def OnnxParser(self, network: Network, logger: Any) -> OnnxParser:  # noqa: N802
        """A parser that fills `network`."""
        ...
