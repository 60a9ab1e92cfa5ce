"""Where records' files live: named by their content, written whole or not at all."""

import errno
import hashlib
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from pipeline.errors import InputError
from pipeline.records import FileRef, Record

NO_SPACE = frozenset({errno.ENOSPC, errno.EDQUOT})
NOT_WRITABLE = frozenset({errno.EFBIG, errno.EROFS})  # nothing but writing ends so


@dataclass(frozen=True)
class Store:
    """A folder of files named by the first 32 digits of their SHA-256. Two runs that make the same bytes share a file."""

    root: Path

    def put(self, content: bytes, suffix: str) -> FileRef:
        """Save bytes; `suffix` with its dot. Returns the reference that a record holds."""
        with self.writing(suffix) as (temporary, ref):
            temporary.write_bytes(content)
        return ref()

    def add(self, file: Path) -> FileRef:
        """Copy a file into the store. Raises InputError if it does not exist."""
        if not file.is_file():
            raise InputError(f"{file} does not exist")
        return self.put(file.read_bytes(), file.suffix)

    @contextmanager
    def writing(self, suffix: str) -> "Iterator[tuple[Path, _Ref]]":
        """A path to write a file at; after the block it is in the store and the second value, called, is its FileRef.

        Raises InputError if the disk is full or the folder not writable, also where the block finds out. Nothing is left
        then.
        """
        make_folder(self.root)
        with _temporary(self.root, suffix) as temporary:
            ref = _Ref()
            yield temporary, ref
            with temporary.open("rb") as file:
                sha256 = hashlib.file_digest(file, "sha256").hexdigest()
            ref.value = FileRef(path=sha256[:32] + suffix, sha256=sha256, size_bytes=temporary.stat().st_size)
            _finish(temporary, self.root / ref.value.path)

    def path(self, ref: FileRef) -> Path:
        """Where the file lies; raises InputError if it is gone."""
        path = self.root / ref.path
        if not path.is_file():
            raise InputError(f"{path} is missing from the store; run again to make it anew")
        return path

    def intact(self, record: Record) -> bool:
        """Whether every file the record names is there with the content it had."""
        return all(self._same(ref) for ref in record.files())

    def _same(self, ref: FileRef) -> bool:
        try:
            with (self.root / ref.path).open("rb") as file:
                return hashlib.file_digest(file, "sha256").hexdigest() == ref.sha256
        except FileNotFoundError:
            return False


class _Ref:
    """Holds the reference until the block that writes the file is left."""

    value: FileRef

    def __call__(self) -> FileRef:
        return self.value


def write_together(files: Mapping[Path, bytes]) -> None:
    """Write files whole, and touch none before all have found room. Raises InputError if the disk is full or not writable."""
    with ExitStack() as stack:
        written = []
        for path, content in files.items():
            temporary = stack.enter_context(_temporary(path.parent, path.suffix))
            temporary.write_bytes(content)
            written.append((temporary, path))
        for temporary, path in written:
            _finish(temporary, path)


@contextmanager
def _temporary(folder: Path, suffix: str) -> Iterator[Path]:
    """An empty file in `folder`, which is gone after the block unless it was given another name."""
    temporary = None
    try:
        descriptor, name = tempfile.mkstemp(suffix=suffix, prefix=".writing-", dir=folder)
        os.close(descriptor)
        temporary = Path(name)
        yield temporary
    except OSError as error:
        if error.errno in NO_SPACE:
            raise InputError(f"no space left in {folder}: free some, or set the output elsewhere") from error
        if error.errno in NOT_WRITABLE:
            raise InputError(f"cannot write in {folder}: {error.strerror}; set the output elsewhere") from error
        raise
    finally:
        if temporary:
            temporary.unlink(missing_ok=True)


def _finish(temporary: Path, path: Path) -> None:
    with temporary.open("rb") as file:
        os.fsync(file.fileno())  # some file systems tell only now that the disk is full
    temporary.chmod(0o644)
    temporary.replace(path)


def make_folder(folder: Path) -> None:
    """Create a folder with its parents and see that files can be written there; raises InputError if not."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise InputError(f"cannot write in {folder}: {error.strerror}; choose another `output` folder") from error
