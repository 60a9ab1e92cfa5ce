"""What can be said of an engine file without the GPU that runs it.

Neither library documents the header. That of TensorRT (`ftrt`) is as NVIDIA's trtexec reads it for --getPlanVersionOnly from
9.1 to 11.1; that of TensorRT-RTX (`vtrt`) is as found in 1.7. What does not look like either is not judged.

    bytes  0 to  3   magic
    bytes  4 to  7   form of the rest: 0
    bytes 16 to 23   length of the whole file, little-endian (TensorRT-RTX)
    bytes 24 to 27   version of the library: major, minor, patch, build
"""

import hashlib
import re
from pathlib import Path
from typing import NamedTuple

from pipeline.errors import InputError
from pipeline.exported import EngineRecord
from pipeline.tensorrt_library import FULL_MODULE, RTX_MODULE, installed_version

HEADER_BYTES = 64
LIBRARIES = {b"ftrt": FULL_MODULE, b"vtrt": RTX_MODULE}
KNOWN_FORM = bytes(4)
LARGEST_MAJOR = 30  # a larger number is no version


class EngineHeader(NamedTuple):
    """What a header says; empty, or None, where it does not say it. `length` is that of the whole file in bytes."""

    library: str
    version: str
    length: int | None


def read_header(start: bytes) -> EngineHeader:
    """The header of an engine from its first HEADER_BYTES bytes. Raises InputError if no engine begins so."""
    magic = start[:4]
    if magic[1:] != b"trt":
        raise InputError(f"it begins with {magic!r}, an engine with {b' or '.join(LIBRARIES)!r}")
    if len(start) < HEADER_BYTES:
        raise InputError(f"it has {len(start)} bytes, an engine more than {HEADER_BYTES}")
    if magic not in LIBRARIES or start[4:8] != KNOWN_FORM:
        return EngineHeader("", "", None)
    library, numbers = LIBRARIES[magic], start[24:28]
    version = ".".join(map(str, numbers)) if 0 < numbers[0] <= LARGEST_MAJOR else ""
    return EngineHeader(library, version, int.from_bytes(start[16:24], "little") if library == RTX_MODULE else None)


def check_engine(path: Path, expected: EngineRecord | None = None) -> EngineHeader:
    """See that a file can be an engine for the library installed here, and that it is the one `expected` tells of.

    Returns what its header says. Raises InputError if it is no engine, is not as long as its header or its record says, has
    other content than its record says, or was built by another version than the one installed. Whether it runs, the GPU
    alone can tell.
    """
    if not path.is_file():
        raise InputError(f"{path} does not exist; give the path of an engine")
    with path.open("rb") as file:
        start = file.read(HEADER_BYTES)
    try:
        header = read_header(start)
    except InputError as error:
        raise InputError(f"{path} is not a TensorRT engine: {error}; build it from its ONNX file") from error
    recorded = expected.file if expected else None
    size = path.stat().st_size
    for source, length in (("header", header.length), ("record", recorded.size_bytes if recorded else None)):
        if length is not None and length != size:
            what = "it was cut off" if size < length else "something was added to it"
            raise InputError(f"{path} has {size} bytes, its {source} says {length}: {what}; copy or build it anew")
    if recorded and _sha256(path) != recorded.sha256:
        raise InputError(f"{path} has another SHA-256 than its record says: it is corrupted; copy or build it anew")
    _check_version(path, header, expected)
    return header


def _check_version(path: Path, header: EngineHeader, expected: EngineRecord | None) -> None:
    library = header.library or (expected.library if expected else "")
    version = header.version or (expected.library_version if expected else "")
    installed = installed_version(library) if library and version else ""
    if installed and _numbers(installed) != _numbers(version):
        raise InputError(
            f"{path} was built by {library} {version}, installed is {installed}, and engines run in the version that built them; "
            f"build it anew from its ONNX file, or install {version}"
        )


def _numbers(version: str) -> list[int]:
    """The numbers of a version as a header holds them, one byte each."""
    return [int(number) % 256 for number in re.findall(r"\d+", version)][:4]


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
