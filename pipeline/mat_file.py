"""Arrays of numbers in a .mat file of level 5, read here: SciPy's reader ends the process on some damaged files.

The format: "MAT-File Format", MathWorks, chapter 1, level 5.
"""

import struct
import zlib
from collections.abc import Callable, Collection
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.input_size import DATA_MIB, check_size

HEADER, ORDERS = 128, {b"IM": "<", b"MI": ">"}
MATRIX, COMPRESSED = 14, 15
NUMBERS = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8"}
NUMERIC_CLASSES = range(6, 16)
COMPLEX = 0x800
SHORT = 2**12  # bytes of anything beside the numbers
Read = Callable[[int], bytes]  # exactly so many bytes


def read_mat(path: Path, names: Collection[str]) -> dict[str, NDArray[Any]]:
    """The arrays of these names that the file has, as bytes or float64.

    Raises ValueError, zlib.error or struct.error if it is damaged, InputError if an array is too large.
    """
    found: dict[str, NDArray[Any]] = {}
    rest = path.stat().st_size - HEADER
    with path.open("rb") as file:
        order = ORDERS.get(file.read(HEADER)[-2:])
        if order is None:
            raise ValueError("it has no header of level 5")
        while rest > 0 and len(found) < len(names):
            kind, size = struct.unpack(f"{order}II", _exactly(file.read)(8))
            rest -= 8 + size
            if rest < 0:
                raise ValueError("it ends too early")
            content = file.read(size)
            if kind == COMPRESSED:
                read = _inflating(content)
                kind, size = struct.unpack(f"{order}II", read(8))
            else:
                read = _exactly(_reading(content))
            if kind == MATRIX and (named := _array(path, read, order, names)):
                found |= dict([named])
    return found


def _array(path: Path, read: Read, order: str, names: Collection[str]) -> tuple[str, NDArray[Any]] | None:
    """Name and content of an array; None if it is not among those wanted."""
    flags, shape, name = (_element(read, order, SHORT)[1] for _ in range(3))
    if name.decode("latin1") not in names:
        return None
    (first,) = struct.unpack_from(f"{order}I", flags)
    sizes = struct.unpack(f"{order}{len(shape) // 4}i", shape)
    if first & 0xFF not in NUMERIC_CLASSES or first & COMPLEX or len(sizes) < 2 or min(sizes) < 0:
        raise ValueError(f"{name.decode('latin1')} is no array of real numbers")
    check_size(path, prod(sizes), DATA_MIB)
    kind, content = _element(read, order, 8 * prod(sizes))
    if kind not in NUMBERS:
        raise ValueError(f"numbers of the type {kind}, which there is not")
    values = np.frombuffer(content, f"{order}{NUMBERS[kind]}").reshape(sizes, order="F")
    return name.decode("latin1"), values.astype(np.uint8 if NUMBERS[kind] == "u1" else np.float64)


def _element(read: Read, order: str, most: int) -> tuple[int, bytes]:
    """Type and content of the next element: small ones stand in their own tag, others are filled up to 8 bytes."""
    tag = read(8)
    kind, size = struct.unpack(f"{order}II", tag)
    if small := kind >> 16:
        return kind & 0xFFFF, tag[4 : 4 + small]
    if size > most:
        raise ValueError(f"{size} bytes where there can be {most}")
    content = read(size)
    if most == SHORT:  # nothing need follow the numbers
        read(-size % 8)
    return kind, content


def _reading(content: bytes) -> Read:
    place = 0

    def read(count: int) -> bytes:
        nonlocal place
        place += count
        return content[place - count : place]

    return read


def _inflating(content: bytes) -> Read:
    inflator, rest = zlib.decompressobj(), content

    def read(count: int) -> bytes:
        nonlocal rest
        inflated = inflator.decompress(rest, count) if count else b""
        rest = inflator.unconsumed_tail
        return inflated

    return _exactly(read)


def _exactly(read: Read) -> Read:
    def exactly(count: int) -> bytes:
        found = read(count)
        if len(found) != count:
            raise ValueError("it ends too early")
        return found

    return exactly
