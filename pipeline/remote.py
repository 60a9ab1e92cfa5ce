"""A place that machines share, reached through fsspec: whole files below a URL, by name."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any
from uuid import uuid4

from pipeline.errors import InputError, PipelineError, StageError
from pipeline.whole_files import UNFINISHED, make_folder, put_in_place, unfinished_file


@dataclass(frozen=True)
class Remote:
    """Files below a URL such as s3://bucket/prefix; who may reach it is told by the environment, never by the URL.

    Raises InputError if nothing that is installed knows the scheme, StageError if the place cannot be reached or refuses.
    """

    url: str

    def check(self) -> None:
        """See that files can be written, read and removed. Raises InputError if not."""
        path, content = self._path(_temporary_name()), b"fair-pruner"
        try:
            with self._said("cannot be used"):
                if self._is_folder:
                    Path(path).parent.mkdir(parents=True, exist_ok=True)
                self._system.pipe_file(path, content)
                found = self._system.cat_file(path)
                self._system.rm_file(path)
        except StageError as error:
            raise InputError(f"{error}; check its name and what grants access to it, or set the output elsewhere") from error
        if found != content:
            raise InputError(f"{self.url} gives back other bytes than were written; set the output elsewhere")

    def send(self, file: Path, name: str) -> None:
        """Copy a file there, at once and whole, over what was there."""
        with self._said(f"did not take {name}"):
            path = self._path(name)
            if not self._is_folder:  # all others put a whole object or none
                self._system.put_file(str(file), path)
                return
            temporary = Path(path).with_name(_temporary_name())
            temporary.parent.mkdir(parents=True, exist_ok=True)
            self._system.put_file(str(file), str(temporary))
            temporary.replace(path)

    def fetch(self, name: str, file: Path, whole: Callable[[Path], bool] = Path.is_file) -> bool:
        """Copy a file from there over `file`, at once and whole, unless it is not there or `whole` says no to the copy."""
        make_folder(file.parent)
        with unfinished_file(file.parent, file.suffix) as copy, self._said(f"did not give {name}"), suppress(FileNotFoundError):
            self._system.get_file(self._path(name), str(copy))
            if whole(copy):
                put_in_place({copy: file})
                return True
        return False

    def size(self, name: str) -> int | None:
        """In bytes; None if there is no such file."""
        with self._said(f"does not tell of {name}"), suppress(FileNotFoundError):
            return int(self._system.size(self._path(name)))
        return None

    def names(self, folder: str) -> list[str]:
        """Of all files below a folder, relative to it, sorted."""
        with self._said(f"does not list {folder}"):
            root = self._path(folder)
            return sorted(path.removeprefix(root).lstrip("/") for path in self._system.find(root))

    def remove(self, name: str) -> None:
        """Remove a file, if it is there."""
        with self._said(f"did not remove {name}"), suppress(FileNotFoundError):
            self._system.rm_file(self._path(name))

    @cached_property
    def _system(self) -> Any:
        import fsspec

        scheme = self.url.partition("://")[0]
        try:
            system, _ = fsspec.url_to_fs(self.url, use_listings_cache=False)  # others write there too
        except ImportError as error:
            what = "pip install fair-pruner[s3]" if scheme == "s3" else str(error)
            raise InputError(f"{self.url} cannot be reached with what is installed: {what}") from error
        except ValueError as error:
            raise InputError(
                f"the scheme of {self.url} is unknown; give a folder, or a URL such as s3://bucket/prefix"
            ) from error
        return system

    @property
    def _is_folder(self) -> bool:
        return self.url.startswith("file://")

    def _path(self, name: str) -> str:
        return f"{self._system._strip_protocol(self.url)}/{name}"

    @contextmanager
    def _said(self, what: str) -> Iterator[None]:
        """One sentence for whatever goes wrong in the block."""
        try:
            yield
        except PipelineError:
            raise
        except Exception as error:
            reason = str(error).partition("\n")[0] or type(error).__name__
            raise StageError(f"{self.url} {what}: {reason}") from error


def _temporary_name() -> str:
    return UNFINISHED + uuid4().hex
