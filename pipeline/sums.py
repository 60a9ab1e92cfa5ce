"""SHA256SUMS of a folder: what every file in it was when the folder was complete."""

import hashlib
import re
from collections.abc import Mapping
from pathlib import Path

from pipeline.errors import InputError
from pipeline.input_size import SUMS_MIB, read_limited

SUMS = "SHA256SUMS"
LINE = re.compile(r"([0-9a-f]{64})  (.+)")


def sums_text(digests: Mapping[str, str]) -> str:
    """As `sha256sum` writes it, by path within the folder."""
    return "".join(f"{digest}  {path}\n" for path, digest in sorted(digests.items()))


def read_sums(folder: Path) -> dict[str, str]:
    """Digest by path. Raises InputError if there are none, a line is none, or a path leads out of the folder."""
    file = folder / SUMS
    if not file.is_file():
        raise InputError(f"{folder} has no {SUMS}, so nothing can be checked; run again with this version to write it anew")
    found = {}
    for line in read_limited(file, SUMS_MIB).decode(errors="replace").splitlines():
        match = LINE.fullmatch(line)
        if not match or Path(match[2]).is_absolute() or ".." in Path(match[2]).parts:
            raise InputError(f"{file} has the line {line[:100]!r}; expected a SHA-256 and a path within the folder")
        found[match[2]] = match[1]
    return found


def digest_of_file(path: Path) -> str:
    """SHA-256 of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
