"""Builds a TensorRT engine from a model of this bundle, on the machine that will run it.

    python3 build_engine.py                        fp16 if the bundle has it, else fp32; batches as in manifest.json
    python3 build_engine.py --precision int8-trt --opt 16 --max 32
    python3 build_engine.py --library tensorrt_rtx --target SM86 --target SM89

Needs tensorrt (10 or newer) on the GPU that will run the engine, or tensorrt_rtx, which builds without a GPU. The network is
strongly typed: precision is the file's own. Beside the engine it writes what was built (.json) and what the builder said
(.log). Exit code 0 if the engine is there, 1 if the build failed, 2 if the arguments or the bundle do not fit.
"""

import argparse
import hashlib
import importlib
import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

FOLDER = Path(__file__).resolve().parent
RTX, FULL = "tensorrt_rtx", "tensorrt"
MAGIC = b"trt"  # bytes 1 to 3 of an engine of either library
OLDEST = 10  # major version of TensorRT
MIB = 2**20


class BuildError(Exception):
    """There is no engine; the message says why."""


class InputError(Exception):
    """The arguments or the bundle do not fit; the message says what to change."""


def main() -> int:
    """Build one engine; returns the exit code."""
    parser = argparse.ArgumentParser(description="Build a TensorRT engine from a model of this bundle.")
    parser.add_argument("--precision", help="of the file to build from: fp32, fp16 or int8-trt; default: fp16 if there is one")
    parser.add_argument("--output", type=Path, help="default: model.PRECISION.engine in this folder")
    for name in ("min", "opt", "max"):
        parser.add_argument(f"--{name}", type=int, help=f"{name} batch of the profile; default: manifest.json's")
    parser.add_argument("--workspace-mib", type=int, default=1024, help="memory that the builder may plan for; default 1024")
    parser.add_argument("--library", choices=(FULL, RTX), help="default: whichever imports, tensorrt first")
    parser.add_argument("--target", action="append", default=[], help="tensorrt_rtx: compute capability such as SM86; repeatable")
    parser.add_argument("--timing-cache", type=Path, help="tensorrt: default timing.cache in this folder")
    arguments = parser.parse_args()
    sys.dont_write_bytecode = True  # a bundle stays as it is
    content = importlib.import_module("bundle_content")
    try:
        build(order(arguments, content.read_manifest(FOLDER)))
    except (InputError, content.BundleError, BuildError, OSError) as error:
        print(f"build_engine.py: {error}", file=sys.stderr)
        return 1 if isinstance(error, BuildError | OSError) else 2
    return 0


class Order(NamedTuple):
    """What to build, and how. `model` is its entry in manifest.json, `shapes` the smallest, usual and largest of the input."""

    library: Any
    model: dict[str, Any]
    input_name: str
    shapes: tuple[tuple[int, ...], ...]
    workspace_mib: int
    targets: list[str]
    cache: Path
    output: Path


def order(arguments: argparse.Namespace, manifest: dict[str, Any]) -> Order:
    """The arguments, checked against the bundle and the library. Raises InputError."""
    model, source = choose(arguments.precision, manifest), manifest["inputs"][0]
    if hashlib.sha256((FOLDER / model["path"]).read_bytes()).hexdigest() != model["sha256"]:
        raise InputError(f"{model['path']} is not the file that manifest.json names; run verify.py and copy the bundle again")
    given = (arguments.min, arguments.opt, arguments.max)
    low, usual, high = (each or manifest["profile"][name] for name, each in zip(("min", "opt", "max"), given, strict=True))
    if not 1 <= low <= usual <= high:
        raise InputError(f"batches must rise, min {low} <= opt {usual} <= max {high}; change --min, --opt, --max")
    output = arguments.output or FOLDER / f"model.{model['precision']}.engine"
    if not output.parent.is_dir():
        raise InputError(f"the folder {output.parent} does not exist; make it, or choose another --output")
    library = load(arguments.library)
    known = [name for name in dir(getattr(library, "ComputeCapability", None)) if name.startswith("SM")]
    if set(arguments.target) - set(known):
        raise InputError(
            f"--target of {library.__name__} can be {', '.join(known) or 'the GPU of this machine only: leave it out'}"
        )
    return Order(
        library=library,
        model=model,
        input_name=source["name"],
        shapes=tuple((batch, *source["shape"][1:]) for batch in (low, usual, high)),
        workspace_mib=arguments.workspace_mib,
        targets=arguments.target,
        cache=arguments.timing_cache or FOLDER / "timing.cache",
        output=output,
    )


def build(order: Order) -> None:
    """Build, check the engine, and write it whole with its note, log and timing cache."""
    library, model, output = order.library, order.model, order.output
    batches = [shape[0] for shape in order.shapes]
    print(f"building {output.name} from {model['path']}: {library.__name__} {library.__version__}, batches {batches}", flush=True)
    print("the same with TensorRT's own tool:", trtexec(order), flush=True)
    messages: list[str] = []
    start = time.perf_counter()
    try:
        content, kept = run_builder(order, messages)
        check_engine(library, content, messages)
    finally:
        write(output.with_name(output.name + ".log"), "".join(f"{line}\n" for line in messages).encode())
    note = {
        "status": "built",
        "precision": model["precision"],
        "onnx": model["path"],
        "onnx_sha256": model["sha256"],
        "sha256": hashlib.sha256(content).hexdigest(),
        "library": library.__name__,
        "library_version": library.__version__,
        "profile": batches,
        "targets": order.targets,
        "seconds": round(time.perf_counter() - start, 2),
    }
    write(output, content)
    write(output.with_name(output.name + ".json"), json.dumps(note, indent=2).encode())
    if kept:
        write(order.cache, kept)
    print(f"built {output} ({len(content)} bytes, {note['seconds']} s); verify.py --engine {output} runs it")


def choose(precision: str | None, manifest: dict[str, Any]) -> dict[str, Any]:
    """The model to build from."""
    models: dict[str, dict[str, Any]] = {model["precision"]: model for model in manifest["models"]}
    if precision == "int8-cpu":
        raise InputError("int8-cpu is for ONNX Runtime and OpenVINO on a CPU, TensorRT refuses it; take int8-trt")
    if precision is not None and precision not in models:
        raise InputError(f"the bundle has no {precision}, only {', '.join(models)}")
    return models[precision or ("fp16" if "fp16" in models else "fp32")]


def load(name: str | None) -> Any:
    """The library, TensorRT before TensorRT-RTX unless one is named."""
    reasons = []
    for candidate in (name,) if name else (FULL, RTX):
        try:
            module = importlib.import_module(candidate)
        except (ImportError, OSError) as error:
            reasons.append(f"{candidate}: {error}")
            continue
        if not hasattr(module, "Builder"):  # a package of type stubs alone can be imported too
            reasons.append(f"{candidate}: it has no Builder")
        elif candidate == FULL and int(module.__version__.split(".")[0]) < OLDEST:
            reasons.append(f"{candidate} {module.__version__} has no strongly typed networks, {OLDEST} and newer have")
        else:
            return module
    raise InputError(f"no TensorRT library here ({'; '.join(reasons)}); on a Jetson install python3-libnvinfer of its JetPack")


def trtexec(order: Order) -> str:
    """The command of TensorRT's own tool that builds the same engine."""
    low, usual, high = (f"{order.input_name}:{'x'.join(map(str, shape))}" for shape in order.shapes)
    return (
        f"trtexec --onnx={order.model['path']} --saveEngine={order.output.name} --minShapes={low} --optShapes={usual} "
        f"--maxShapes={high} --stronglyTyped --memPoolSize=workspace:{order.workspace_mib} "
        f"--timingCacheFile={order.cache.name} --skipInference"
    )


def run_builder(order: Order, messages: list[str]) -> tuple[bytes, bytes]:
    """The engine, and the timing cache to keep (empty for tensorrt_rtx). What the library says goes to `messages`."""
    library = order.library
    logger = collector(library, messages)
    try:
        builder = library.Builder(logger)
    except TypeError as error:
        raise BuildError(f"{library.__name__} finds no GPU, and builds only on the one that will run the engine") from error
    typed = getattr(library.NetworkDefinitionCreationFlag, "STRONGLY_TYPED", None)  # gone where there is no other way
    network = builder.create_network(0 if typed is None else 1 << int(typed))
    parser = library.OnnxParser(network, logger)  # owns the weights: must live until the engine is built
    if not parser.parse_from_file(str(FOLDER / order.model["path"])):
        found = [parser.get_error(index).desc() for index in range(parser.num_errors)]
        raise BuildError(f"{library.__name__} does not understand {order.model['path']}: {'; '.join(found)}")
    config, profile = builder.create_builder_config(), builder.create_optimization_profile()
    config.set_memory_pool_limit(library.MemoryPoolType.WORKSPACE, order.workspace_mib * MIB)
    profile.set_shape(order.input_name, *order.shapes)
    if config.add_optimization_profile(profile) < 0:
        raise BuildError(f"{library.__name__} refuses the shapes {order.shapes}: {errors(messages)}")
    if library.__name__ == FULL:
        set_timing_cache(config, order.cache)
    elif order.targets:
        config.num_compute_capabilities = len(order.targets)
        for index, target in enumerate(order.targets):
            config.set_compute_capability(getattr(library.ComputeCapability, target), index)
    previous = signal.signal(signal.SIGINT, signal.SIG_DFL)  # the builder would not notice Ctrl-C before its end
    try:
        engine = builder.build_serialized_network(network, config)
    finally:
        signal.signal(signal.SIGINT, previous)
    if engine is None:
        raise BuildError(f"{library.__name__} gives no engine: {errors(messages)}")
    kept = bytes(memoryview(config.get_timing_cache().serialize())) if library.__name__ == FULL else b""
    return bytes(memoryview(engine)), kept


def set_timing_cache(config: Any, cache: Path) -> None:
    """What an earlier build has timed; an empty cache if there is none, or it is of another GPU or version."""
    known = cache.read_bytes() if cache.is_file() else b""
    if not config.set_timing_cache(config.create_timing_cache(known), ignore_mismatch=False):
        config.set_timing_cache(config.create_timing_cache(b""), ignore_mismatch=False)


def check_engine(library: Any, content: bytes, messages: list[str]) -> None:
    """The header, and with TensorRT, which has the GPU at hand, whether the engine can be loaded."""
    if content[1:4] != MAGIC:
        raise BuildError(f"{library.__name__} gives {len(content)} bytes that begin with {content[:4]!r}, which is no engine")
    if library.__name__ == FULL and library.Runtime(collector(library, messages)).deserialize_cuda_engine(content) is None:
        raise BuildError(f"{library.__name__} cannot load what it built: {errors(messages)}")


def collector(library: Any, messages: list[str]) -> Any:
    """A logger that keeps what the library says, severity first."""

    class Collector(library.ILogger):  # type: ignore[misc]  # the base is known at run time only
        def log(self, severity: Any, message: str) -> None:
            messages.append(f"{severity.name} {' '.join(message.split())}")

    return Collector()


def errors(messages: list[str]) -> str:
    """The errors among the messages, without what is said after any error where there is no GPU."""
    found = [line for line in messages if line.startswith(("ERROR ", "INTERNAL_ERROR "))]
    told = dict.fromkeys(line for line in found if "cudaError 35" not in line and "catchCudaError" not in line)
    return "; ".join(told) or "see the .log file"


def write(path: Path, content: bytes) -> None:
    """Whole or not at all."""
    temporary = path.with_name(f".{path.name}.writing")
    try:
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


if __name__ == "__main__":
    sys.exit(main())
