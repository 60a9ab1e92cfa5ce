"""Where records' files live: named by their content, written whole or not at all."""

import hashlib
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pipeline.errors import InputError
from pipeline.records import FileRef, Record


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
        """A path to write a file at; after the block it is in the store and the second value, called, is its FileRef."""
        make_folder(self.root)
        descriptor, name = tempfile.mkstemp(suffix=suffix, prefix=".writing-", dir=self.root)
        os.close(descriptor)
        temporary, ref = Path(name), _Ref()
        try:
            yield temporary, ref
            with temporary.open("rb") as file:
                sha256 = hashlib.file_digest(file, "sha256").hexdigest()
                os.fsync(file.fileno())
            ref.value = FileRef(path=sha256[:32] + suffix, sha256=sha256, size_bytes=temporary.stat().st_size)
            temporary.chmod(0o644)
            temporary.replace(self.root / ref.value.path)
        finally:
            temporary.unlink(missing_ok=True)

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


def make_folder(folder: Path) -> None:
    """Create a folder with its parents and see that files can be written there; raises InputError if not."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise InputError(f"cannot write in {folder}: {error.strerror}; choose another `output` folder") from error
