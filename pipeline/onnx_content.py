"""An ONNX model as the bytes of its file, without what differs from machine to machine."""

from typing import Any

from fair_pruner.errors import first_line
from pipeline.errors import StageError
from pipeline.records import Preprocessing

PREPROCESSING = "preprocessing"
UNDETERMINED = ("metadata_props", "doc_string")  # stack traces with paths of this machine


def onnx_content(proto: Any, how: Preprocessing) -> bytes:
    """Serialise a ModelProto: equal models give equal bytes, and `how` stands in the metadata key `preprocessing` as JSON.

    All other metadata is removed from the model that is passed. Raises StageError if the ONNX checker refuses it.
    """
    import onnx

    _strip(proto)
    proto.metadata_props.add(key=PREPROCESSING, value=how.model_dump_json())
    try:
        onnx.checker.check_model(proto, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise StageError(f"the ONNX checker refuses the file: {first_line(error)}; try another export.opset") from error
    content: bytes = proto.SerializeToString(deterministic=True)
    return content


def _strip(message: Any) -> None:
    """Remove what differs from machine to machine, here and in every message within: nodes, subgraphs, functions."""
    for field, value in message.ListFields():
        if field.name in UNDETERMINED:
            message.ClearField(field.name)
        elif field.type == field.TYPE_MESSAGE:
            for inner in (value,) if hasattr(value, "ListFields") else value:
                _strip(inner)
