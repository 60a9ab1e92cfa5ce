"""Cached records on disk: the content with its digest, so that a torn or altered one is never taken for whole."""

import hashlib
import json
from pathlib import Path
from typing import Literal

from prefect.results import ResultRecordMetadata
from prefect.serializers import Serializer
from pydantic import BaseModel, ValidationError

from pipeline.records import Record

KIND = "fair-pruner-record"


class AlteredRecordError(ValueError):
    """A cached record is not what was written."""


class RecordSerializer(Serializer):  # type: ignore[type-arg]  # Prefect registers no subscripted class
    """Records as JSON with their class and a SHA-256 over both; reads back nothing but records, whatever the file says."""

    type: Literal["fair-pruner-record"] = KIND

    def dumps(self, obj: Record) -> bytes:
        """A record as text."""
        name, content = type(obj).__name__, obj.model_dump_json()
        return json.dumps({"record": name, "sha256": _digest(name, content), "content": content}).encode()

    def loads(self, blob: bytes) -> Record:
        """The same record. Raises AlteredRecordError if the text is anything else than `dumps` gave."""
        try:
            values = json.loads(blob)
            name, content = values["record"], values["content"]
            if values["sha256"] != _digest(name, content):
                raise AlteredRecordError("its digest does not fit its content")
            return _classes()[name].model_validate_json(content)
        except (ValueError, TypeError, KeyError, RecursionError) as error:
            raise AlteredRecordError(str(error) or type(error).__name__) from error


class _Written(BaseModel):
    """The file in which Prefect keeps a result; it would read it with whatever serializer `metadata` names."""

    metadata: ResultRecordMetadata
    result: str


def whole(file: Path) -> bool:
    """Whether a file of the cache holds a record as it was written, and Prefect would read it as one and not as a pickle."""
    try:
        written = _Written.model_validate_json(file.read_bytes())
        if written.metadata.serializer.type != KIND:
            return False
        RecordSerializer().loads(written.result.encode())
    except (ValidationError, AlteredRecordError, OSError):
        return False
    return True


def _digest(name: str, content: str) -> str:
    return hashlib.sha256(f"{name}\n{content}".encode()).hexdigest()


def _classes() -> dict[str, type[Record]]:
    """Every kind of record, by name."""
    found, waiting = dict[str, type[Record]](), [Record]
    while waiting:
        kind = waiting.pop()
        found[kind.__name__] = kind
        waiting += kind.__subclasses__()
    return found
