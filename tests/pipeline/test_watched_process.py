import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from pipeline.errors import InputError, StageError
from pipeline.watched_process import Limits, WatchedProcess

pytestmark = pytest.mark.skipif(os.name != "posix", reason="signals and process groups as POSIX has them")

CHILD = """
import ctypes, os, signal, subprocess, sys, time
from pipeline.answering import answer
from pipeline.errors import InputError, StageError
from pipeline.frames import read_frame

def handle(request, content, say):
    say({"heard": request["do"]})
    match request["do"]:
        case "echo":
            print("a library that prints")
            return {"length": len(content)}, content[::-1]
        case "ask back":
            got = []
            while (frame := read_frame(sys.stdin.buffer))[1]:
                got.append(frame[1].decode())
                say({})
            return {"got": got}, b""
        case "hang":
            for number in (signal.SIGTERM, signal.SIGINT):
                signal.signal(number, signal.SIG_IGN)
            ctypes.CDLL(None).pause()
        case "hang with a child":
            child = subprocess.Popen(["sleep", "1000"])
            say({"child": child.pid})
            child.wait()
        case "grow":
            kept = []
            while True:
                kept.append(b"x" * 2**22)
        case "die":
            os.kill(os.getpid(), request["signal"])
        case "refuse":
            raise InputError("no such file; give another one")
        case "fail":
            raise StageError("it does not fit")
        case "no memory":
            raise RuntimeError("std::bad_alloc")
        case "exit":
            sys.stderr.write("something about\\nit\\n")
            sys.stderr.flush()
            os._exit(3)

answer(handle)
"""


@pytest.fixture(autouse=True)
def _child(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "child_of_the_test.py").write_text(CHILD)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))


def child(**limits: object) -> WatchedProcess:
    return WatchedProcess("child_of_the_test", Limits(**limits)._replace(section="engine", remedy="lower engine.max_batch"))  # type: ignore[arg-type]


def test_questions_are_answered_one_after_the_other() -> None:
    heard: list[dict[str, object]] = []
    with child() as process:
        for content in (b"abc", b"", bytes(10**6)):
            line, back = process.ask("turning it round", {"do": "echo"}, content, heard.append)
            assert (line, back) == ({"length": len(content)}, content[::-1])
    assert heard == [{"heard": "echo"}] * 3


def test_what_hangs_is_killed_with_all_that_it_started() -> None:
    started: list[int] = []
    begun = time.monotonic()
    message = r"^building it took more than 1 s and was ended; raise engine.max_seconds, or lower engine.max_batch$"
    with child(seconds=1.0) as process, pytest.raises(StageError, match=message):
        process.ask("building it", {"do": "hang"})
    assert time.monotonic() - begun < 30
    with child(seconds=1.0) as process, pytest.raises(StageError, match="took more than 1 s"):
        process.ask("building it", {"do": "hang with a child"}, hear=lambda said: started.append(said.get("child", 0)))
    (left,) = (pid for pid in started if pid)
    assert not psutil.pid_exists(left) or psutil.Process(left).status() == psutil.STATUS_ZOMBIE


def test_the_limit_is_for_each_answer() -> None:
    with child(seconds=3.0) as process:
        process.ask("saying something", {"do": "echo"})  # starts the process within the limit
        time.sleep(3.2)
        assert process.ask("saying something", {"do": "echo"}, b"ab") == ({"length": 2}, b"ba")


def test_what_it_needs_for_its_answer_can_be_sent_and_the_limit_is_for_each_of_these() -> None:
    contents = iter((b"a", b"b", b""))

    def send(_: dict[str, object]) -> None:
        time.sleep(1.1)
        process.send({}, next(contents))

    with child(seconds=3.0) as process:
        assert process.ask("asking back", {"do": "ask back"}, hear=send)[0] == {"got": ["a", "b"]}


def test_what_takes_too_much_memory_is_killed() -> None:
    message = r"^building it took more than 100 MiB and was ended; raise engine.max_memory_mb, or lower engine.max_batch$"
    with child(memory_mb=100) as process, pytest.raises(StageError, match=message):
        process.ask("building it", {"do": "grow"})


@pytest.mark.parametrize(
    ("request_", "kind", "message"),
    [
        ({"do": "refuse"}, InputError, "^no such file; give another one$"),
        ({"do": "fail"}, StageError, "^it does not fit$"),
        ({"do": "no memory"}, StageError, r"^building it has run out of memory \(std::bad_alloc\); lower engine.max_batch$"),
        (
            {"do": "die", "signal": signal.SIGKILL},
            StageError,
            "^the process that was building it was killed, as the system does where memory runs out; lower engine.max_batch$",
        ),
        (
            {"do": "die", "signal": signal.SIGSEGV},
            StageError,
            "^the process that was building it died of SIGSEGV and said nothing",
        ),
        ({"do": "exit"}, StageError, "^the process that was building it ended with exit code 3, it said: it; run the file alone"),
        ({"do": "nothing of this"}, StageError, "ended with exit code 1, it said: TypeError: "),
    ],
)
def test_why_there_is_no_answer_is_one_sentence(request_: dict[str, object], kind: type[Exception], message: str) -> None:
    with child() as process, pytest.raises(kind, match=message) as caught:
        process.ask("building it", request_)
    assert "\n" not in str(caught.value)


def test_a_process_that_is_left_is_gone() -> None:
    with child() as process:
        process.ask("saying something", {"do": "echo"})
        inside = psutil.Process(process._process.pid)
    assert not inside.is_running()


PARENT = """
import sys
from pipeline.watched_process import Limits, WatchedProcess
with WatchedProcess("child_of_the_test", Limits()) as process:
    print(process._process.pid, flush=True)
    process.ask("hanging", {"do": "hang"}, hear=lambda said: print("hangs", flush=True))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends a process with its parent")
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_it_ends_with_the_process_that_started_it(how: signal.Signals) -> None:
    code = f"import signal\nsignal.signal(signal.SIGINT, signal.default_int_handler)\n{PARENT}"
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as parent:
        assert parent.stdout
        inside = psutil.Process(int(parent.stdout.readline()))
        assert parent.stdout.readline() == "hangs\n"
        parent.send_signal(how)
        parent.wait(30)
    assert psutil.wait_procs([inside], 20)[1] == []
