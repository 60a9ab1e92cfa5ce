"""Files of a data set that claim more than they hold, or hold more than they claim: refused, and nothing is set aside for it."""

import gzip
import struct
from pathlib import Path

import pytest

from pipeline.dataset_files import read_cifar10, read_fashion_mnist, read_svhn
from pipeline.errors import InputError

from ..hostile_files import MANY_OBJECTS, idx, mat
from ..memory import memory_grows_by

MIB = 2**20


NOT_WHOLE = "is not a whole idx file"
READERS = {"images": read_fashion_mnist, "images.gz": read_fashion_mnist, "x.mat": read_svhn, "data_batch_1": read_cifar10}
FILES: dict[str, tuple[str, bytes, str]] = {
    "idx of 10 GB": ("images", idx(10**7, 32, 32), "holds or declares 10240000000 bytes, more than the 2048 MiB"),
    "idx of 255 dimensions": ("images", idx(*[2**32 - 1] * 255), "more than the 2048 MiB"),
    "idx that is cut off": ("images", idx(2, 28, 28) + bytes(99), NOT_WHOLE),
    "idx with more behind it": ("images", idx(2, 2, 2) + bytes(64 * MIB), NOT_WHOLE),
    "gzip that unpacks without end": ("images.gz", gzip.compress(idx(2, 2, 2) + bytes(256 * MIB)), NOT_WHOLE),
    "gzip that is damaged": ("images.gz", gzip.compress(b"")[:10] + b"\xff" * 50, NOT_WHOLE),
    "mat of 10 GB": ("x.mat", mat(32, 32, 3, 3_333_334), "declares 10240002048 bytes, more than the 2048 MiB"),
    "mat of less than nothing": ("x.mat", mat(32, 32, 3, -1), "is not a whole .mat file"),
    "mat without its content": ("x.mat", mat(32, 32, 3, 100), "is not a whole .mat file"),
    "pickle of many objects": ("data_batch_1", MANY_OBJECTS, "is not one of the data set's pickled files"),
    "pickle of 10 GB": (
        "data_batch_1",
        b"\x80\x04\x8e" + struct.pack("<Q", 10**10),
        "is not one of the data set's pickled files",
    ),
}


@pytest.mark.parametrize("case", FILES)
def test_what_is_only_declared_is_not_set_aside(case: str, tmp_path: Path) -> None:
    name, content, message = FILES[case]
    path = tmp_path / name
    path.write_bytes(content)
    with memory_grows_by(200 * MIB), pytest.raises(InputError) as caught:
        READERS[name]([path] * 7)  # whichever it begins with
    assert message in str(caught.value)
    assert "MemoryError" not in str(caught.value)
    assert "\n" not in str(caught.value)
