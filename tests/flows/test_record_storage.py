import asyncio
from pathlib import Path

import pytest
from prefect.results import ResultStore

from flows.record_files import RecordSerializer, whole
from flows.record_storage import record_storage
from pipeline import whole_files
from pipeline.records import CalibrationSet

RECORD = CalibrationSet(indices=(1, 2), per_class=1, num_classes=2, seconds=0.5)


def results(folder: Path) -> ResultStore:
    return ResultStore(result_storage=record_storage(folder), serializer=RecordSerializer(), persist_result=True)


def test_prefect_keeps_a_record_there_and_finds_it_again(tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    results(cache).write(RECORD, key="record")
    asyncio.run(results(cache).awrite(RECORD, key="other"))
    assert sorted(path.name for path in cache.iterdir()) == ["other", "record"]
    assert whole(cache / "record")
    assert results(cache).read("record").result == results(cache).read("other").result == RECORD


def test_who_is_killed_while_writing_leaves_the_earlier_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    results(tmp_path).write(RECORD, key="record")
    before = (tmp_path / "record").read_bytes()

    def killed(_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(whole_files, "put_in_place", killed)
    with pytest.raises(KeyboardInterrupt):
        results(tmp_path).write(RECORD.model_copy(update={"indices": (3,)}), key="record")
    assert (tmp_path / "record").read_bytes() == before
    assert whole(tmp_path / "record")
