"""Where Prefect keeps cached records on disk: each in a file of its own, written whole."""

from pathlib import Path
from typing import Any

from prefect.filesystems import LocalFileSystem

from pipeline.shared import send
from pipeline.whole_files import make_folder, write_together


class RecordStorage(LocalFileSystem):
    """Prefect's local files, but for the writing: that would be in place, so that a reader or a kill could find half of one."""

    _block_type_name = "Record Storage"

    def write_path(self, path: str, content: bytes, **_: Any) -> str:
        """Write a file below the base path by another name and rename it; other machines that share the output see it then."""
        file = self._resolve_path(path)
        make_folder(file.parent)
        write_together({file: content})
        send(file)
        return str(file)

    async def awrite_path(self, path: str, content: bytes) -> str:
        """The same, as Prefect calls it in a flow that is asynchronous."""
        return self.write_path(path, content)


def record_storage(folder: Path) -> RecordStorage:
    """The storage of a cache folder."""
    return RecordStorage(basepath=str(folder))
