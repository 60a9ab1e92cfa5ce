"""The folder of a bundle: whole or not there, every file with its checksum, and nobody else's files at risk."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pipeline.errors import InputError
from pipeline.manifest import BundledFile
from pipeline.records import FileRef
from pipeline.store import Store
from pipeline.sums import SUMS, digest_of_file, sums_text
from pipeline.whole_files import make_folder, sync_folders

MARK = ".fair-pruner-bundle"  # lies in every bundle, and in no other folder


def check_free(target: Path, force: bool) -> None:
    """Raises InputError if `target` is there, unless it is empty, or with `force` a bundle in which nobody has put anything."""
    if target.is_symlink() or (target.exists() and not target.is_dir()):
        raise InputError(f"{target} is in the way and is no folder; move it, or choose another --output")
    if not target.is_dir() or not any(target.iterdir()):
        return
    if not (target / MARK).is_file():
        raise InputError(f"{target} is in the way and is no bundle; move it, or choose another --output")
    if not force:
        raise InputError(f"{target} holds an earlier bundle; replace it with --force, or choose another --output")
    sums = target / SUMS
    text = sums.read_text(encoding="utf-8", errors="replace") if sums.is_file() else ""
    listed = {line.partition("  ")[2] for line in text.splitlines()}
    for path in _paths(target):
        if path not in listed | {SUMS}:
            raise InputError(f"{target} holds {path}, which came after the bundle; move it elsewhere, --force would remove it")


@contextmanager
def whole(target: Path) -> Iterator[Path]:
    """A folder to write into, which is `target` after the block, unless that failed. An OSError becomes an InputError."""
    make_folder(target.parent)
    scratch = Path(tempfile.mkdtemp(prefix=".bundle-", dir=target.parent))
    folder, earlier = scratch / "bundle", scratch / "earlier"
    try:
        folder.mkdir()
        yield folder
        _sync(folder)
        if target.is_dir():
            target.rename(earlier)
        try:
            folder.rename(target)
        except OSError:
            if earlier.is_dir():
                earlier.rename(target)
            raise
        sync_folders([target.parent])
    except OSError as error:
        raise InputError(f"cannot write {target}: {error.strerror}; free space there, or choose another --output") from error
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def copy(ref: FileRef, store: Store, path: Path) -> None:
    """Copy a file of the store. Raises InputError if it is gone or not what its record says."""
    source = store.path(ref)
    path.parent.mkdir(exist_ok=True)
    shutil.copyfile(source, path)
    if digest_of_file(path) != ref.sha256:
        raise InputError(f"{source} is damaged, it is not the file that the report names; run again to make it anew")


def link(source: Path, path: Path) -> None:
    """The same file under another name, or a copy where hard links cannot be made."""
    try:
        os.link(source, path)
    except OSError:
        shutil.copyfile(source, path)


def write(path: Path, text: str) -> None:
    """A text file with the line ends of Unix everywhere, and the folders above it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8", newline="\n")


def seal(folder: Path) -> tuple[BundledFile, ...]:
    """Mark a bundle and write SHA256SUMS as sha256sum does; returns all files by name."""
    write(folder / MARK, "")
    write(folder / SUMS, sums_text({file.path: file.sha256 for file in _files(folder)}))
    return _files(folder)


def bundled(folder: Path, path: str) -> BundledFile:
    """What a file in the folder is."""
    return BundledFile(path=path, sha256=digest_of_file(folder / path), size_bytes=(folder / path).stat().st_size)


def _sync(folder: Path) -> None:
    """Bring a folder to the disk, before it takes the place of an earlier one."""
    for path in _paths(folder):
        with (folder / path).open("rb") as file:
            os.fsync(file.fileno())
    sync_folders([folder, *(path for path in folder.rglob("*") if path.is_dir())])


def _files(folder: Path) -> tuple[BundledFile, ...]:
    return tuple(bundled(folder, path) for path in _paths(folder))


def _paths(folder: Path) -> list[str]:
    """Of all files, relative to the folder, sorted."""
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if not path.is_dir())
