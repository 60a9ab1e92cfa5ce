import io
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import psutil
import pytest

from pipeline.config import BenchmarkConfig
from pipeline.errors import InputError, StageError
from pipeline.exported import OnnxRecord
from pipeline.frames import write_frame
from pipeline.latency_process import run_round
from pipeline.latency_round import Round, Turn
from pipeline.store import Store

on_posix = pytest.mark.skipif(os.name != "posix", reason="signals as POSIX has them")


@pytest.fixture
def turn(exported: tuple[Store, OnnxRecord]) -> Turn:
    store, record = exported
    return Turn(str(store.path(record.file)), "onnxruntime", "input", "logits", (1, 8, 8), (1, 3), (4, 2))


def with_own_onnxruntime(folder: Path, code: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the processes that are started find this code where ONNX Runtime should be."""
    (folder / "onnxruntime.py").write_text(code)
    monkeypatch.setenv("PYTHONPATH", str(folder))


def test_a_round_tells_the_times_of_every_turn(turn: Turn) -> None:
    found = run_round(Round((turn, turn._replace(runs=(1, 1))), threads=1, cores=(), warmup_seconds=0.0), ["first", "second"])
    assert [[len(timings.wall_ms) for timings in each] for each in found] == [[4, 2], [1, 1]]
    for timings in (one for each in found for one in each):
        assert timings.cpu_ms is not None
        assert timings.cpu_ms.shape == timings.wall_ms.shape
        assert np.all(timings.wall_ms > 0)


def test_a_round_passes_through_json_unchanged(turn: Turn) -> None:
    asked = Round((turn, turn), threads=2, cores=(0, 1), warmup_seconds=0.5)
    back = Round.from_values(json.loads(json.dumps(asked.to_values())))
    assert json.dumps(back.to_values()) == json.dumps(asked.to_values())
    assert back.turns[1].path == turn.path
    assert Path(back.turns[0].path).is_file()


CODE = """
import os, sys
__version__ = "0"
print("a library that prints")
print(os.environ["OMP_NUM_THREADS"], sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else "", file=sys.stderr)
{}
"""


@on_posix
@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("os.kill(os.getpid(), 11)", "died of SIGSEGV"),
        ("os.kill(os.getpid(), 9)", "was killed, as the system does where memory runs out"),
        ("raise ZeroDivisionError('in the library')", "ended with exit code 1, it said: ZeroDivisionError: in the library"),
        ("os._exit(0)", "ended with exit code 0, it said: "),
    ],
)
def test_a_process_that_dies_is_explained_with_the_file_it_ran(
    code: str, message: str, turn: Turn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_own_onnxruntime(tmp_path, CODE.format(code), monkeypatch)
    with pytest.raises(StageError, match=f"the process that was measuring dense fp32 {message}") as caught:
        run_round(Round((turn, turn), 1, (), 0.0), ["dense fp32", "cut fp32"])
    assert "\n" not in str(caught.value)


@on_posix
def test_a_round_that_hangs_is_ended(turn: Turn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with_own_onnxruntime(tmp_path, CODE.format("import ctypes\nctypes.CDLL(None).pause()"), monkeypatch)
    limits = BenchmarkConfig(max_seconds=1).limits("benchmark")
    message = (
        r"^measuring dense fp32 took more than 1 s and was ended; raise benchmark.max_seconds, or lower benchmark.batch_sizes$"
    )
    with pytest.raises(StageError, match=message):
        run_round(Round((turn, turn), 1, (), 0.0), ["dense fp32", "cut fp32"], limits)


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="this system holds no process to cores")
def test_threads_and_cores_reach_the_process(turn: Turn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    core = max(os.sched_getaffinity(0))
    with_own_onnxruntime(tmp_path, CODE.format("os._exit(0)"), monkeypatch)
    with pytest.raises(StageError, match=rf"it said: 3 \[{core}\]"):
        run_round(Round((turn,), 3, (core,), 0.0), ["dense"])


def test_what_the_process_refuses_is_refused_here(turn: Turn, tmp_path: Path) -> None:
    (tmp_path / "broken.onnx").write_bytes(b"no protobuf")
    with pytest.raises(InputError, match=r"does not load broken\.onnx"):
        run_round(Round((turn, turn._replace(path=str(tmp_path / "broken.onnx"))), 1, (), 0.0), ["dense", "broken"])


PARENT = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job ignores it
from pipeline.latency_process import run_round
from pipeline.latency_round import Round, Turn
print("started", flush=True)
run_round(Round((Turn(sys.argv[1], "onnxruntime", "input", "logits", (1, 8, 8), (1,), (1,)),), 1, (), 60.0), ["dense"])
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends a process with its parent")
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_the_process_ends_with_the_one_that_started_it(how: signal.Signals, turn: Turn) -> None:
    with subprocess.Popen([sys.executable, "-c", PARENT, turn.path], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as parent:
        assert parent.stdout
        parent.stdout.readline()
        children = wait_for(lambda: psutil.Process(parent.pid).children())
        wait_for(lambda: "latency_round" in " ".join(children[0].cmdline()))
        wait_for(lambda: children[0].cpu_times().user > 0.3)  # it has come to its turn
        parent.send_signal(how)
        parent.wait(20)
    assert psutil.wait_procs(children, timeout=20)[1] == []


def wait_for(found: Callable[[], list[psutil.Process] | bool], seconds: float = 30) -> "list[psutil.Process]":
    end = time.monotonic() + seconds
    while not (value := found()):
        assert time.monotonic() < end
        time.sleep(0.05)
    return value


def test_the_process_imports_no_more_than_it_needs() -> None:
    asked = io.BytesIO()
    write_frame(asked, Round((), 1, (), 0.0).to_values())
    command = [sys.executable, "-X", "importtime", "-m", "pipeline.latency_round"]
    result = subprocess.run(command, input=asked.getvalue().decode(), capture_output=True, text=True, check=True)
    loaded = {line.rpartition("|")[2].strip().partition(".")[0] for line in result.stderr.splitlines()}
    assert "numpy" in loaded
    assert not loaded & {"torch", "pydantic", "onnx", "onnxruntime", "openvino", "yaml", "rich", "psutil", "fair_pruner"}
