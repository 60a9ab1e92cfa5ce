"""Files in the working folder of a URL, and the same files where machines share them; for all other files nothing happens."""

from collections.abc import Callable
from pathlib import Path

from pipeline.output import shared_at


def send(path: Path) -> None:
    """Let the other machines see a file as it is here. Raises StageError if the place cannot be reached."""
    if found := shared_at(path):
        remote, name = found
        remote.send(path, name)


def send_if_lost(path: Path) -> None:
    """The same if no file of its size is there: it went lost, or never came there."""
    if found := shared_at(path):
        remote, name = found
        if remote.size(name) != path.stat().st_size:
            remote.send(path, name)


def fetch(path: Path, whole: Callable[[Path], bool] = Path.is_file) -> bool:
    """Take over what the other machines see, unless there is nothing or `whole` says no to it. Returns whether that was done."""
    found = shared_at(path)
    if not found:
        return False
    remote, name = found
    return remote.fetch(name, path, whole)


def remove(path: Path) -> None:
    """Let the other machines see no such file any more."""
    if found := shared_at(path):
        remote, name = found
        remote.remove(name)
