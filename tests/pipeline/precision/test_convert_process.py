import logging
import os
import tempfile
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.config import QuantizeConfig
from pipeline.convert_process import convert
from pipeline.errors import InputError, StageError
from pipeline.exported import OnnxRecord
from pipeline.half import to_half
from pipeline.int8 import to_int8
from pipeline.runners import Images
from pipeline.store import Store
from pipeline.watched_process import Limits

every_precision = pytest.mark.parametrize("precision", ["fp16", "int8-cpu", "int8-trt"])
on_posix = pytest.mark.skipif(os.name != "posix", reason="signals as POSIX has them")
BATCHES = np.random.default_rng(0).standard_normal((3, 5, 1, 8, 8)).astype(np.float32)


@pytest.fixture
def source(exported: tuple[Store, OnnxRecord]) -> Path:
    store, record = exported
    return store.path(record.file)


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of temporary files, which nobody else uses."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


def with_own_onnx(folder: Path, code: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the processes that are started find this code where onnx should be."""
    (folder / "onnx.py").write_text(f"import ctypes, os, signal, tempfile\ntempfile.mkdtemp()\n{code}\n")
    monkeypatch.setenv("PYTHONPATH", str(folder))


@every_precision
def test_another_process_converts_to_the_same_bytes(precision: Any, source: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        expected = (
            to_half(source, "input", iter(BATCHES)) if precision == "fp16" else to_int8(source, precision, "input", iter(BATCHES))
        )
        said = caplog.messages.copy()
        caplog.clear()
        found = convert(source, precision, "input", iter(BATCHES), Limits())
    assert found.SerializeToString(deterministic=True) == expected.SerializeToString(deterministic=True)
    assert caplog.messages == said
    assert len(said) == (precision == "fp16")


def test_batches_are_loaded_when_they_are_wanted(source: Path) -> None:
    """All of them at once would be 30 MB."""

    def images() -> Iterator[Images]:
        for _ in range(30):
            yield np.zeros((4096, 1, 8, 8), np.float32)

    tracemalloc.start()
    try:
        convert(source, "int8-cpu", "input", images(), Limits())
        assert tracemalloc.get_traced_memory()[1] < 10e6
    finally:
        tracemalloc.stop()


def test_images_that_cannot_be_loaded_end_the_conversion(source: Path) -> None:
    def images() -> Iterator[Images]:
        yield BATCHES[0]
        raise InputError("an image cannot be read; remove it")

    with pytest.raises(InputError, match="an image cannot be read; remove it"):
        convert(source, "int8-cpu", "input", images(), Limits())


@on_posix
def test_a_conversion_that_hangs_or_takes_too_much_is_ended(
    source: Path, tmp_path: Path, temporary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    message = rf"^converting {source.name} to fp16 took more than %s and was ended; raise quantize.%s, or lower quantize.samples"
    with pytest.raises(StageError, match=message % ("16 MiB", "max_memory_mb")):
        convert(source, "fp16", "input", iter(BATCHES), QuantizeConfig(max_memory_mb=16).limits("quantize"))
    with_own_onnx(tmp_path, "ctypes.CDLL(None).pause()", monkeypatch)
    with pytest.raises(StageError, match=message % ("2 s", "max_seconds")):
        convert(source, "fp16", "input", iter(BATCHES), QuantizeConfig(max_seconds=2).limits("quantize"))
    assert not list(temporary.iterdir())


@on_posix
@pytest.mark.parametrize(
    ("code", "kind", "message"),
    [
        (
            "os.kill(os.getpid(), signal.SIGSEGV)",
            StageError,
            "^the process that was converting .* to fp16 died of SIGSEGV and said nothing",
        ),
        ("raise RuntimeError('std::bad_alloc')", StageError, r"has run out of memory \(std::bad_alloc\); lower quantize.samples"),
        (
            "raise RuntimeError('no such\\nthing')",
            StageError,
            "^the model cannot be converted to fp16: RuntimeError: no such; leave that precision out of quantize.precisions$",
        ),
        (
            "raise OSError(28, 'No space left on device')",
            InputError,
            r"^the model cannot be converted to fp16: \[Errno 28\] No space left on device; free space in {}, or set TMPDIR",
        ),
    ],
)
def test_why_there_is_no_file_is_one_sentence(
    code: str,
    kind: type[Exception],
    message: str,
    source: Path,
    tmp_path: Path,
    temporary: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with_own_onnx(tmp_path, code, monkeypatch)
    with pytest.raises(kind, match=message.replace("{}", str(temporary))) as caught:
        convert(source, "fp16", "input", iter(BATCHES), QuantizeConfig().limits("quantize"))
    assert "\n" not in str(caught.value)
    assert not list(temporary.iterdir())
