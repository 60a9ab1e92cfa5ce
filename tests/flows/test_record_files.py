import json
import pickle
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prefect.results import ResultStore

from flows.record_files import AlteredRecordError, RecordSerializer, whole
from flows.record_storage import record_storage
from pipeline.records import CalibrationSet

RECORD = CalibrationSet(indices=(1, 2), per_class=1, num_classes=2, seconds=0.5)


def written(folder: Path) -> Path:
    """A record as Prefect keeps it."""
    ResultStore(result_storage=record_storage(folder), serializer=RecordSerializer(), persist_result=True).write(
        RECORD, key="record"
    )
    return folder / "record"


def test_a_record_comes_back_as_it_was() -> None:
    serializer = RecordSerializer()
    assert serializer.loads(serializer.dumps(RECORD)) == RECORD


@given(place=st.integers(0, 10**6), bit=st.integers(0, 7))
def test_no_flipped_bit_goes_unnoticed(place: int, bit: int) -> None:
    content = bytearray(RecordSerializer().dumps(RECORD))
    content[place % len(content)] ^= 1 << bit
    with pytest.raises(AlteredRecordError):
        RecordSerializer().loads(bytes(content))


@given(content=st.binary(max_size=200) | st.recursive(st.none() | st.text(), lambda inner: st.dictionaries(st.text(), inner)).map(
    lambda value: json.dumps(value).encode()
))  # fmt: skip
def test_anything_else_is_refused(content: bytes) -> None:
    with pytest.raises(AlteredRecordError):
        RecordSerializer().loads(content)


def test_a_text_that_is_nested_without_end_is_refused(tmp_path: Path) -> None:
    with pytest.raises(AlteredRecordError):
        RecordSerializer().loads(b"[" * 10**6)
    (tmp_path / "deep").write_bytes(b'{"metadata":' * 10**5)
    assert not whole(tmp_path / "deep")


@settings(max_examples=30, deadline=None)
@given(keep=st.floats(0, 0.999))
def test_a_torn_file_is_not_whole(tmp_path_factory: pytest.TempPathFactory, keep: float) -> None:
    file = written(tmp_path_factory.mktemp("cache"))
    assert whole(file)
    content = file.read_bytes()
    file.write_bytes(content[: int(keep * len(content))])
    assert not whole(file)


def test_a_file_that_names_the_pickle_serializer_is_not_read(tmp_path: Path) -> None:
    file = written(tmp_path)
    values = json.loads(file.read_text())
    values["metadata"]["serializer"] = {"type": "pickle"}
    values["result"] = pickle.dumps(print).decode("latin-1")
    file.write_text(json.dumps(values))
    assert not whole(file)


def test_a_file_that_is_not_there_is_not_whole(tmp_path: Path) -> None:
    assert not whole(tmp_path / "nothing")
