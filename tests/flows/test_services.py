import fcntl
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from flows import services
from flows.process_group import is_alive
from flows.services import Service, supervise
from pipeline.errors import StageError

FAMILY = "sleep 600 & echo $! >> pids; echo $$ >> pids; "  # of a child: one of its own, and the numbers of both in a file


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The current folder of the children, short delays, and SIGHUP as it is where nobody has said nohup."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(services, "FIRST_DELAY", 0.05)
    monkeypatch.setattr(services, "POLL_SECONDS", 0.02)
    monkeypatch.setattr(services, "START_SECONDS", 30.0)
    earlier = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield tmp_path
    signal.signal(signal.SIGHUP, earlier)


def child(script: str, ready: Callable[[], bool] = lambda: True, name: str = "child") -> Service:
    return Service(name, ("sh", "-c", script), os.environ, Path(f"{name}.log"), ready)


def family(count: int = 2) -> list[int]:
    """The numbers in the file, once they are all there."""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        pids = [int(line) for line in Path("pids").read_text().split()] if Path("pids").exists() else []
        if len(pids) >= count:
            return pids
        time.sleep(0.01)
    raise AssertionError("the children have not started")


def running(pid: int) -> bool:
    return psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE


def ask(number: int) -> Callable[[], None]:
    return lambda: signal.raise_signal(number)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_the_children_and_theirs_and_leaves_the_signals_as_they_were(number: int) -> None:
    before = [signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)]
    said: list[str] = []
    supervise([child(FAMILY + "wait", lambda: len(family()) == 2)], ask(number), said.append)
    assert not any(map(running, family()))
    assert said[0].startswith("child: ready after ")
    assert said[1:] == ["stopping"]
    assert [signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)] == before


def test_who_does_not_listen_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(services, "GRACE_SECONDS", 0.2)
    supervise([child("trap '' TERM; " + FAMILY + "while true; do sleep 1; done", lambda: len(family()) == 2)], ask(2), print)
    assert not any(map(running, family()))


WITNESS = """
import os, signal, sys
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
try:
    with open("order", "a") as order: order.write("+")
    signal.pause()
finally:
    with open("order", "a") as order: order.write(sys.argv[1])
"""


def test_the_last_one_started_ends_first() -> None:
    def ready() -> bool:
        return Path("order").exists() and Path("order").read_text() == "++"

    command = (sys.executable, "-S", "-c", WITNESS)
    supervise([Service(name, (*command, name), os.environ, Path(name), ready) for name in "ab"], ask(signal.SIGINT), print)
    assert Path("order").read_text() == "++ba"


def test_one_that_dies_is_started_again_and_keeps_its_log() -> None:
    said: list[str] = []
    script = "echo hello; test -e once && exec sleep 600; touch once; " + FAMILY + "kill -9 $$"
    supervise([child(script, lambda: Path("child.log").read_text().count("hello") == 2)], ask(signal.SIGINT), said.append)
    assert re.fullmatch(r"child was ended by SIGKILL after \d s; starting it again in 0\.05 s", said[0])
    assert said[1].startswith("child: ready after ")
    assert not any(map(running, family()))  # what the first one had started went with it


def test_one_that_dies_again_and_again_is_given_up_with_its_last_lines() -> None:
    said: list[str] = []
    other = child(FAMILY + "wait", name="other")
    with pytest.raises(StageError) as error:
        supervise([other, child("seq 20; echo no such table >&2; exit 3", lambda: False)], lambda: None, said.append)
    assert "child ended with exit code 3, 4 times in a row within 30 s of its start; the last lines of child.log:" in str(
        error.value
    )
    assert str(error.value).endswith(" child.log: 12 | 13 | 14 | 15 | 16 | 17 | 18 | 19 | 20 | no such table")
    assert sum("starting it again" in line for line in said) == 3
    assert not any(map(running, family()))


def test_one_that_lives_long_enough_may_die_any_number_of_times(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(services, "QUICK_SECONDS", 0.0)
    said: list[str] = []
    supervise([child("echo again", lambda: Path("child.log").read_text().count("again") >= 6)], ask(signal.SIGINT), said.append)
    assert sum("starting it again in 0.05 s" in line for line in said) >= 5


def test_one_that_never_gets_ready_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(services, "START_SECONDS", 0.3)
    with pytest.raises(StageError, match=r"child is not ready after 0 s; the last lines of child.log: \(it is empty\)"):
        supervise([child("sleep 600", lambda: False)], lambda: None, print)


def test_a_closed_terminal_ends_nothing_under_nohup(monkeypatch: pytest.MonkeyPatch) -> None:
    earlier = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        supervise([child("sleep 600")], lambda: (os.kill(os.getpid(), signal.SIGHUP), ask(signal.SIGINT)())[0], print)
        assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, earlier)


SUPERVISOR = """
import fcntl, os
from pathlib import Path
from flows.services import Service, supervise
lock = open("lock", "w")
fcntl.flock(lock, fcntl.LOCK_EX)
stubborn = "trap 'sleep 1; exit' TERM; sleep 600 & echo $! >> pids; echo $$ >> pids; while true; do sleep 0.1; done"
children = [Service(name, ("sh", "-c", stubborn), dict(os.environ), Path(name), lambda: True) for name in ("a", "b")]
supervise(children, lambda: Path("ready").touch(), print, held=(lock.fileno(),))
"""


def test_a_killed_supervisor_leaves_nothing_and_its_lock_stays_until_then() -> None:
    supervisor = subprocess.Popen([sys.executable, "-c", SUPERVISOR])
    pids = family(4)
    supervisor.send_signal(signal.SIGKILL)
    supervisor.wait()
    with Path("lock").open() as lock:
        with pytest.raises(BlockingIOError):
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        assert any(map(running, pids))
        fcntl.flock(lock, fcntl.LOCK_EX)  # waits
    assert not any(map(running, pids))
    assert not any(is_alive(pid) for pid in pids)
