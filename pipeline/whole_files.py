"""Files that are written whole or not at all, whatever ends the process or the machine meanwhile."""

import errno
import fcntl
import os
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from pipeline.errors import InputError

UNFINISHED = ".writing-"  # how the name of a file begins while it is written
NO_SPACE = frozenset({errno.ENOSPC, errno.EDQUOT})
NOT_WRITABLE = frozenset({errno.EFBIG, errno.EROFS})  # nothing but writing ends so


def write_together(files: Mapping[Path, bytes]) -> None:
    """Write files whole, and touch none before all have found room. Raises InputError if the disk is full or not writable."""
    with ExitStack() as stack:
        written = {}
        for path, content in files.items():
            unfinished = stack.enter_context(unfinished_file(path.parent, path.suffix))
            unfinished.write_bytes(content)
            written[unfinished] = path
        put_in_place(written)


@contextmanager
def unfinished_file(folder: Path, suffix: str) -> Iterator[Path]:
    """An empty file in `folder` to be written, which is gone after the block unless it was put in place.

    Raises InputError if the disk is full or the folder not writable, also where the block finds out.
    """
    descriptor = None
    try:
        descriptor, path = _locked(folder, suffix)
        yield path
    except OSError as error:
        if error.errno in NO_SPACE:
            raise InputError(f"no space left in {folder}: free some, or set the output elsewhere") from error
        if error.errno in NOT_WRITABLE:
            raise InputError(f"cannot write in {folder}: {error.strerror}; set the output elsewhere") from error
        raise
    finally:
        if descriptor is not None:
            path.unlink(missing_ok=True)
            os.close(descriptor)


def put_in_place(files: Mapping[Path, Path]) -> None:
    """Give finished files their names, in this order; content and names are on the disk when this returns."""
    for unfinished, path in files.items():
        with unfinished.open("rb") as file:
            os.fsync(file.fileno())  # some file systems tell only now that the disk is full
        unfinished.chmod(0o644)
        unfinished.replace(path)
    sync_folders(path.parent for path in files.values())


def make_folder(folder: Path) -> None:
    """Create a folder with its parents and see that files can be written there; raises InputError if not."""
    try:
        new = [each for each in (folder, *folder.parents) if not each.exists()]
        folder.mkdir(parents=True, exist_ok=True)
        sync_folders(each.parent for each in new)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise InputError(f"cannot write in {folder}: {error.strerror}; choose another `output` folder") from error


def sync_folders(folders: Iterable[Path]) -> None:
    """Bring the names that stand in folders to the disk: a renamed file could have its old name after a power cut otherwise."""
    for folder in set(folders):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            with suppress(OSError):  # network file systems do not all offer it for folders
                os.fsync(descriptor)
        finally:
            os.close(descriptor)


def remove_abandoned(output: Path) -> None:
    """Remove what killed processes were writing in the folders of `output`. A living process holds a lock on what it writes."""
    for path in output.glob(f"*/{UNFINISHED}*"):
        with suppress(OSError), path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            path.unlink()


def _locked(folder: Path, suffix: str) -> tuple[int, Path]:
    """A new file that nobody takes for abandoned: the system drops the lock with the process, however that ends."""
    while True:
        descriptor, name = tempfile.mkstemp(suffix=suffix, prefix=UNFINISHED, dir=folder)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        if os.fstat(descriptor).st_nlink:
            return descriptor, Path(name)
        os.close(descriptor)  # somebody cleaned up before it was locked
