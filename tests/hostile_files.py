"""Files that harm whoever trusts them, each as small as can be."""

import json
import os
import pickle
import struct
import zipfile
import zlib
from math import prod
from pathlib import Path

import torch

GB = 10**9
MANY_OBJECTS = b"\x80\x02}r\xff\xff\xff\x7f\x8c"  # a pickle with an object at place 2**31 - 1 of the unpickler's memo


class Touch:
    """Makes the file `it-ran` when it is unpickled."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, ("it-ran",)


def idx(*sizes: int) -> bytes:
    """The beginning of an idx file of such a shape."""
    return struct.pack(f">HBB{len(sizes)}I", 0, 8, len(sizes), *sizes)


def mat(*sizes: int) -> bytes:
    """A compressed .mat file with an array X of bytes of such a shape and no content."""
    flags = struct.pack("<IIII", 6, 8, 9, 0)  # of class uint8
    dimensions = struct.pack("<II", 5, 4 * len(sizes)) + struct.pack(f"<{len(sizes)}i", *sizes)
    name = struct.pack("<HH4s", 1, 1, b"X\0\0\0")
    array = flags + dimensions + name + struct.pack("<II", 2, abs(prod(sizes)) % 2**32)
    packed = zlib.compress(struct.pack("<II", 14, len(array)) + array)
    return b"MATLAB 5.0 MAT-file".ljust(124) + struct.pack("<H2s", 0x0100, b"IM") + struct.pack("<II", 15, len(packed)) + packed


def png(side: int) -> bytes:
    """The beginning of a grey PNG of such a size."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(bytes(99))) + chunk(b"IEND", b"")


def safetensors_of_10_gb() -> bytes:
    """A header that declares a tensor of 10 GB, and nothing behind it."""
    header = json.dumps({"w": {"dtype": "F32", "shape": [50_000, 50_000], "data_offsets": [0, 10 * GB]}}).encode()
    return struct.pack("<Q", len(header)) + header


def torch_file_of_8_gb(path: Path) -> Path:
    """A file of torch.save whose one tensor is declared with 2 thousand million elements, and stored with one."""
    torch.save({"w": torch.zeros(1)}, path)
    with zipfile.ZipFile(path) as good:
        members = {name: good.read(name) for name in good.namelist()}
    with zipfile.ZipFile(path, "w") as large:
        for name, content in members.items():
            # of protocol 2: a tuple of one whole number, of one byte where that is 1
            large.writestr(name, content.replace(b"K\x01\x85", b"J" + struct.pack("<i", 2 * GB) + b"\x85"))
    return path


def zip_that_climbs(path: Path) -> Path:
    """A zip archive with members that lead out of any folder."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("../climbed", b"x")
        archive.writestr("/tmp/climbed", b"x")  # noqa: S108  # what must not be
        archive.writestr("archive/data.pkl", pickle.dumps({}))
    return path


def zip_bomb(path: Path) -> Path:
    """A zip archive that unpacks to 64 MiB."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data/0", bytes(64 * 2**20))
    return path
