"""A model converted to lower precision in a process of its own; this file is also what that process runs."""

import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory, gettempdir
from typing import Any, Literal

import numpy as np

from pipeline.answering import Answer, Say, answer
from pipeline.errors import InputError, PipelineError, StageError
from pipeline.frames import read_frame
from pipeline.half import to_half
from pipeline.int8 import to_int8
from pipeline.memory import is_out_of_memory
from pipeline.progress import log
from pipeline.runners import Images
from pipeline.watched_process import Limits, WatchedProcess

LEAVE_OUT = "leave that precision out of quantize.precisions"
NO_MORE: Images = np.empty(0, np.float32)


def convert(
    source: Path,
    precision: Literal["fp16", "int8-cpu", "int8-trt"],
    input_name: str,
    images: Iterator[Images],
    limits: Limits,
) -> Any:
    """The ModelProto that `to_half` or `to_int8` makes of an fp32 ONNX file. Ctrl-C ends the conversion.

    A batch of `images` is taken whenever the conversion wants one, and its time begins anew then. Raises InputError if
    temporary files cannot be written, StageError if the file cannot be converted, or the process takes too much or dies.
    """
    import onnx

    from fair_pruner.errors import first_line  # imports torch, which that process does not need

    with (
        TemporaryDirectory(prefix="fair-pruner-convert-") as folder,  # here, for a process that is killed removes nothing
        WatchedProcess(__name__, limits, {"TMPDIR": folder}) as process,
    ):

        def hear(said: dict[str, Any]) -> None:
            if "log" in said:
                log.info(said["log"])
                return
            batch = next(images, NO_MORE)
            process.send({"shape": batch.shape}, batch.tobytes())

        request = {"source": str(source), "precision": precision, "input_name": input_name}
        line, content = process.ask(f"converting {source.name} to {precision}", request, hear=hear)
    if "failure" in line:
        cause = f"{line['failure']}: {first_line(Exception(line['message']))}"
        raise StageError(f"the model cannot be converted to {precision}: {cause}; {LEAVE_OUT}")
    return onnx.load_from_string(content)


def _inside(request: dict[str, Any], _: bytes, say: Say) -> Answer:
    source, precision, given = Path(request["source"]), request["precision"], (request["input_name"], _images(say))
    try:
        if precision == "fp16":
            proto = to_half(source, *given, tell=lambda text: say({"log": text}))
        else:
            proto = to_int8(source, precision, *given)
        return {}, proto.SerializeToString()
    except OSError as error:
        where = f"free space in {Path(gettempdir()).parent}, or set TMPDIR to another folder"
        raise InputError(f"the model cannot be converted to {precision}: {error}; {where}") from error
    except Exception as error:  # the libraries' errors have no base of their own
        if isinstance(error, PipelineError) or is_out_of_memory(error):
            raise
        return {"failure": type(error).__name__, "message": str(error)}, b""


def _images(say: Say) -> Iterator[Images]:
    """Batches from the other end, each when it is needed."""
    while True:
        say({"wants": "images"})
        frame = read_frame(sys.stdin.buffer)
        if not frame or not frame[1]:
            return
        line, content = frame
        yield np.frombuffer(content, np.float32).reshape(line["shape"])


if __name__ == "__main__":
    answer(_inside)
