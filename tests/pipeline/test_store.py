import errno
import os
from pathlib import Path

import pytest

from pipeline.errors import InputError
from pipeline.output import folder_of
from pipeline.records import CalibrationSet, FileRef, Goal, PlanRecord, digest_of, timed
from pipeline.store import Store

from ..disks import SMALL_BYTES, small_disk


def test_content_decides_the_name_and_equal_content_shares_a_file(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    first, again, other = store.put(b"a", ".x"), store.put(b"a", ".x"), store.put(b"b", ".x")
    assert first == again != other
    assert store.path(first).read_bytes() == b"a"
    assert len(list(store.root.iterdir())) == 2


def test_a_writer_that_fails_leaves_nothing(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    with pytest.raises(RuntimeError), store.writing(".x") as (path, _):
        path.write_bytes(b"half")
        raise RuntimeError
    assert list(store.root.iterdir()) == []


def plan(ref: FileRef) -> PlanRecord:
    return PlanRecord(
        plan=ref,
        goal=Goal(quantity="tolerance", value=0.1),
        rule="tod",
        rounds=1,
        tolerance=0.1,
        limit=None,
        depths=(),
        units=4,
        units_removed=1,
        params=1,
        macs=1,
        weights_bytes=4,
        removed_mass=0.0,
        mass_bound=0.0,
        random_mass=0.0,
        uniform_mass=0.0,
        exchange_margin=0.0,
    )


def test_a_missing_or_altered_file_is_noticed(tmp_path: Path) -> None:
    store = Store(tmp_path)
    record = plan(store.put(b"content", ".json"))
    assert store.intact(record)
    store.path(record.plan).write_bytes(b"changed")
    assert not store.intact(record)
    store.path(record.plan).unlink()
    assert not store.intact(record)
    with pytest.raises(InputError, match="missing from the store"):
        store.path(record.plan)


def test_adding_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="does not exist"):
        Store(tmp_path / "store").add(tmp_path / "none.pt")


def test_a_digest_tells_content_apart_and_leaves_out_what_was_merely_measured() -> None:
    record = CalibrationSet(indices=(1, 2), per_class=1, num_classes=2)
    assert record.digest == record.model_copy(update={"seconds": 9.0}).digest
    assert record.digest != record.model_copy(update={"indices": (2, 1)}).digest
    assert CalibrationSet.model_validate_json(record.model_dump_json()) == record
    assert digest_of({"a": 1, "b": 2}) == digest_of({"b": 2, "a": 1})


def test_timed_writes_the_seconds_into_the_record() -> None:
    record = timed(lambda: CalibrationSet(indices=(), per_class=1, num_classes=2))()
    assert record.seconds > 0


def test_a_full_disk_is_one_sentence_and_leaves_nothing(tmp_path: Path) -> None:
    with small_disk(tmp_path) as disk:
        store = Store(disk / "store")
        kept = store.put(b"before", ".x")
        with pytest.raises(InputError, match=f"^no space left in {store.root}: free some, or set the output elsewhere$"):
            store.put(bytes(SMALL_BYTES), ".engine")
        assert [path.name for path in store.root.iterdir()] == [kept.path]
        assert store.put(b"after", ".x")


@pytest.mark.parametrize(
    ("number", "message"),
    [
        (errno.ENOSPC, "no space left in"),
        (errno.EDQUOT, "no space left in"),
        (errno.EROFS, "Read-only file system; set the output"),
        (errno.EFBIG, "File too large"),
    ],
)
def test_what_ends_the_writing_is_told_also_if_the_block_finds_out(number: int, message: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=message), Store(tmp_path).writing(".x"):
        raise OSError(number, os.strerror(number))
    assert list(tmp_path.iterdir()) == []


def test_other_errors_of_the_block_are_its_own(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), Store(tmp_path).writing(".x"):
        (tmp_path / "none").read_bytes()


def test_a_store_that_is_shared_is_filled_from_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAIR_PRUNER_CACHE", str(tmp_path / "one"))
    there, here = (tmp_path / "shared").as_uri(), []
    for machine in ("one", "other"):
        monkeypatch.setenv("FAIR_PRUNER_CACHE", str(tmp_path / machine))
        here.append(Store(folder_of(there) / "store"))
    one, other = here
    monkeypatch.setenv("FAIR_PRUNER_CACHE", str(tmp_path / "one"))
    record = plan(one.put(b"content", ".json"))
    ref, object_ = record.plan, tmp_path / "shared" / "store" / record.plan.path
    assert object_.read_bytes() == b"content"

    monkeypatch.setenv("FAIR_PRUNER_CACHE", str(tmp_path / "other"))
    assert other.path(ref).read_bytes() == b"content"
    other.path(ref).write_bytes(b"altered")
    assert other.intact(record)  # from there, again
    assert other.path(ref).read_bytes() == b"content"
    object_.unlink()
    assert other.intact(record)  # and it is there again
    assert object_.read_bytes() == b"content"

    object_.write_bytes(b"contenu")
    other.path(ref).unlink()
    assert not other.intact(record)
    with pytest.raises(InputError, match="missing from the store"):
        other.path(ref)
    assert list(other.root.iterdir()) == []
    assert other.put(b"content", ".json") == ref
    assert object_.read_bytes() == b"content"
