"""A place that machines share, reached through fsspec: whole files below a URL, by name."""

import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar
from uuid import uuid4

from pipeline.errors import InputError, PipelineError, StageError
from pipeline.progress import log
from pipeline.whole_files import UNFINISHED, make_folder, put_in_place, unfinished_file

T = TypeVar("T")
WAITS = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0)  # seconds: a server that is started anew is waited for


@dataclass(frozen=True)
class Remote:
    """Files below a URL such as s3://bucket/prefix; who may reach it is told by the environment, never by the URL.

    Raises InputError if nothing that is installed knows the scheme, StageError if the place refuses, or is away for a minute.
    """

    url: str

    def check(self) -> None:
        """See that files can be written, read and removed. Raises InputError if not."""
        path, content = self._path(_temporary_name()), b"fair-pruner"

        def tried() -> bytes:
            if self._is_folder:
                Path(path).parent.mkdir(parents=True, exist_ok=True)
            self._system.pipe_file(path, content)
            found: bytes = self._system.cat_file(path)
            self._system.rm_file(path)
            return found

        try:
            found = self._done("cannot be used", tried, waits=())
        except StageError as error:
            raise InputError(f"{error}; check its name and what grants access to it, or set the output elsewhere") from error
        if found != content:
            raise InputError(f"{self.url} gives back other bytes than were written; set the output elsewhere")

    def send(self, file: Path, name: str) -> None:
        """Copy a file there, at once and whole, over what was there."""
        path = self._path(name)

        def sent() -> None:
            if not self._is_folder:  # all others put a whole object or none
                self._system.put_file(str(file), path)
                return
            temporary = Path(path).with_name(_temporary_name())
            temporary.parent.mkdir(parents=True, exist_ok=True)
            self._system.put_file(str(file), str(temporary))
            temporary.replace(path)

        self._done(f"did not take {name}", sent)

    def fetch(self, name: str, file: Path, whole: Callable[[Path], bool] = Path.is_file) -> bool:
        """Copy a file from there over `file`, at once and whole, unless it is not there or `whole` says no to the copy."""
        make_folder(file.parent)
        with unfinished_file(file.parent, file.suffix) as copy:

            def fetched() -> bool:
                with suppress(FileNotFoundError):
                    self._system.get_file(self._path(name), str(copy))
                    return whole(copy)
                return False

            found = self._done(f"did not give {name}", fetched)
            if found:
                put_in_place({copy: file})
            return found

    def size(self, name: str) -> int | None:
        """In bytes; None if there is no such file."""

        def size() -> int | None:
            with suppress(FileNotFoundError):
                return int(self._system.size(self._path(name)))
            return None

        return self._done(f"does not tell of {name}", size)

    def names(self, folder: str) -> list[str]:
        """Of all files below a folder, relative to it, sorted."""
        root = self._path(folder)
        paths = self._done(f"does not list {folder}", lambda: self._system.find(root))
        return sorted(path.removeprefix(root).lstrip("/") for path in paths)

    def remove(self, name: str) -> None:
        """Remove a file, if it is there."""

        def removed() -> None:
            with suppress(FileNotFoundError):
                self._system.rm_file(self._path(name))

        self._done(f"did not remove {name}", removed)

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

    def _done(self, what: str, call: Callable[[], T], waits: tuple[float, ...] = WAITS) -> T:
        """What `call` returns; after an error it is called again, unless that can change nothing, and then one sentence."""
        try:
            return call()
        except PipelineError:
            raise
        except Exception as error:
            reason = f"{self.url} {what}: {str(error).partition(chr(10))[0] or type(error).__name__}"
            if not waits or isinstance(error, FileNotFoundError | PermissionError):
                raise StageError(reason) from error
        log.warning("%s; trying again in %g s", reason, waits[0])
        time.sleep(waits[0])
        return self._done(what, call, waits[1:])


def _temporary_name() -> str:
    return UNFINISHED + uuid4().hex
