"""How two of our processes talk through a pipe: a line of JSON, and the bytes whose number it tells."""

import json
from typing import IO, Any

BYTES = "bytes"


def write_frame(pipe: IO[bytes], line: dict[str, Any], content: bytes = b"") -> None:
    """Send a line that names no `bytes` of its own, and the content."""
    pipe.write(json.dumps(line | {BYTES: len(content)}).encode() + b"\n")
    pipe.write(content)
    pipe.flush()


def read_frame(pipe: IO[bytes]) -> tuple[dict[str, Any], bytes] | None:
    """The next line with its content; None if the other end is closed, also in the middle of a frame."""
    text = pipe.readline()
    if not text.endswith(b"\n"):
        return None
    line: dict[str, Any] = json.loads(text)
    length = line.pop(BYTES)
    content = pipe.read(length)
    return (line, content) if len(content) == length else None
