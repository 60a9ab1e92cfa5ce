"""A child process for calls into native libraries: nothing but a kill ends these, so it is killed when it takes too much."""

import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

from pipeline.errors import InputError, PipelineError, StageError
from pipeline.frames import read_frame, write_frame
from pipeline.memory import is_out_of_memory

LOOKED_EVERY_SECONDS = 0.05
MIB = 2**20


class Limits(NamedTuple):
    """What a process may take: `seconds` for one answer, and `memory_mb` of resident memory, None for what there is.

    Resident memory, and no limit of the kernel on a process's addresses: CUDA, TensorRT and the threads' stacks reserve many
    times what they ever use. `section` is where a config sets both, `remedy` what makes the process need less.
    """

    seconds: float = 600.0
    memory_mb: int | None = None
    section: str = ""
    remedy: str = "give the machine more, or take a smaller model"


class WatchedProcess:
    """`python -m MODULE`, which leads a process group and answers what it is asked; a context manager that ends it.

    The module calls `pipeline.answering.answer`.
    """

    def __init__(self, module: str, limits: Limits, environment: Mapping[str, str] | None = None) -> None:
        self.limits, self.doing = limits, "starting"
        self._stderr = tempfile.TemporaryFile()  # noqa: SIM115  # closed at the end of the block
        self._process = subprocess.Popen(  # noqa: S603  # our own module
            [sys.executable, "-P", "-m", module],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._stderr,
            env=os.environ | {"PYTHONPATH": _path()} | dict(environment or {}),
            start_new_session=True,
        )
        self._deadline: float | None = None
        self._exceeded = ""
        self._over = threading.Event()
        self._watcher = threading.Thread(target=self._watch, name="watch", daemon=True)

    def __enter__(self) -> Self:
        self._watcher.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._over.set()
        self._watcher.join()
        self._kill()
        self._process.communicate()
        self._stderr.close()

    def ask(
        self,
        doing: str,
        request: dict[str, Any],
        content: bytes = b"",
        hear: Callable[[dict[str, Any]], None] = lambda _: None,
    ) -> tuple[dict[str, Any], bytes]:
        """Its answer to a request; what it says before is told to `hear`. `doing` is the subject of error messages.

        Raises InputError or StageError as the process does, StageError if it takes too long or too much, or dies.
        """
        assert self._process.stdout
        self.doing = doing
        try:
            self.send(request, content)
            while frame := read_frame(self._process.stdout):
                line, content = frame
                if "said" in line:
                    hear(line["said"])
                elif "refused" in line:
                    raise (InputError if line["input"] else StageError)(line["refused"])
                elif "no_memory" in line:
                    raise StageError(f"{self.doing} has run out of memory ({line['no_memory']}); {self.limits.remedy}")
                else:
                    return line, content
        except BrokenPipeError:
            pass
        finally:
            self._deadline = None
        raise self._death()

    def send(self, line: dict[str, Any], content: bytes = b"") -> None:
        """What the process waits for before it answers, sent by `hear`. Its time begins anew."""
        assert self._process.stdin
        self._deadline = time.monotonic() + self.limits.seconds
        write_frame(self._process.stdin, line, content)

    def _watch(self) -> None:
        import psutil

        try:
            watched, limits = psutil.Process(self._process.pid), self.limits
            while not self._over.wait(LOOKED_EVERY_SECONDS):
                deadline = self._deadline
                if deadline is not None and time.monotonic() > deadline:
                    self._exceeded = f"took more than {limits.seconds:g} s and was ended; {self._raise('max_seconds')}"
                elif limits.memory_mb and watched.memory_info().rss > limits.memory_mb * MIB:
                    self._exceeded = f"took more than {limits.memory_mb} MiB and was ended; {self._raise('max_memory_mb')}"
                else:
                    continue
                self._kill()
                return
        except psutil.Error:  # it has ended
            return

    def _raise(self, field: str) -> str:
        return f"raise {self.limits.section}.{field}, or {self.limits.remedy}" if self.limits.section else self.limits.remedy

    def _kill(self) -> None:
        if self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)

    def _death(self) -> PipelineError:
        code = self._process.wait()
        self._over.set()
        self._watcher.join()
        self._stderr.seek(0)
        said = self._stderr.read().decode(errors="replace").strip().splitlines()
        last = f", it said: {said[-1]}" if said else ""
        if self._exceeded:
            return StageError(f"{self.doing} {self._exceeded}")
        process = f"the process that was {self.doing}"
        if code == -signal.SIGKILL:
            return StageError(f"{process} was killed, as the system does where memory runs out{last}; {self.limits.remedy}")
        if any(is_out_of_memory(RuntimeError(line)) for line in said):
            return StageError(f"{self.doing} has run out of memory{last}; {self.limits.remedy}")
        end = f"died of {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
        return StageError(f"{process} {end}{last or ' and said nothing'}; run the file alone to see what is wrong with it")


def _path() -> str:
    """Where the process finds our modules."""
    return os.pathsep.join(filter(None, (str(Path(__file__).resolve().parents[1]), os.environ.get("PYTHONPATH", ""))))
