from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline import engine_file
from pipeline.build_engine import build_engine
from pipeline.config import EngineConfig
from pipeline.engine_file import HEADER_BYTES, EngineHeader, check_engine, read_header
from pipeline.errors import InputError
from pipeline.exported import EngineRecord, OnnxRecord
from pipeline.records import FileRef
from pipeline.store import Store


@pytest.fixture
def rtx() -> Any:
    return pytest.importorskip("tensorrt_rtx")


@pytest.fixture
def built(onnx_record: OnnxRecord, store: Store, rtx: Any) -> tuple[Path, EngineRecord]:
    """A real engine of TensorRT-RTX."""
    record = build_engine(onnx_record, EngineConfig(), store)
    assert record.file
    return store.path(record.file), record


def engine(magic: bytes, version: tuple[int, int, int, int] = (10, 9, 0, 34), form: int = 0, length: int = 100) -> bytes:
    """100 bytes that begin as an engine does."""
    return (magic + bytes([form, 0, 0, 0]) + bytes(8) + length.to_bytes(8, "little") + bytes(version)).ljust(100, b"\0")


def test_the_header_of_a_real_engine_tells_its_library_version_and_length(
    built: tuple[Path, EngineRecord], rtx: Any, store: Store
) -> None:
    path, record = built
    assert check_engine(path, record) == EngineHeader("tensorrt_rtx", rtx.__version__, path.stat().st_size)
    assert check_engine(path) == check_engine(path, record)


def test_an_engine_of_tensorrt_tells_its_version_and_no_length(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "m.engine"
    path.write_bytes(engine(b"ftrt", length=7))
    monkeypatch.setattr(engine_file, "installed_version", lambda _: "10.9.0.34")
    assert check_engine(path) == EngineHeader("tensorrt", "10.9.0.34", None)


@pytest.mark.parametrize("content", [engine(b"wtrt"), engine(b"vtrt", form=1), engine(b"ftrt", form=2)])
def test_what_is_of_an_unknown_form_is_not_judged(content: bytes, tmp_path: Path) -> None:
    assert read_header(content) == EngineHeader("", "", None)
    (tmp_path / "m.engine").write_bytes(content)
    assert check_engine(tmp_path / "m.engine") == EngineHeader("", "", None)


@pytest.mark.parametrize("major", [0, 31, 255])
def test_numbers_that_are_no_version_are_not_one(major: int) -> None:
    assert read_header(engine(b"vtrt", (major, 0, 0, 0))) == EngineHeader("tensorrt_rtx", "", 100)


@given(st.binary(max_size=HEADER_BYTES))
def test_any_bytes_are_either_read_or_refused(start: bytes) -> None:
    try:
        assert read_header(start) and start[1:4] == b"trt"
    except InputError:
        assert start[1:4] != b"trt" or len(start) < HEADER_BYTES


def refused(path: Path, record: EngineRecord | None = None) -> str:
    with pytest.raises(InputError) as caught:
        check_engine(path, record)
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith(str(path))
    return str(caught.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is not a TensorRT engine: it begins with b'', an engine with b'ftrt or vtrt'; build it from its ONNX file"),
        (b"PK\x03\x04" + bytes(100), "it begins with b'PK\\x03\\x04'"),
        (b"vtrt" + bytes(20), "it has 24 bytes, an engine more than 64"),
    ],
)
def test_what_is_no_engine_is_refused(content: bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / "m.engine"
    path.write_bytes(content)
    assert message in refused(path)


def test_a_missing_engine_is_refused(tmp_path: Path) -> None:
    assert "does not exist; give the path of an engine" in refused(tmp_path / "none.engine")


def test_an_engine_that_was_cut_off_or_added_to_is_refused(built: tuple[Path, EngineRecord], tmp_path: Path) -> None:
    path, record = built
    content, altered = path.read_bytes(), tmp_path / "altered.engine"
    altered.write_bytes(content[:-1])
    assert f"has {len(content) - 1} bytes, its header says {len(content)}: it was cut off" in refused(altered)
    altered.write_bytes(content + b"\0")
    assert f"its header says {len(content)}: something was added to it; copy or build it anew" in refused(altered, record)


def test_an_engine_without_a_length_in_its_header_is_held_to_its_record(tmp_path: Path) -> None:
    path = tmp_path / "m.engine"
    path.write_bytes(engine(b"ftrt"))
    record = EngineRecord(status="built", file=FileRef(path="m.engine", sha256="", size_bytes=101))
    assert "has 100 bytes, its record says 101: it was cut off" in refused(path, record)


def test_a_flipped_byte_is_refused(built: tuple[Path, EngineRecord]) -> None:
    path, record = built
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    assert check_engine(path).library == "tensorrt_rtx"  # the header alone does not show it
    assert "has another SHA-256 than its record says: it is corrupted; copy or build it anew" in refused(path, record)


def test_an_engine_of_another_version_is_refused(built: tuple[Path, EngineRecord], rtx: Any) -> None:
    path, _ = built
    content = bytearray(path.read_bytes())
    content[25] -= 1
    path.write_bytes(content)
    found = ".".join(map(str, content[24:28]))
    message = refused(path)
    assert f"was built by tensorrt_rtx {found}, installed is {rtx.__version__}, and engines run in the version" in message
    assert f"build it anew from its ONNX file, or install {found}" in message


@pytest.mark.parametrize(("version", "installed"), [((10, 0, 0, 6), "10.0.0b6"), ((1, 8, 0, 44), "1.8.0.300")])
def test_a_version_is_the_same_as_its_bytes(
    version: tuple[int, int, int, int], installed: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "m.engine"
    path.write_bytes(engine(b"vtrt", version))
    monkeypatch.setattr(engine_file, "installed_version", lambda _: installed)
    assert check_engine(path).library == "tensorrt_rtx"


def test_where_the_header_is_silent_the_record_tells_the_version(tmp_path: Path, rtx: Any) -> None:
    path = tmp_path / "m.engine"
    path.write_bytes(engine(b"wtrt"))
    record = EngineRecord(status="built", library="tensorrt_rtx", library_version="1.0.0.1")
    assert "was built by tensorrt_rtx 1.0.0.1, installed is" in refused(path, record)


def test_without_the_library_nothing_is_said_of_the_version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "m.engine"
    path.write_bytes(engine(b"vtrt", (1, 0, 0, 1)))
    monkeypatch.setattr(engine_file, "installed_version", lambda _: "")
    assert check_engine(path).version == "1.0.0.1"
