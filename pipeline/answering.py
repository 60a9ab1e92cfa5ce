"""The inside of a watched process: what it is asked comes from stdin, what it answers goes to stdout."""

import os
import signal
import sys
from collections.abc import Callable
from typing import Any

from pipeline.errors import InputError, PipelineError
from pipeline.frames import read_frame, write_frame
from pipeline.memory import is_out_of_memory

PARENT_DEATH_SIGNAL = 1  # PR_SET_PDEATHSIG of Linux's prctl
Say = Callable[[dict[str, Any]], None]
Answer = tuple[dict[str, Any], bytes]


def answer(handle: Callable[[dict[str, Any], bytes, Say], Answer]) -> None:
    """Let `handle` (request, content, say) answer one request after the other, until the other end is closed.

    What it `say`s is heard at once. A PipelineError refuses a request and ends nothing, nor does a lack of memory that a
    library tells of; any other error ends the process.
    """
    die_with_the_parent()
    # what the libraries print must not come between the frames
    with os.fdopen(os.dup(sys.stdout.fileno()), "wb") as output:
        os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
        while frame := read_frame(sys.stdin.buffer):
            try:
                line, content = handle(*frame, lambda said: write_frame(output, {"said": said}))
            except Exception as error:
                line, content = _refusal(error), b""
                if not line:
                    raise
            write_frame(output, line, content)


def _refusal(error: Exception) -> dict[str, Any]:
    if is_out_of_memory(error):
        return {"no_memory": " ".join(str(error).split()) or type(error).__name__}
    return {"refused": str(error), "input": isinstance(error, InputError)} if isinstance(error, PipelineError) else {}


def die_with_the_parent() -> None:
    """A parent that is killed cannot end this process any more; the kernel can."""
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None).prctl(PARENT_DEATH_SIGNAL, signal.SIGKILL)
