"""verify.py where nothing is installed but numpy and ONNX Runtime, as on the device."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import pipeline

from .test_verify import failures, flip

CONSTRAINTS = Path(pipeline.__file__).parents[1] / "deploy" / "constraints.txt"


@pytest.fixture(scope="module")
def bare_python(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The Python of a new virtual environment with numpy and ONNX Runtime; skips where no package index can be reached."""
    folder = tmp_path_factory.mktemp("bare")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    python = str(folder / "bin" / "python")
    options = ("--quiet", "--no-compile", "--only-binary", ":all:", "--constraint", str(CONSTRAINTS))
    command = [sys.executable, "-m", "pip", "--python", python, "install", *options, "numpy", "onnxruntime"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if "No matching distribution" in done.stderr or "Connection" in done.stderr:
        pytest.skip("numpy and onnxruntime cannot be downloaded here")
    assert done.returncode == 0, done.stderr
    return python


def test_verify_runs_in_a_bare_environment_and_fails_on_a_flipped_bit(
    bare_python: str, own_bundle: Path, script: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    ours = subprocess.run([bare_python, "-c", "import pipeline"], capture_output=True, check=False, cwd=own_bundle)
    assert ours.returncode != 0
    good = script(own_bundle, "verify.py", python=bare_python)
    assert (good.returncode, good.stderr) == (0, "")
    assert good.stdout.splitlines()[-1] == "all checks passed"
    for name in ("model.int8-cpu.onnx", "golden.npz", "manifest.json"):
        flip(own_bundle / name)
        done = script(own_bundle, "verify.py", python=bare_python)
        assert (done.returncode, failures(done)) == (1, [f"FAIL  {name} is damaged"])
        flip(own_bundle / name)
    quick = ("--seconds", "0.02", "--warmup", "0", "--batches", "1")
    assert script(own_bundle, "benchmark.py", *quick, python=bare_python).returncode == 0
