"""A record, read back from JSON that anybody may have changed since it was written."""

from collections.abc import Iterator
from typing import TypeVar

from pydantic import ValidationError

from pipeline.records import Value

V = TypeVar("V", bound=Value)
BEYOND = 2**63  # no number of a record comes near; below it, arithmetic with what lies within the fields' bounds stays finite


def record_in(content: bytes, kind: type[V]) -> V:
    """The record of this kind. Raises ValueError that says in a few words what is wrong with the JSON.

    A number is a number there, no text that could be one, and it is finite.
    """
    try:
        record = kind.model_validate_json(content, strict=True)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "the file"
        raise ValueError(f"{where}: {first['msg']}") from error
    for value in values_in(record):
        if isinstance(value, int | float) and not -BEYOND < value < BEYOND:
            raise ValueError(f"it holds the number {str(value)[:30]}")
    return record


def values_in(value: object) -> Iterator[object]:
    """Every value that one is made of, however deep, and it itself."""
    yield value
    inner: Iterator[object] = iter(())
    if isinstance(value, Value):
        inner = (member for _, member in value)
    elif isinstance(value, dict):
        inner = iter(value.values())
    elif isinstance(value, tuple | list):
        inner = iter(value)
    for member in inner:
        yield from values_in(member)
