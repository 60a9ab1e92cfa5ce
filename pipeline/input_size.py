"""How large a file may be that is read whole: asked before it is, so that no file can fill the memory."""

from pathlib import Path

from pipeline.errors import InputError

MIB = 2**20
CONFIG_MIB, SUMS_MIB, REPORT_MIB = 1, 16, 256
DATA_MIB = 2048  # of one file of a published data set, unpacked; the largest there is has 1.5 GB
ONNX_MIB = 2048  # no protobuf is larger


def read_limited(path: Path, most_mib: int) -> bytes:
    """The content of a file. Raises InputError if it is larger, or cannot be read."""
    try:
        check_size(path, path.stat().st_size, most_mib)
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from error


def check_size(path: Path, size: int, most_mib: int) -> None:
    """Raises InputError if `size` bytes of a file are more than that."""
    if size > most_mib * MIB:
        raise InputError(f"{path} holds or declares {size} bytes, more than the {most_mib} MiB that are read of such a file")
