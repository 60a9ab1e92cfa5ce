"""Reads manifest.json and golden.npz of this bundle for the scripts beside it, and refuses what they could not go on with.

Nothing that manifest.json names lies outside of the bundle. Needs numpy for golden.npz alone.
"""

import importlib
import json
import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

SCHEMA_VERSION = 1
MOST_BYTES = 2**26  # of manifest.json; one with 1000 classes has 40,000
MOST = 2**40  # of whatever is counted
LARGEST_BATCH = 4096
PATH = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}(/[A-Za-z0-9][A-Za-z0-9._-]{0,99}){0,3}")
AGAIN = "copy the bundle again"
Fits = Callable[[Any], bool]


class BundleError(Exception):
    """A file is not what was written; the message says which, where, and what to do."""


def read_manifest(folder: Path) -> dict[str, Any]:
    """manifest.json, in which all that the scripts take from it is there and can be used. Raises BundleError."""
    try:
        manifest = _read(folder / "manifest.json")
        version = manifest.get("schema_version")
        if version != SCHEMA_VERSION:
            raise ValueError(f"manifest.json has schema version {_short(version)}, this script reads {SCHEMA_VERSION}")
        _check("manifest.json", manifest, _form(folder))
        precisions = [model["precision"] for model in manifest["models"]]
        if "fp32" not in precisions or len({*precisions}) < len(precisions):
            raise ValueError(f"manifest.json has the models {', '.join(precisions)}; expected fp32 and others, each once")
    except ValueError as error:
        raise BundleError(f"{error}; {AGAIN}") from error
    return manifest


def read_note(engine: Path) -> dict[str, Any]:
    """What build_engine.py noted beside an engine; nothing if it was built otherwise. Raises BundleError."""
    file = engine.with_name(engine.name + ".json")
    if not file.is_file():
        return {}
    try:
        note = _read(file)
        _check(file.name, note, dict.fromkeys(("precision", "sha256", "onnx_sha256"), _text))
    except ValueError as error:
        raise BundleError(f"{error}; build the engine again") from error
    return note


def read_golden(folder: Path, manifest: dict[str, Any]) -> dict[str, Any]:
    """The arrays of golden.npz: `images` (n, C, H, W), and `logits.<precision>` (n, K) of every model. Raises BundleError."""
    name, shape = manifest["golden"]["path"], manifest["inputs"][0]["shape"][1:]
    try:
        # opened here, since numpy does not close what is no archive
        with (folder / name).open("rb") as opened, importlib.import_module("numpy").load(opened, allow_pickle=False) as file:
            arrays = dict(file)
    except Exception as error:  # a damaged archive fails in many ways
        raise BundleError(f"{name} cannot be read ({_line(error)}); {AGAIN}") from error
    count = len(arrays["images"]) if "images" in arrays and arrays["images"].ndim else 0
    wanted = {"images": [count, *shape]}
    for model in manifest["models"]:
        wanted[f"logits.{model['precision']}"] = [count, *manifest["outputs"][0]["shape"][1:]]
    for key, expected in wanted.items():
        found = arrays.get(key)
        if found is None or not count or list(found.shape) != expected or found.dtype != "float32":
            there = "nothing" if found is None else f"{found.dtype} of shape {found.shape}"
            raise BundleError(
                f"{name} holds {there} as {key}; expected float32 of one image or more, as manifest.json says; {AGAIN}"
            )
    return arrays


def _form(folder: Path) -> dict[str, Any]:
    """What must stand where; further keys are for other readers."""

    def inside(value: Any) -> bool:
        fits = isinstance(value, str) and PATH.fullmatch(value)
        return bool(fits) and folder.resolve() in (folder / value).resolve().parents

    file = {"path": inside, "sha256": _text, "size_bytes": _count}
    tensor = {"name": _text, "dtype": _one_of("float32", "float16"), "shape": _shape}
    tolerance = {"measure": _one_of("largest", "rms"), **dict.fromkeys(("max_difference", "max_difference_gpu"), _number)}
    return {
        "inputs": [tensor],
        "outputs": [tensor],
        "profile": dict.fromkeys(("min", "opt", "max"), _batch),
        "models": [{**file, "precision": _text, "tolerance": {**tolerance, "min_agreement": _number}}],
        "engines": [{**file, "precision": _text}],
        "golden": {**file, "batch_sizes": [_batch]},
    }


def _read(file: Path) -> dict[str, Any]:
    try:
        if file.stat().st_size > MOST_BYTES:
            raise ValueError(f"more than {MOST_BYTES} bytes")
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ValueError(f"{file.name} cannot be read ({_line(error)})") from error
    if isinstance(content, dict):
        return content
    raise ValueError(f"{file.name} holds a {type(content).__name__}, no mapping")


def _check(name: str, value: Any, form: Any, where: str = "") -> None:
    """Raises ValueError at the first place where `value` is not as `form` says. Lists have members, but that of engines."""
    if isinstance(form, dict) and isinstance(value, dict):
        for key, inner in form.items():
            if key not in value:
                raise ValueError(f"{name} has no {where}{key}")
            _check(name, value[key], inner, f"{where}{key}.")
    elif isinstance(form, list) and isinstance(value, list) and (value or where == "engines."):
        for index, each in enumerate(value):
            _check(name, each, form[0], f"{where}{index}.")
    elif isinstance(form, dict | list) or not form(value):
        raise ValueError(f"{name} has {_short(value)} as {where[:-1]}, which cannot be")


def _text(value: Any) -> bool:
    return isinstance(value, str) and value.isprintable() and 0 < len(value) < 1000


def _count(value: Any) -> bool:
    return type(value) is int and 1 <= value < MOST


def _batch(value: Any) -> bool:
    return _count(value) and value <= LARGEST_BATCH


def _number(value: Any) -> bool:
    return type(value) in (int, float) and 0 <= value < MOST and math.isfinite(value)


def _shape(value: Any) -> bool:
    return isinstance(value, list) and len(value) > 1 and (_text(value[0]) or _count(value[0])) and all(map(_count, value[1:]))


def _one_of(*values: str) -> Fits:
    return lambda value: isinstance(value, str) and value in values


def _short(value: Any) -> str:
    return repr(value)[:60] if isinstance(value, str | int | float | None) else f"a {type(value).__name__}"


def _line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
