"""Checks a bundle on the machine that will run it: files intact, models load, logits as they were where the bundle was made.

    python3 verify.py                             every ONNX file, in ONNX Runtime on the CPU
    python3 verify.py --provider CUDAExecutionProvider
    python3 verify.py --engine model.fp16.engine  an engine built by build_engine.py, on the GPU

Needs numpy and onnxruntime, with --engine numpy and tensorrt (or tensorrt_rtx). One line a check; exit code 0 if all pass, 1 if
not.
"""

import argparse
import hashlib
import importlib
import math
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

FOLDER = Path(__file__).resolve().parent
CPU = "CPUExecutionProvider"
ONLY_ERRORS = 3  # severity of ONNX Runtime's log
ONNX_TYPES = {"float32": "tensor(float)", "float16": "tensor(float16)"}
Classifier = Callable[[NDArray[np.float32]], NDArray[np.float32]]


class Checks:
    """Prints each check and remembers whether one has failed."""

    def __init__(self) -> None:
        self.failed = 0

    def __call__(self, passed: bool, what: str) -> bool:
        """Note one check."""
        print(f"{'ok  ' if passed else 'FAIL'}  {what}", flush=True)
        self.failed += not passed
        return passed


def main() -> int:
    """Run all checks; returns the exit code."""
    parser = argparse.ArgumentParser(description="Check this bundle on the machine that will run it.")
    parser.add_argument("--provider", default=CPU, help=f"of ONNX Runtime; default {CPU}")
    parser.add_argument("--engine", type=Path, help="check this TensorRT engine instead of the ONNX files")
    parser.add_argument("--precision", help="the file that the engine was built from; default: what build_engine.py noted")
    arguments = parser.parse_args()
    sys.dont_write_bytecode = True  # a bundle stays as it is
    check = Checks()
    try:
        sums = check_sums(check)
        if check.failed:
            print("the models were not run: copy the bundle again")
            return 1
        manifest = check_manifest(check, sums)
        if check.failed:
            return 1
        golden = importlib.import_module("bundle_content").read_golden(FOLDER, manifest)
        if arguments.engine:
            check_engine(check, manifest, golden, arguments.engine, arguments.precision)
        else:
            for model in manifest["models"]:
                check_model(check, manifest, golden, model, arguments.provider)
    except Exception as error:  # noqa: BLE001  # ONNX Runtime's errors have no base of their own
        check(False, f"{type(error).__name__}: {' '.join(str(error).split())}")
    print(f"{check.failed} checks failed" if check.failed else "all checks passed")
    return 1 if check.failed else 0


def check_sums(check: Checks) -> dict[str, str]:
    """Every file against SHA256SUMS; returns the digests by path."""
    sums = {}
    for line in (FOLDER / "SHA256SUMS").read_text(encoding="utf-8").splitlines():
        digest, _, name = line.partition("  ")
        sums[name] = digest
        file = FOLDER / name
        if FOLDER not in file.resolve().parents:
            found = "outside of this folder"
        else:
            found = "missing" if not file.is_file() else "intact" if sha256(file) == digest else "damaged"
        check(found == "intact", f"{name} is {found}")
    check(bool(sums), f"SHA256SUMS lists {len(sums)} files")
    return sums


def check_manifest(check: Checks, sums: dict[str, str]) -> dict[str, Any]:
    """manifest.json against the other files."""
    manifest: dict[str, Any] = importlib.import_module("bundle_content").read_manifest(FOLDER)
    for entry in (*manifest["models"], *manifest["engines"], manifest["golden"]):
        path = FOLDER / entry["path"]
        same = sums.get(entry["path"]) == entry["sha256"] and path.is_file() and path.stat().st_size == entry["size_bytes"]
        check(same, f"manifest.json and SHA256SUMS {'agree' if same else 'differ'} about {entry['path']}")
    return manifest


def check_model(check: Checks, manifest: dict[str, Any], golden: dict[str, Any], model: dict[str, Any], provider: str) -> None:
    """An ONNX file in ONNX Runtime: inputs and outputs as promised, logits as they were."""
    onnxruntime = importlib.import_module("onnxruntime")
    available = onnxruntime.get_available_providers()
    if provider not in available:
        check(False, f"ONNX Runtime {onnxruntime.__version__} here has no {provider}, only {', '.join(available)}")
        return
    options = onnxruntime.SessionOptions()
    options.log_severity_level = ONLY_ERRORS
    # 8-bit products must not saturate on CPUs without instructions for them
    options.add_session_config_entry("session.x64quantprecision", "1")
    session = onnxruntime.InferenceSession(str(FOLDER / model["path"]), options, providers=[provider])
    used = session.get_providers()[0]
    check(used == provider, f"{model['path']} loads in ONNX Runtime {onnxruntime.__version__} with {used}")
    for wanted, found in ((manifest["inputs"], session.get_inputs()), (manifest["outputs"], session.get_outputs())):
        promised = [(each["name"], ONNX_TYPES[each["dtype"]], list(each["shape"])) for each in wanted]
        there = [(each.name, each.type, list(each.shape)) for each in found]
        check(promised == there, f"{model['path']} has {there}" + ("" if promised == there else f", not {promised}"))
    source, logits = manifest["inputs"][0]["name"], manifest["outputs"][0]["name"]

    def run(images: NDArray[np.float32]) -> NDArray[np.float32]:
        result: NDArray[np.float32] = session.run([logits], {source: images})[0]
        return result

    for batch in manifest["golden"]["batch_sizes"]:
        compare(check, model, run, golden, batch, model["path"], gpu=used != CPU)


def check_engine(check: Checks, manifest: dict[str, Any], golden: dict[str, Any], path: Path, precision: str | None) -> None:
    """An engine on the GPU: logits as they were, in every golden batch that it takes."""
    built = importlib.import_module("bundle_content").read_note(path)
    shipped = {(FOLDER / each["path"]).resolve(): each["precision"] for each in manifest["engines"]}
    precision = precision or built.get("precision") or shipped.get(path.resolve())
    models = {model["precision"]: model for model in manifest["models"]}
    if precision not in models:
        check(False, f"{path.name} has precision {precision or 'unknown'}; give --precision, one of {', '.join(models)}")
        return
    model = models[precision]
    if built:
        check(built["sha256"] == sha256(path), f"{path.name} is the file that build_engine.py wrote")
        check(built["onnx_sha256"] == model["sha256"], f"{path.name} was built from {model['path']} of this bundle")
    names = manifest["inputs"][0]["name"], manifest["outputs"][0]["name"]
    engine = importlib.import_module("cuda_engine").Engine(path, *names)
    smallest, largest = engine.batches
    check(True, f"{path.name} loads in {engine.version}, for batches of {smallest} to {largest}")
    batches = [batch for batch in manifest["golden"]["batch_sizes"] if smallest <= batch <= largest] or [smallest]
    for batch in batches:
        compare(check, model, engine, golden, batch, path.name, gpu=True)


def compare(
    check: Checks, model: dict[str, Any], run: Classifier, golden: dict[str, Any], batch: int, name: str, *, gpu: bool
) -> None:
    """Logits of as many golden images as fill whole batches, against those of the machine where the bundle was made."""
    count = max(1, len(golden["images"]) // batch) * batch
    images, expected, tolerance = golden["images"][:count], golden[f"logits.{model['precision']}"][:count], model["tolerance"]
    found = np.concatenate([run(images[at : at + batch]) for at in range(0, len(images), batch)])
    apart, measure = abs(found - expected).astype(np.float64), tolerance["measure"]
    difference = float(apart.max() if measure == "largest" else np.sqrt(np.square(apart).mean()))
    allowed = tolerance["max_difference_gpu"] if gpu else tolerance["max_difference"]
    agreeing = int((found.argmax(1) == expected.argmax(1)).sum())
    least = math.ceil(tolerance["min_agreement"] * len(images) - 1e-9)
    check(
        difference <= allowed and agreeing >= least,
        f"{name}, batch {batch}: {measure} difference {difference:.2e} (allowed {allowed:.2e}), same top-1 class on {agreeing} "
        f"of {len(images)} images (at least {least})",
    )


def sha256(path: Path) -> str:
    """Digest of a file."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(2**20):
            digest.update(block)
    return digest.hexdigest()


if __name__ == "__main__":
    sys.exit(main())
