"""Are the weights of somebody's ONNX file all there, and in its folder? Asked before anything is allocated or opened for them."""

from math import prod
from pathlib import Path
from typing import Any

from pipeline.errors import InputError

PACKED = frozenset({"INT4", "UINT4", "FLOAT4E2M1", "INT2", "UINT2", "FLOAT6E2M3", "FLOAT6E3M2"})  # several elements a byte


def check_weights(path: Path, tensors: list[Any], sparse: list[Any]) -> None:
    """Hold the TensorProtos and SparseTensorProtos of the model at `path` to its files.

    Raises InputError if a tensor is sparse, of a type or shape that there is not, or declared larger than what is stored for
    it; or if it is stored in a file that is missing or lies outside of the model's folder, be it by a symbolic link.
    """
    if sparse:
        raise InputError(f"{path} keeps weight {sparse[0].values.name} as a sparse tensor; export the model with dense weights")
    for tensor in tensors:
        place = {entry.key: entry.value for entry in tensor.external_data}
        stored = _bytes_beside(path, tensor.name, place) if "location" in place else tensor.ByteSize()
        declared = _least_bytes(path, tensor)
        if declared > stored:
            raise InputError(
                f"{path} declares weight {tensor.name} with shape {tuple(tensor.dims)}, at least {declared} bytes, and has "
                f"{stored} for it; export the model anew"
            )


def _least_bytes(path: Path, tensor: Any) -> int:
    """What so many elements take at least."""
    import onnx

    kinds = onnx.TensorProto.DataType
    if (
        tensor.data_type not in kinds.values()
        or tensor.data_type == onnx.TensorProto.UNDEFINED
        or min(tensor.dims, default=0) < 0
    ):
        raise InputError(
            f"{path}: weight {tensor.name} has type {tensor.data_type} and shape {tuple(tensor.dims)}, which is none; "
            "export the model anew"
        )
    elements = prod(tensor.dims)
    # what is no raw bytes are numbers of variable length, a byte and more each
    if kinds.Name(tensor.data_type) in PACKED or not (tensor.HasField("raw_data") or tensor.external_data):
        return int(elements // 4)
    return int(elements * onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize)


def _bytes_beside(path: Path, name: str, place: dict[str, str]) -> int:
    """How many there are for a weight in a file of its own."""
    where = f"{path} keeps weight {name} in {place['location'][:200]!r}"
    file, folder = path.parent / place["location"], path.parent.resolve()
    try:
        if not file.resolve().is_relative_to(folder) or Path(place["location"]).is_absolute():
            raise InputError(f"{where}, outside its folder; put both files into one folder and export anew")
        size, offset = file.stat().st_size if file.is_file() else -1, int(place.get("offset", 0))
        length = int(place.get("length", max(0, size - offset)))
    except (OSError, ValueError) as error:
        raise InputError(f"{where}, which cannot be read ({error}); export the model anew") from error
    if size < 0:
        raise InputError(f"{where}, which is not there; copy it beside the ONNX file")
    if min(offset, length) < 0 or offset + length > size:
        raise InputError(f"{where} from byte {offset} to {offset + length}, but that file has {size}; copy it anew")
    return length
