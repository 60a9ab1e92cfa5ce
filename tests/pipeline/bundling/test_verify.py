import ast
import hashlib
import importlib
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

import pipeline

from .test_bundle import MODELS, OTHERS

Script = Callable[..., subprocess.CompletedProcess[str]]
ROOT = Path(pipeline.__file__).parents[1]
SCRIPTS = sorted(path for path in (ROOT / "pipeline" / "bundle_files").glob("*.py") if path.name != "__init__.py")
DAMAGED = ("model.fp16.onnx", "golden.npz", "manifest.json")


def flip(path: Path, at: int = -200) -> None:
    """Change one bit of one byte."""
    content = bytearray(path.read_bytes())
    content[at] ^= 1
    path.write_bytes(content)


def replaced(bundle: Path, name: str, content: bytes) -> None:
    """Put another file in place of one, and its checksum into SHA256SUMS and the manifest, as a careful forger would."""
    before = hashlib.sha256((bundle / name).read_bytes()).hexdigest()
    size = (bundle / name).stat().st_size
    (bundle / name).write_bytes(content)
    for file in ("manifest.json", "SHA256SUMS"):
        text = (bundle / file).read_text().replace(before, hashlib.sha256(content).hexdigest())
        if file == "manifest.json":
            manifest_before = hashlib.sha256((bundle / file).read_bytes()).hexdigest()
            text = text.replace(f'"size_bytes": {size}', f'"size_bytes": {len(content)}')
        else:
            text = text.replace(manifest_before, hashlib.sha256((bundle / "manifest.json").read_bytes()).hexdigest())
        (bundle / file).write_text(text)


def failures(done: subprocess.CompletedProcess[str]) -> list[str]:
    return [line for line in done.stdout.splitlines() if line.startswith("FAIL")]


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_the_scripts_import_nothing_of_ours_and_are_readable_to_python_3_10(path: Path) -> None:
    tree = ast.parse(path.read_text(), feature_version=(3, 10))
    imported = {alias.name.partition(".")[0] for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    imported |= {str(node.module).partition(".")[0] for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert imported <= sys.stdlib_module_names | {"numpy"}  # runtimes are imported when they are needed


def test_a_good_bundle_passes_with_one_line_a_check(shared_bundle: Path, script: Script) -> None:
    done = script(shared_bundle, "verify.py")
    assert (done.returncode, done.stderr) == (0, "")
    *checks, last = done.stdout.splitlines()
    assert last == "all checks passed"
    assert all(line.startswith("ok    ") for line in checks)
    for name in MODELS | OTHERS - {"SHA256SUMS"}:
        assert f"ok    {name} is intact" in checks
    for name in MODELS:
        for batch in (1, 3, 16):
            (line,) = [line for line in checks if line.startswith(f"ok    {name}, batch {batch}: ")]
            assert f"on {16 // batch * batch} of {16 // batch * batch} images" in line
    assert not list(shared_bundle.rglob("__pycache__"))


@pytest.mark.parametrize("name", [*DAMAGED, "verify.py", "triton/digits_tolerance_0_2_trt/config.pbtxt"])
def test_one_flipped_bit_fails_and_names_the_file(name: str, own_bundle: Path, script: Script) -> None:
    flip(own_bundle / name, at=100)
    done = script(own_bundle, "verify.py")
    assert done.returncode == 1
    assert failures(done) == [f"FAIL  {name} is damaged"]
    assert done.stdout.splitlines()[-1] == "the models were not run: copy the bundle again"


def test_a_missing_file_fails_and_so_does_a_bundle_without_checksums(own_bundle: Path, script: Script) -> None:
    (own_bundle / "golden.npz").unlink()
    assert failures(script(own_bundle, "verify.py")) == ["FAIL  golden.npz is missing"]
    (own_bundle / "SHA256SUMS").write_text("")
    done = script(own_bundle, "verify.py")
    assert (done.returncode, failures(done)) == (1, ["FAIL  SHA256SUMS lists 0 files"])


def test_other_weights_fail_though_every_checksum_fits(own_bundle: Path, script: Script) -> None:
    model = onnx.load(own_bundle / "model.fp32.onnx")
    weights = max(model.graph.initializer, key=lambda tensor: np.prod(tensor.dims))
    weights.CopyFrom(numpy_helper.from_array(1.01 * numpy_helper.to_array(weights), weights.name))
    replaced(own_bundle, "model.fp32.onnx", model.SerializeToString())
    done = script(own_bundle, "verify.py")
    assert done.returncode == 1
    assert [line.partition(":")[0] for line in failures(done)] == [
        f"FAIL  model.fp32.onnx, batch {batch}" for batch in (1, 3, 16)
    ]


def test_a_model_with_another_input_name_fails(own_bundle: Path, script: Script) -> None:
    model = onnx.load(own_bundle / "model.fp32.onnx")
    for node in model.graph.node:
        node.input[:] = ["image" if name == "input" else name for name in node.input]
    model.graph.input[0].name = "image"
    replaced(own_bundle, "model.fp32.onnx", model.SerializeToString())
    found = failures(script(own_bundle, "verify.py"))
    assert found[0].startswith("FAIL  model.fp32.onnx has [('image', 'tensor(float)', ['batch', 1, 8, 8])], not [('input'")


def test_a_manifest_that_contradicts_the_checksums_fails(own_bundle: Path, script: Script) -> None:
    content = json.loads((own_bundle / "manifest.json").read_bytes())
    content["models"][0]["size_bytes"] += 1
    replaced(own_bundle, "manifest.json", json.dumps(content).encode())
    assert failures(script(own_bundle, "verify.py")) == ["FAIL  manifest.json and SHA256SUMS differ about model.fp32.onnx"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"{", "manifest.json cannot be read (Expecting property name enclosed in double quotes: line 1 column 2 (char 1))"),
        (b"[" * 10**5, "manifest.json cannot be read (maximum recursion depth exceeded"),
        (b'{"schema_version": 2}', "manifest.json has schema version 2, this script reads 1"),
        (b'{"schema_version": 1}', "manifest.json has no inputs"),
    ],
)
@pytest.mark.parametrize("name", ["verify.py", "benchmark.py", "build_engine.py"])
def test_every_script_refuses_another_manifest_in_one_line(
    name: str, content: bytes, message: str, own_bundle: Path, script: Script
) -> None:
    replaced(own_bundle, "manifest.json", content)
    done = script(own_bundle, name)
    assert done.returncode == (2 if name == "build_engine.py" else 1)
    (line,) = failures(done) if name == "verify.py" else done.stderr.splitlines()
    assert message in line
    assert line.endswith("; copy the bundle again")
    assert "Traceback" not in done.stderr
    assert not list(own_bundle.rglob("__pycache__"))


def test_logits_that_are_not_numbers_fail(shared_bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    verify: Any = importlib.import_module("pipeline.bundle_files.verify")
    golden = dict(np.load(shared_bundle / "golden.npz"))
    model = json.loads((shared_bundle / "manifest.json").read_bytes())["models"][0]
    check = verify.Checks()
    verify.compare(check, model, lambda images: np.full((len(images), 10), np.nan), golden, 1, "model", gpu=False)
    assert check.failed == 1
    assert "largest difference nan" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--provider", "NoProvider"), "here has no NoProvider, only"),
        (
            ("--engine", "none.engine"),
            "none.engine has precision unknown; give --precision, one of fp32, fp16, int8-cpu, int8-trt",
        ),
        (("--engine", "none.engine", "--precision", "fp16"), "none.engine"),
    ],
)
def test_what_cannot_be_checked_fails(arguments: tuple[str, ...], message: str, shared_bundle: Path, script: Script) -> None:
    done = script(shared_bundle, "verify.py", *arguments)
    assert (done.returncode, done.stderr) == (1, "")
    assert message in failures(done)[0]


@pytest.mark.parametrize("name", ["../outside", "/etc/passwd", "link"])
def test_a_list_that_leads_out_of_the_bundle_is_not_followed(name: str, own_bundle: Path, script: Script) -> None:
    (own_bundle.parent / "outside").write_text("x")
    (own_bundle / "link").symlink_to(own_bundle.parent / "outside")
    digest = hashlib.sha256(b"x").hexdigest()
    (own_bundle / "SHA256SUMS").write_text(f"{digest}  {name}\n")
    done = script(own_bundle, "verify.py")
    assert done.returncode == 1
    assert failures(done) == [f"FAIL  {name} is outside of this folder"]
