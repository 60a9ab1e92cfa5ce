"""An engine built in a process of its own; this file is also what that process runs."""

import importlib
from pathlib import Path
from typing import Any, cast

from pipeline.answering import Answer, Say, answer
from pipeline.compile_engine import Built, EngineError, OnnxSource, RefusedModelError, compile_engine
from pipeline.device_sections import EngineConfig
from pipeline.progress import counting
from pipeline.tensorrt_members import TensorRT
from pipeline.watched_process import WatchedProcess

FAILURES: dict[str, type[EngineError]] = {kind.__name__: kind for kind in (EngineError, RefusedModelError)}


def build(library: TensorRT, source: OnnxSource, config: EngineConfig, timing_cache: Path | None) -> Built:
    """What `compile_engine` builds, held to the limits of the config. Ctrl-C ends the build.

    Raises what `compile_engine` raises, and StageError if the process takes too much or dies.
    """
    request = {
        "library": library.__name__,
        "source": [str(source.path), source.input_name, source.image_shape],
        "config": config.model_dump(mode="json"),
        "timing_cache": str(timing_cache) if timing_cache else None,
    }
    doing = f"building an engine of {source.path.name}"
    with (
        counting(f"build engine · {library.__name__}") as tell,
        WatchedProcess(__name__, config.limits("build_engine")) as process,
    ):
        line, engine = process.ask(doing, request, hear=lambda said: tell(said["done"], said["total"]))
    if "failure" in line:
        raise FAILURES[line["failure"]](line["message"], line["log"])
    return Built(engine, line["log"], line["seconds"], line["peak_memory_bytes"])


def _inside(request: dict[str, Any], _: bytes, say: Say) -> Answer:
    library = cast(TensorRT, importlib.import_module(request["library"]))
    path, input_name, (channels, height, width) = request["source"]
    source = OnnxSource(Path(path), input_name, (channels, height, width))
    cache = Path(request["timing_cache"]) if request["timing_cache"] else None
    try:
        built = compile_engine(
            library,
            source,
            EngineConfig.model_validate(request["config"]),
            cache,
            lambda done, total: say({"done": done, "total": total}),
        )
    except EngineError as error:
        return {"failure": type(error).__name__, "message": str(error), "log": error.log}, b""
    return {"log": built.log, "seconds": built.seconds, "peak_memory_bytes": built.peak_memory_bytes}, built.engine


if __name__ == "__main__":
    answer(_inside)
