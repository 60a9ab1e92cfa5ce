"""An engine of TensorRT or TensorRT-RTX as a runner: on the GPU, with torch's memory, streams, events and graphs."""

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from pipeline.engine_file import check_engine
from pipeline.errors import InputError, StageError
from pipeline.runners import Images, Logits, Timings
from pipeline.tensorrt_library import FULL_MODULE, Messages

if TYPE_CHECKING:
    from pipeline.latency import Runtime

DEVICE = "cuda"
DTYPES = {"FLOAT": torch.float32, "HALF": torch.float16, "BF16": torch.bfloat16}
RUNS_BEFORE_CAPTURE = 3  # the first runs load and, with TensorRT-RTX, compile kernels, which no graph may record


class TensorRTRunner:
    """An engine on the GPU that it was built for; fp32 may use TF32 units. Batches must lie within its profile.

    Without names its only input and its first output are meant.

    Raises InputError if there is no GPU, no library of the engine's kind and version, or the file does not load; StageError
    if the GPU has not the memory to run it.
    """

    runtime: "Runtime" = "tensorrt"

    def __init__(self, path: Path, input_name: str = "", output_name: str = "") -> None:
        self._loaded = _load(path)
        if not input_name:
            input_name, output_name, _ = _tensors_of(self._loaded)
        self._engine = self._loaded.engine
        self._context = _context_of(self._engine, self._loaded.library)
        if self._context is None:
            raise StageError(f"{self._loaded.says('cannot run')}; free memory of the GPU or build for smaller batches")
        self._stream = torch.cuda.Stream()
        self.input_name, self.output_name = input_name, output_name
        self._types = {name: self._type_of(name) for name in (input_name, output_name)}
        self._ready: tuple[tuple[int, ...], Callable[[], object]] | None = None

    def __call__(self, images: Images) -> Logits:
        """Logits (n, K) of images (n, C, H, W). Raises InputError if n lies outside the engine's profile."""
        with torch.cuda.stream(self._stream):
            logits = self._bind(images)
            self._enqueue()
            self._stream.synchronize()
            return logits.float().cpu().numpy()

    def time(self, images: Images, runs: int) -> Timings:
        """Time on the GPU of `runs` runs, between CUDA events; images and logits lie there, nothing is copied.

        The runs are replays of a CUDA graph where the engine can be captured, else they are enqueued one by one, which small
        networks wait for.
        """
        with torch.cuda.stream(self._stream):
            if self._ready is None or self._ready[0] != images.shape:
                self._ready = images.shape, self._prepared(images)
            _, run = self._ready
            events = [(torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)) for _ in range(runs)]
            for start, end in events:
                start.record(self._stream)
                run()
                end.record(self._stream)
            self._stream.synchronize()
        return Timings(np.array([start.elapsed_time(end) for start, end in events], dtype=np.float64), None)

    def _prepared(self, images: Images) -> Callable[[], object]:
        """What runs the engine once on these images."""
        self._bind(images)
        for _ in range(RUNS_BEFORE_CAPTURE):
            self._enqueue()
        self._stream.synchronize()
        capturable = getattr(self._context, "is_stream_capturable", None)  # TensorRT-RTX alone can tell beforehand
        if capturable is not None and not capturable(self._stream.cuda_stream):
            return self._enqueue
        graph = torch.cuda.CUDAGraph()
        try:
            with torch.cuda.graph(graph, stream=self._stream):
                self._enqueue()
        except (RuntimeError, StageError):  # control flow or shapes that the CPU computes: CUDA refuses to capture
            torch.cuda.synchronize()
            return self._enqueue
        return graph.replay

    def _bind(self, images: Images) -> Tensor:
        """Put images on the GPU and let the engine know; returns where the logits will be, both kept until the next call."""
        self._ready = None
        inputs = torch.from_numpy(np.ascontiguousarray(images)).to(DEVICE, self._types[self.input_name])
        if not self._context.set_input_shape(self.input_name, tuple(inputs.shape)):
            smallest, _, largest = self._engine.get_tensor_profile_shape(self.input_name, 0)
            raise InputError(
                f"{self._loaded.name} takes inputs from {tuple(smallest)} to {tuple(largest)}, not {tuple(inputs.shape)}; "
                "choose another batch size or build it for this one (engine.min_batch, engine.max_batch)"
            )
        shape = tuple(self._context.get_tensor_shape(self.output_name))
        logits = torch.empty(shape, dtype=self._types[self.output_name], device=DEVICE)
        self._context.set_tensor_address(self.input_name, inputs.data_ptr())
        self._context.set_tensor_address(self.output_name, logits.data_ptr())
        self._kept = inputs, logits
        return logits

    def _enqueue(self) -> None:
        if not self._context.execute_async_v3(self._stream.cuda_stream):
            raise StageError(f"{self._loaded.says('cannot run')}; check the GPU with nvidia-smi")

    def _type_of(self, name: str) -> torch.dtype:
        names = _tensors(self._engine)
        if name not in names:
            raise InputError(f"{self._loaded.name} has the tensors {', '.join(names)}, not {name}; give an engine of this model")
        kind = self._engine.get_tensor_dtype(name).name
        if kind not in DTYPES:
            raise InputError(f"{name} of {self._loaded.name} is {kind}; expected one of {', '.join(DTYPES)}")
        return DTYPES[kind]


class EngineTensors(NamedTuple):
    """What an engine takes and gives; `image_shape` is that of one image."""

    input_name: str
    output_name: str
    image_shape: tuple[int, ...]


def engine_tensors(path: Path) -> EngineTensors:
    """Read an engine on the GPU that it was built for. Raises InputError as the runner does, or if it takes several inputs."""
    return _tensors_of(_load(path))


class _Loaded(NamedTuple):
    """An engine, and what must live as long as it."""

    name: str
    engine: Any
    library: Any
    loader: Any
    messages: Messages

    def says(self, what: str) -> str:
        """What the library cannot do, in its own words."""
        errors = "; ".join(self.messages.errors) or "it gives no message"
        return f"{self.library.__name__} {self.library.__version__} {what} {self.name}: {errors}"


def _load(path: Path) -> _Loaded:
    if not torch.cuda.is_available():
        raise InputError(
            f"no GPU on this machine: engines are built here, not executed; run {path.name} on the GPU it was built for"
        )
    library = _library_of(path)
    messages = Messages(library)
    loader = library.Runtime(messages.logger)
    loaded = _Loaded(path.name, loader.deserialize_cuda_engine(path.read_bytes()), library, loader, messages)
    if loaded.engine is None:
        raise InputError(f"{loaded.says('does not load')}; build it anew from its ONNX file")
    return loaded


def _tensors_of(loaded: _Loaded) -> EngineTensors:
    inputs = [name for name in _tensors(loaded.engine) if loaded.engine.get_tensor_mode(name).name == "INPUT"]
    outputs = [name for name in _tensors(loaded.engine) if name not in inputs]
    if len(inputs) != 1:
        taken = ", ".join(inputs) or "nothing"
        raise InputError(f"{loaded.name} takes {taken}; expected images alone, give a classifier's engine")
    return EngineTensors(inputs[0], outputs[0], tuple(loaded.engine.get_tensor_shape(inputs[0]))[1:])


def _tensors(engine: Any) -> list[str]:
    return [engine.get_tensor_name(index) for index in range(engine.num_io_tensors)]


def _library_of(path: Path) -> Any:
    name = check_engine(path).library or FULL_MODULE
    try:
        return importlib.import_module(name)
    except (ImportError, OSError) as error:
        raise InputError(
            f"{path.name} needs {name}, which cannot be imported ({error}); install fair-pruner[gpu] or fair-pruner[rtx]"
        ) from error


def _context_of(engine: Any, library: Any) -> Any:
    """What runs the engine, None without memory. TensorRT-RTX would otherwise swap in better kernels while it is timed."""
    strategies = getattr(library, "DynamicShapesKernelSpecializationStrategy", None)
    if strategies is None:
        return engine.create_execution_context()
    config = engine.create_runtime_config()
    config.dynamic_shapes_kernel_specialization_strategy = strategies.EAGER
    return engine.create_execution_context(config)
