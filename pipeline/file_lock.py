"""One process at a time."""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pipeline.whole_files import make_folder


@contextmanager
def locked(file: Path) -> Iterator[None]:
    """Wait until no other process is in such a block for `.NAME.lock` beside the file; the system ends a killed one's turn."""
    make_folder(file.parent)
    with file.with_name(f".{file.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
