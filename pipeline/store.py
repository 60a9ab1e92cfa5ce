"""Where records' files live: named by their content, written whole or not at all."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pipeline.errors import InputError
from pipeline.records import FileRef, Record
from pipeline.shared import fetch, send, send_if_lost
from pipeline.sums import digest_of_file
from pipeline.whole_files import make_folder, put_in_place, unfinished_file


@dataclass(frozen=True)
class Store:
    """A folder of files named by the first 32 digits of their SHA-256. Two runs that make the same bytes share a file.

    In the working folder of a URL the files lie there too: what is put here is sent, and what is missing here is fetched.
    """

    root: Path

    def put(self, content: bytes, suffix: str) -> FileRef:
        """Save bytes; `suffix` with its dot. Returns the reference that a record holds."""
        with self.writing(suffix) as (unfinished, ref):
            unfinished.write_bytes(content)
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
        with unfinished_file(self.root, suffix) as unfinished:
            ref = _Ref()
            yield unfinished, ref
            sha256 = digest_of_file(unfinished)
            ref.value = FileRef(path=sha256[:32] + suffix, sha256=sha256, size_bytes=unfinished.stat().st_size)
            put_in_place({unfinished: self.root / ref.value.path})
            send(self.root / ref.value.path)

    def path(self, ref: FileRef) -> Path:
        """Where the file lies; raises InputError if it is gone."""
        path = self.root / ref.path
        if not path.is_file() and not self._fetched(ref):
            raise InputError(f"{path} is missing from the store; run again to make it anew")
        return path

    def intact(self, record: Record) -> bool:
        """Whether every file the record names is there with the content it had."""
        return all(self._same(ref) for ref in record.files())

    def _same(self, ref: FileRef) -> bool:
        path = self.root / ref.path
        if not path.is_file() or digest_of_file(path) != ref.sha256:
            return self._fetched(ref)
        send_if_lost(path)
        return True

    def _fetched(self, ref: FileRef) -> bool:
        return fetch(self.root / ref.path, lambda copy: digest_of_file(copy) == ref.sha256)


class _Ref:
    """Holds the reference until the block that writes the file is left."""

    value: FileRef

    def __call__(self) -> FileRef:
        return self.value
