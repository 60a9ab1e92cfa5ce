"""Pickled dictionaries of plain values and arrays of bytes, as CIFAR comes in, read without running what the file names."""

import io
import pickle
from pathlib import Path
from typing import Any

import torch

from fair_pruner.errors import first_line
from pipeline.errors import InputError
from pipeline.input_size import DATA_MIB, read_limited


def read_pickle(path: Path) -> dict[str, Any]:
    """The dictionary in the file; its arrays are PickledBytes. Raises InputError if it holds anything else."""
    stored = read_limited(path, DATA_MIB)
    try:
        content = ArraysOnly(io.BytesIO(stored), encoding="latin1").load()
    except Exception as error:
        raise InputError(f"{path} is not one of the data set's pickled files ({first_line(error)}); get it anew") from error
    if not isinstance(content, dict):
        raise InputError(f"{path} holds a {type(content).__name__}; expected the dictionary that the data set comes with")
    return content


class PickledBytes:
    """What a pickled numpy array of bytes becomes: its content as the tensor `values`; numpy itself has no part in it."""

    values = torch.empty(0, dtype=torch.uint8)

    def __init__(self, *_: object) -> None: ...

    def __setstate__(self, state: tuple[object, tuple[int, ...], "PickledType", bool, str | bytes]) -> None:
        _, shape, kind, columns_first, content = state
        if kind.name not in ("u1", "|u1") or columns_first:
            raise pickle.UnpicklingError(f"an array of {kind.name}{' in columns' * columns_first}, expected rows of bytes")
        content = content.encode("latin1") if isinstance(content, str) else content
        self.values = torch.frombuffer(bytearray(content), dtype=torch.uint8).view(shape)


class PickledType:
    """What a pickled numpy dtype becomes: its name."""

    def __init__(self, name: str, *_: object) -> None:
        self.name = name

    def __setstate__(self, state: object) -> None: ...


def _latin1(text: str, _: str) -> bytes:
    return text.encode("latin1")


STAND_INS = {
    ("numpy.core.multiarray", "_reconstruct"): PickledBytes,  # before numpy 2
    ("numpy._core.multiarray", "_reconstruct"): PickledBytes,
    ("numpy", "ndarray"): PickledBytes,
    ("numpy", "dtype"): PickledType,
    ("_codecs", "encode"): _latin1,  # how Python 3 writes bytes for Python 2
}


class ArraysOnly(pickle._Unpickler):  # the one in C sets aside memory for as many objects as a few bytes claim
    """Reads plain values and arrays of bytes; refuses all else, since a pickle may name any function and call it."""

    def find_class(self, module: str, name: str) -> Any:
        """The stand-in for a part of a pickled array. Raises UnpicklingError for anything else."""
        try:
            return STAND_INS[module, name]
        except KeyError:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}, which such a file never needs") from None
