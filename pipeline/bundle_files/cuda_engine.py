"""Runs a TensorRT engine with numpy, tensorrt (or tensorrt_rtx) and the driver of the GPU; verify.py and benchmark.py use it."""

import ctypes
import importlib
import sys
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

RTX_MAGIC = b"vtrt"  # the first bytes of a TensorRT-RTX engine
DRIVER = "nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1"


class EngineError(Exception):
    """The engine cannot run here; the message says why and what to do."""


class Engine:
    """A deserialised engine on the first GPU. `batches` are the smallest and the largest that it takes."""

    def __init__(self, path: Path, input_name: str, output_name: str) -> None:
        content = path.read_bytes()
        library = _library("tensorrt_rtx" if content.startswith(RTX_MAGIC) else "tensorrt")
        self.driver = Driver()
        self.input_name, self.output_name = input_name, output_name
        self._runtime = library.Runtime(library.Logger(library.Logger.ERROR))
        engine = self._runtime.deserialize_cuda_engine(content)
        if engine is None:
            raise EngineError(
                f"{library.__name__} {library.__version__} cannot load {path.name}: it was built by another version, for another "
                "GPU, or is damaged; build it here with build_engine.py"
            )
        self.version = f"{library.__name__} {library.__version__}"
        self.batches = tuple(int(shape[0]) for shape in engine.get_tensor_profile_shape(input_name, 0))[::2]
        self._dtypes = {name: np.dtype(library.nptype(engine.get_tensor_dtype(name))) for name in (input_name, output_name)}
        self._engine, self._context = engine, engine.create_execution_context()
        self._buffers: dict[str, tuple[int, ctypes.c_uint64]] = {}

    def __call__(self, images: NDArray[np.float32]) -> NDArray[np.float32]:
        """Logits (n, K) of images (n, C, H, W)."""
        logits = np.empty(self._prepare(images), self._dtypes[self.output_name])
        self._enqueue()
        self.driver.synchronize()
        self.driver.download(logits, self._buffers[self.output_name][1])
        return logits.astype(np.float32)

    def time(self, images: NDArray[np.float32], runs: int) -> list[float]:
        """Milliseconds of the computation alone, by the GPU's clock; images and logits stay on the GPU."""
        self._prepare(images)
        return [self.driver.time(self._enqueue) for _ in range(runs)]

    def _prepare(self, images: NDArray[np.float32]) -> tuple[int, ...]:
        """Bring the images to the GPU; returns the shape of the logits."""
        content = np.ascontiguousarray(images, self._dtypes[self.input_name])
        if not self._context.set_input_shape(self.input_name, content.shape):
            raise EngineError(f"the engine takes batches of {self.batches[0]} to {self.batches[1]}, not {len(images)}")
        shape = tuple(int(size) for size in self._context.get_tensor_shape(self.output_name))
        self._reserve(self.input_name, content.nbytes)
        self._reserve(self.output_name, int(np.prod(shape)) * self._dtypes[self.output_name].itemsize)
        self.driver.upload(self._buffers[self.input_name][1], content)
        return shape

    def _reserve(self, name: str, size: int) -> None:
        if self._buffers.get(name, (0, None))[0] < size:
            self._buffers[name] = (size, self.driver.allocate(size))
        self._context.set_tensor_address(name, self._buffers[name][1].value)

    def _enqueue(self) -> None:
        if not self._context.execute_async_v3(self.driver.stream.value or 0):
            raise EngineError("TensorRT refuses to run the engine; its messages stand above")


class Driver:
    """The CUDA driver: memory, one stream, two events. Comes with every GPU driver, so no further package is needed."""

    def __init__(self) -> None:
        try:
            self._library = ctypes.CDLL(DRIVER)
        except OSError as error:
            raise EngineError(f"there is no driver of an NVIDIA GPU here ({error}); engines run on a GPU only") from error
        device, context = ctypes.c_int(), ctypes.c_void_p()
        self.stream = ctypes.c_void_p()
        self._start, self._end = ctypes.c_void_p(), ctypes.c_void_p()
        self._call("cuInit", ctypes.c_uint(0))
        self._call("cuDeviceGet", ctypes.byref(device), ctypes.c_int(0))
        self._call("cuDevicePrimaryCtxRetain", ctypes.byref(context), device)
        self._call("cuCtxSetCurrent", context)
        self._call("cuStreamCreate", ctypes.byref(self.stream), ctypes.c_uint(0))
        self._call("cuEventCreate", ctypes.byref(self._start), ctypes.c_uint(0))
        self._call("cuEventCreate", ctypes.byref(self._end), ctypes.c_uint(0))

    def allocate(self, size: int) -> ctypes.c_uint64:
        """The address of so many bytes on the GPU; they are freed when the process ends."""
        address = ctypes.c_uint64()
        self._call("cuMemAlloc_v2", ctypes.byref(address), ctypes.c_size_t(size))
        return address

    def upload(self, address: ctypes.c_uint64, content: NDArray[Any]) -> None:
        """Copy an array to the GPU."""
        self._call("cuMemcpyHtoD_v2", address, ctypes.c_void_p(content.ctypes.data), ctypes.c_size_t(content.nbytes))

    def download(self, target: NDArray[Any], address: ctypes.c_uint64) -> None:
        """Copy from the GPU into an array."""
        self._call("cuMemcpyDtoH_v2", ctypes.c_void_p(target.ctypes.data), address, ctypes.c_size_t(target.nbytes))

    def synchronize(self) -> None:
        """Wait until the stream is empty."""
        self._call("cuStreamSynchronize", self.stream)

    def time(self, enqueue: Any) -> float:
        """Milliseconds between two events around what `enqueue` puts into the stream."""
        milliseconds = ctypes.c_float()
        self._call("cuEventRecord", self._start, self.stream)
        enqueue()
        self._call("cuEventRecord", self._end, self.stream)
        self._call("cuEventSynchronize", self._end)
        self._call("cuEventElapsedTime", ctypes.byref(milliseconds), self._start, self._end)
        return milliseconds.value

    def _call(self, function: str, *arguments: Any) -> None:
        status = getattr(self._library, function)(*arguments)
        if status:
            raise EngineError(f"the GPU's driver refuses {function} with CUDA error {status}; check the GPU with nvidia-smi")


def _library(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except (ImportError, OSError) as error:
        raise EngineError(f"the engine needs {name}, which does not import ({error})") from error
