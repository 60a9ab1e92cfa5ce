import os
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest

from pipeline.build_process import build
from pipeline.compile_engine import OnnxSource, RefusedModelError
from pipeline.config import EngineConfig
from pipeline.errors import StageError

CONFIG = EngineConfig()


def test_an_engine_comes_back_with_what_was_said_and_what_it_took(source: OnnxSource, rtx: Any) -> None:
    built = build(rtx, source, CONFIG, None)
    assert built.engine.startswith(b"vtrt")
    assert f"[I] Input filename: {source.path}\n" in built.log
    assert built.seconds > 0
    assert built.peak_memory_bytes > len(built.engine)


def test_failures_come_back_as_what_they_are(source: OnnxSource, rtx: Any) -> None:
    source.path.write_bytes(b"no protobuf at all")
    with pytest.raises(RefusedModelError, match="does not understand the ONNX file") as caught:
        build(rtx, source, CONFIG, None)
    assert "[E] " in caught.value.log


def test_a_build_that_takes_too_much_memory_is_ended(source: OnnxSource, rtx: Any) -> None:
    message = r"^building an engine of m.onnx took more than 100 MiB and was ended; raise engine.max_memory_mb, or lower"
    with pytest.raises(StageError, match=message):
        build(rtx, source, EngineConfig(max_memory_mb=100), None)


LIBRARY = """
import ctypes
__version__ = "0"
ctypes.CDLL(None).pause()
"""
PARENT = """
import signal, sys
from pathlib import Path
from types import SimpleNamespace
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job ignores it
from pipeline.build_process import build
from pipeline.compile_engine import OnnxSource
from pipeline.config import EngineConfig
print("started", flush=True)
build(SimpleNamespace(__name__="hanging_library"), OnnxSource(Path("m.onnx"), "input", (1, 8, 8)), EngineConfig(), None)
"""


@pytest.fixture
def hanging(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A library that never comes back from a native call."""
    (tmp_path / "hanging_library.py").write_text(LIBRARY)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    return SimpleNamespace(__name__="hanging_library")


@pytest.mark.skipif(os.name != "posix", reason="signals as POSIX has them")
def test_a_build_that_hangs_is_ended(source: OnnxSource, hanging: Any) -> None:
    message = r"^building an engine of m.onnx took more than 2 s and was ended; raise engine.max_seconds, or lower"
    with pytest.raises(StageError, match=message):
        build(hanging, source, EngineConfig(max_seconds=2), None)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends a process with its parent")
def test_ctrl_c_ends_the_build(hanging: Any) -> None:
    code = [sys.executable, "-c", PARENT]
    with subprocess.Popen(code, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as parent:
        assert parent.stdout
        assert parent.stderr
        parent.stdout.readline()
        while not (children := psutil.Process(parent.pid).children()):
            pass
        parent.send_signal(signal.SIGINT)
        assert "KeyboardInterrupt" in parent.stderr.read()
    assert psutil.wait_procs(children, timeout=20)[1] == []
