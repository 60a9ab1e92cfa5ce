"""A disk so small that it is full at once."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

SMALL_BYTES = 128 * 1024


@contextmanager
def small_disk(folder: Path) -> Iterator[Path]:
    """A new file system of SMALL_BYTES in `folder`; skips the test where none may be mounted (only root may)."""
    disk = folder / "disk"
    disk.mkdir()
    try:
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={SMALL_BYTES}", "none", disk], check=True, capture_output=True)  # noqa: S607
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("no file system may be mounted here")
    try:
        yield disk
    finally:
        subprocess.run(["umount", disk], check=True)  # noqa: S607
