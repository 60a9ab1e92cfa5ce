"""A small supervisor: child processes that start together, are started again when they die, and end together."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from flows.process_group import end_group
from pipeline.errors import StageError

POLL_SECONDS = 0.2
START_SECONDS = 180.0  # the first start makes two databases
QUICK_SECONDS = 30.0  # who dies sooner than this after a start is likely to die again
QUICK_DEATHS = 4
FIRST_DELAY = 0.5  # doubled from one quick death to the next
GRACE_SECONDS = 15.0  # time to report how a run ended
LAST_LINES = 10

Say = Callable[[str], None]


@dataclass(frozen=True)
class Service:
    """A child process to keep running.

    `name` calls it in messages, all that it prints goes to `log`, and `ready` tells whether it does its work by now.
    """

    name: str
    command: tuple[str, ...]
    environment: Mapping[str, str]
    log: Path
    ready: Callable[[], bool]


def supervise(services: Sequence[Service], when_ready: Callable[[], None], say: Say, held: tuple[int, ...] = ()) -> None:
    """Start all services and keep them running until SIGINT, SIGTERM or SIGHUP; then end them, the last one first.

    `when_ready` is called once, when all are. Nothing outlives this process, even if it is killed; the file descriptors in
    `held`, such as that of a lock, then stay open until the last child is gone. Raises StageError if a service dies
    QUICK_DEATHS times in a row within QUICK_SECONDS of its start, or is not ready after START_SECONDS.
    """
    with _stop_asked() as asked, _orphans_ended(held) as report:
        children = [_Child(service, say, report) for service in services]
        try:
            for child in children:
                child.start()
            waiting = list(children)
            while not asked:
                for child in children:
                    child.keep_running()
                if waiting:
                    waiting = [child for child in waiting if not child.becomes_ready()]
                    if not waiting:
                        when_ready()
                time.sleep(POLL_SECONDS)
            say("stopping")
        finally:
            for child in reversed(children):
                child.end(GRACE_SECONDS)


@dataclass
class _Child:
    """A service's process, and how often it has died."""

    service: Service
    say: Say
    report: Callable[[str], None]  # to the process that ends orphans
    process: "subprocess.Popen[bytes] | None" = None
    first_start: float = field(default_factory=time.monotonic)
    started: float = 0.0
    start_at: float = 0.0  # when to start again
    deaths: int = 0

    def start(self) -> None:
        self.started = time.monotonic()
        with self.service.log.open("ab" if self.deaths else "wb") as log:
            self.process = subprocess.Popen(  # noqa: S603
                self.service.command,
                env=dict(self.service.environment),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                # said by the child, so that there is no moment at which it runs and nobody knows
                preexec_fn=lambda: self.report(f"+{os.getpid()}"),
            )

    def keep_running(self) -> None:
        if self.process is None:
            if time.monotonic() >= self.start_at:
                self.start()
        elif self.process.poll() is not None:
            self._died(self.process.returncode)

    def becomes_ready(self) -> bool:
        """Ask, and say how long it took. Raises StageError if it takes too long."""
        seconds = time.monotonic() - self.first_start
        if self.process and self.service.ready():
            self.say(f"{self.service.name}: ready after {seconds:.1f} s")
            return True
        if seconds > START_SECONDS:
            raise StageError(f"{self.service.name} is not ready after {seconds:.0f} s; {self._tail()}")
        return False

    def end(self, grace: float) -> None:
        if self.process:
            end_group(self.process.pid, grace)
            self.process.wait()
            self.report(f"-{self.process.pid}")
            self.process = None

    def _died(self, code: int) -> None:
        lived = time.monotonic() - self.started
        self.end(grace=1.0)  # what it has started cannot go on without it
        self.deaths = self.deaths + 1 if lived < QUICK_SECONDS else 1
        how = f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
        if self.deaths >= QUICK_DEATHS:
            raise StageError(
                f"{self.service.name} {how}, {self.deaths} times in a row within {QUICK_SECONDS:.0f} s of its start; "
                f"{self._tail()}"
            )
        delay = FIRST_DELAY * 2 ** (self.deaths - 1)
        self.start_at = time.monotonic() + delay
        self.say(f"{self.service.name} {how} after {lived:.0f} s; starting it again in {delay:g} s")

    def _tail(self) -> str:
        """Where its log is, with the last lines."""
        lines = [line.strip() for line in self.service.log.read_text(errors="replace").splitlines() if line.strip()][-LAST_LINES:]
        return f"the last lines of {self.service.log}: {' | '.join(lines) or '(it is empty)'}"


@contextmanager
def _stop_asked() -> Iterator[list[int]]:
    """A list that the signals which ask for an end are added to."""
    asked: list[int] = []
    signals = [signal.SIGINT, signal.SIGTERM]
    if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:  # as nohup sets it
        signals.append(signal.SIGHUP)
    earlier = {number: signal.signal(number, lambda number, _: asked.append(number)) for number in signals}
    try:
        yield asked
    finally:
        for number, handler in earlier.items():
            signal.signal(number, handler)


@contextmanager
def _orphans_ended(held: tuple[int, ...]) -> Iterator[Callable[[str], None]]:
    """Runs `flows.orphans` beside the block; yields the function that writes it a line."""
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", "flows.orphans"],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        pass_fds=held,
        start_new_session=True,
        bufsize=0,
    )
    assert process.stdin

    def report(line: str) -> None:
        assert process.stdin
        with suppress(BrokenPipeError):  # somebody killed it; the children are still ended from here
            process.stdin.write(f"{line}\n".encode())

    try:
        yield report
    finally:
        with suppress(BrokenPipeError):
            process.stdin.close()
        process.wait()
