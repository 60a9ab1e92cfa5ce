"""A bundle that somebody has changed is refused in one line, or all scripts can go on with it; nothing outside of it is read."""

import importlib
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ...json_changes import GONE, TWICE, Change, changed, changes, torn
from .manifests import MANIFEST

CONTENT: Any = importlib.import_module("pipeline.bundle_files.bundle_content")


def npz(**arrays: Any) -> bytes:
    content = io.BytesIO()
    np.savez(content, **arrays)
    return content.getvalue()


LOGITS = np.zeros((4, 10), np.float32)
ARRAYS = {"images": np.zeros((4, 1, 8, 8), np.float32), "logits.fp32": LOGITS, "logits.fp16": LOGITS}
GOLDEN = npz(**ARRAYS)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of a bundle, with a link that leads out of it."""
    made = tmp_path_factory.mktemp("bundle")
    (made / "link").symlink_to("/etc/passwd")
    return made


@settings(max_examples=300, deadline=None)
@example(made=[])
@example(made=[(("schema_version",), "\n")])
@example(made=[(("models",), "x"), (("models", 0), GONE)])
@example(made=[(("models", 0, "path"), "../outside"), (("models", 0, "sha256"), None)])
@example(made=[(("golden", "path"), "/etc/passwd")])
@example(made=[(("golden", "path"), "link")])
@example(made=[(("golden", "path"), "x" * 300)])
@example(made=[(("golden", "path"), "\ud800")])
@example(made=[(("models", 0), GONE)])
@example(made=[(("models", 1), TWICE)])
@example(made=[(("inputs", 0, "shape"), [])])
@example(made=[(("inputs", 0, "shape", 3), "x")])
@example(made=[(("outputs", 0, "dtype"), "float64")])
@example(made=[(("profile", "opt"), 2**31)])
@example(made=[(("models", 0, "tolerance", "max_difference"), float("nan"))])
@given(made=changes(MANIFEST))
def test_whatever_is_changed_in_the_manifest_it_is_refused_or_can_be_used(made: list[Change], folder: Path) -> None:
    used_or_refused(folder, json.dumps(changed(MANIFEST, made)).encode(), GOLDEN)


@settings(max_examples=200, deadline=None)
@given(at=st.floats(0, 1, exclude_max=True), new=st.binary(max_size=4), length=st.integers(0, 4), of_manifest=st.booleans())
def test_whatever_the_bytes_are_they_are_refused_or_can_be_used(
    at: float, new: bytes, length: int, of_manifest: bool, folder: Path
) -> None:
    files = json.dumps(MANIFEST).encode(), GOLDEN
    manifest, golden = ((torn(file, at, new, length) if place != of_manifest else file) for place, file in enumerate(files))
    used_or_refused(folder, manifest, golden)


@pytest.mark.parametrize(
    "golden",
    [
        b"",
        b"nonsense",
        npz(),
        npz(**{**ARRAYS, "images": np.float32(0)}),
        npz(**{**ARRAYS, "images": np.zeros((0, 1, 8, 8), np.float32)}),
        npz(**{**ARRAYS, "images": np.zeros((4, 3, 8, 8), np.float32)}),
        npz(**{**ARRAYS, "logits.fp32": LOGITS[:3]}),
        npz(**{**ARRAYS, "logits.fp32": LOGITS.astype(np.float64)}),
        npz(**{**ARRAYS, "logits.fp32": np.array([{}])}),
    ],
)
def test_golden_arrays_that_do_not_fit_are_refused(golden: bytes, folder: Path) -> None:
    (folder / "golden.npz").write_bytes(golden)
    with pytest.raises(CONTENT.BundleError, match=r"golden.npz (cannot be read|holds).*; copy the bundle again$"):
        CONTENT.read_golden(folder, MANIFEST)


@given(content=st.binary(max_size=40) | st.sampled_from([b"[]", b"{}", b'{"precision": 1}', b"[" * 10**5]))
def test_a_note_beside_an_engine_is_whole_or_refused(content: bytes, folder: Path) -> None:
    (folder / "some.engine.json").write_bytes(content)
    with pytest.raises(CONTENT.BundleError, match=r"some\.engine\.json .*; build the engine again$"):
        CONTENT.read_note(folder / "some.engine")


def used_or_refused(folder: Path, manifest: bytes, golden: bytes) -> None:
    (folder / "manifest.json").write_bytes(manifest)
    (folder / "golden.npz").write_bytes(golden)
    try:
        read = CONTENT.read_manifest(folder)
        for entry in (*read["models"], *read["engines"], read["golden"]):
            assert (folder / entry["path"]).resolve().is_relative_to(folder.resolve())
        arrays = CONTENT.read_golden(folder, read)
    except CONTENT.BundleError as error:
        assert str(error).endswith("; copy the bundle again")
        assert len(str(error).splitlines()) == 1
    else:
        use(folder, read, arrays)


def use(folder: Path, manifest: dict[str, Any], arrays: dict[str, Any]) -> None:
    """What the scripts make of it, as far as no runtime is needed."""
    verify, builder = (importlib.import_module(f"pipeline.bundle_files.{name}") for name in ("verify", "build_engine"))
    shape = manifest["outputs"][0]["shape"][1:]
    for model in manifest["models"]:
        for batch in manifest["golden"]["batch_sizes"]:
            verify.compare(
                verify.Checks(), model, lambda x: np.zeros((len(x), *shape), np.float32), arrays, batch, "m", gpu=False
            )
    assert builder.choose(None, manifest) in manifest["models"]
