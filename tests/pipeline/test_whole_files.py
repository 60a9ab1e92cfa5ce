import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline import whole_files
from pipeline.errors import InputError
from pipeline.store import Store
from pipeline.whole_files import UNFINISHED, make_folder, remove_abandoned, unfinished_file, write_together

from ..disks import SMALL_BYTES, small_disk


def test_an_unwritable_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot write in"):
        make_folder(tmp_path / "file" / "below")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_read_only_folder_is_refused(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(InputError, match="Permission denied"):
        make_folder(tmp_path)


def test_of_files_that_do_not_fit_together_none_is_written(tmp_path: Path) -> None:
    with small_disk(tmp_path) as disk:
        old = disk / "old.json"
        old.write_bytes(b"old")
        with pytest.raises(InputError, match="no space left"):
            write_together({old: b"new", disk / "m.engine": bytes(SMALL_BYTES)})
        assert [path.name for path in disk.iterdir()] == ["old.json"]
        assert old.read_bytes() == b"old"


def test_files_are_written_together(tmp_path: Path) -> None:
    write_together({tmp_path / "a": b"1", tmp_path / "b.json": b"2"})
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"a": b"1", "b.json": b"2"}


def test_content_is_on_the_disk_before_it_has_its_name_and_the_name_before_that_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[tuple[str, str]] = []

    def name_of(descriptor: int) -> str:
        return Path(f"/proc/self/fd/{descriptor}").resolve().name if sys.platform == "linux" else ""

    sync, replace = os.fsync, Path.replace
    monkeypatch.setattr(os, "fsync", lambda descriptor: (done.append(("fsync", name_of(descriptor))), sync(descriptor)))
    monkeypatch.setattr(Path, "replace", lambda one, other: (done.append(("replace", other.name)), replace(one, other))[1])
    write_together({tmp_path / "a": b"1"})
    assert [what for what, _ in done] == ["fsync", "replace", "fsync"]
    if sys.platform == "linux":
        assert done[0][1].startswith(UNFINISHED)
        assert done[2][1] == tmp_path.name


def test_the_names_of_new_folders_are_brought_to_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Path] = []
    monkeypatch.setattr(whole_files, "sync_folders", asked.extend)
    make_folder(tmp_path / "a" / "b")
    assert asked == [tmp_path / "a", tmp_path]
    asked.clear()
    make_folder(tmp_path / "a" / "b")
    assert asked == []


WRITER = """
import sys
from pathlib import Path
from pipeline.whole_files import unfinished_file
with unfinished_file(Path(sys.argv[1]), ".x") as path:
    path.write_bytes(b"half")
    print(path, flush=True)
    sys.stdin.read()
"""


def test_what_a_killed_process_was_writing_is_removed_and_never_what_a_living_one_writes(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    kept = store.put(b"kept", ".x")
    command = [sys.executable, "-c", WRITER, str(store.root)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout
        left = Path(writer.stdout.readline().strip())
        remove_abandoned(tmp_path)
        assert left.read_bytes() == b"half"
        writer.send_signal(signal.SIGKILL)
    with unfinished_file(store.root, ".y") as own:
        assert left.exists()
        remove_abandoned(tmp_path)
        assert not left.exists()
        assert own.exists()
    assert [path.name for path in store.root.iterdir()] == [kept.path]


def test_a_file_that_is_cleaned_up_before_it_could_be_locked_is_made_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock, taken = whole_files.fcntl.flock, []

    def too_late(descriptor: int, how: int) -> None:
        if not taken:
            (path,) = tmp_path.iterdir()
            path.unlink()
            taken.append(path)
        lock(descriptor, how)

    monkeypatch.setattr(whole_files.fcntl, "flock", too_late)
    with unfinished_file(tmp_path, ".x") as path:
        assert path.exists()
        assert path != taken[0]
