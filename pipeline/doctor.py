"""What is installed, what will run here, what will not, and why."""

import importlib
import os
import platform
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Literal, NamedTuple

from pipeline.datasets import DEBIAN_FASHION_MNIST, IDX_FILES
from pipeline.errors import InputError
from pipeline.openvino_runner import load_openvino
from pipeline.output import check_output, folder_of
from pipeline.redact import redacted

State = Literal["ok", "missing", "broken"]
RUNTIMES = ("onnxruntime", "onnxruntime-gpu")
ENGINE_LIBRARIES = {"tensorrt": "tensorrt", "tensorrt-rtx-cu12": "tensorrt_rtx"}


class Finding(NamedTuple):
    """One line of the examination."""

    subject: str
    state: State
    detail: str


def examine(output: Path | str) -> tuple[Finding, ...]:
    """Look at Python, the libraries, the hardware, the data and the output folder; imports what it reports on."""
    checks: tuple[Callable[[], Finding], ...] = (
        _python,
        _torch,
        _pruning,
        _export,
        _runtime,
        _openvino,
        _engines,
        _tracking,
        _flows,
        _data,
    )
    return (*(check() for check in checks), _output(output))


def usable(findings: tuple[Finding, ...]) -> bool:
    """Whether a run can start: nothing that every run needs is missing or broken."""
    optional = {"OpenVINO", "TensorRT engines", "Fashion-MNIST"}
    return all(finding.state == "ok" for finding in findings if finding.subject not in optional)


def _python() -> Finding:
    return Finding(
        "Python",
        "ok",
        f"{platform.python_version()} on {platform.system()} {platform.machine()}, {os.cpu_count()} CPUs",
    )


def _torch() -> Finding:
    finding = _imported("Training and scoring", {"torch": "torch", "torchvision": "torchvision"}, "fair-pruner")
    if finding.state == "ok":
        import torch

        where = torch.cuda.get_device_name() if torch.cuda.is_available() else "CPU, because torch sees no GPU"
        return finding._replace(detail=f"{finding.detail}; runs on the {where}")
    return finding


def _pruning() -> Finding:
    return _imported("Structured removal", {"torch-pruning": "torch_pruning"}, "fair-pruner")


def _export() -> Finding:
    packages = {"onnx": "onnx", "onnxscript": "onnxscript", "onnxconverter-common": "onnxconverter_common"}
    return _imported("ONNX export", packages, "fair-pruner[pipeline]")


def _runtime() -> Finding:
    subject, found = "ONNX Runtime", [name for name in RUNTIMES if installed_version(name)]
    if not found:
        return Finding(subject, "missing", "accuracy and latency of ONNX files need it: pip install fair-pruner[cpu], or [gpu]")
    if len(found) > 1:
        return Finding(subject, "broken", "onnxruntime and onnxruntime-gpu overwrite each other; uninstall both, install one")
    finding = _imported(subject, {found[0]: "onnxruntime"}, "fair-pruner[cpu]")
    return finding._replace(detail=f"{finding.detail}; latency is measured on the CPU") if finding.state == "ok" else finding


def _openvino() -> Finding:
    subject = "OpenVINO"
    if not installed_version("openvino"):
        return Finding(subject, "missing", "benchmark.runtimes cannot name openvino: pip install fair-pruner[openvino]")
    try:
        load_openvino()  # a plain import would report to Google Analytics
    except InputError as error:
        return Finding(subject, "broken", str(error))
    return Finding(subject, "ok", f"openvino {installed_version('openvino')}")


def _engines() -> Finding:
    subject = "TensorRT engines"
    found = {package: module for package, module in ENGINE_LIBRARIES.items() if installed_version(package)}
    if not found:
        return Finding(
            subject,
            "missing",
            "engines are skipped: pip install fair-pruner[gpu] with a GPU, or [rtx] to build without",
        )
    finding = _imported(subject, found, "fair-pruner[rtx]")
    if finding.state == "ok":
        import torch

        where = "" if torch.cuda.is_available() else "; without a GPU they are built, not executed"
        return finding._replace(detail=finding.detail + where)
    return finding


def _tracking() -> Finding:
    finding = _imported("MLflow", {"mlflow": "mlflow"}, "fair-pruner[pipeline]")
    where = os.environ.get("MLFLOW_TRACKING_URI", "SQLite in the output folder")
    return finding._replace(detail=f"{finding.detail}; runs go to {redacted(where)}") if finding.state == "ok" else finding


def _flows() -> Finding:
    finding = _imported("Prefect", {"prefect": "prefect"}, "fair-pruner[pipeline]")
    server = os.environ.get("PREFECT_API_URL", "a server of its own for each run (PREFECT_API_URL is not set)")
    return finding._replace(detail=f"{finding.detail}; {redacted(server)}") if finding.state == "ok" else finding


def _data() -> Finding:
    missing = [name for name in IDX_FILES if not any((DEBIAN_FASHION_MNIST / (name + end)).is_file() for end in ("", ".gz"))]
    if missing:
        return Finding(
            "Fashion-MNIST",
            "missing",
            "apt install dataset-fashion-mnist, or set data.download: true; digits needs nothing",
        )
    return Finding("Fashion-MNIST", "ok", str(DEBIAN_FASHION_MNIST))


def _output(output: Path | str) -> Finding:
    try:
        check_output(output)
    except InputError as error:
        return Finding("Output folder", "broken", str(error))
    shared = f"{output}, at work in " if isinstance(output, str) else ""
    return Finding("Output folder", "ok", f"{shared}{folder_of(output)}")


def _imported(subject: str, packages: dict[str, str], extra: str) -> Finding:
    """Import every module of `packages` (distribution name -> module) and tell the versions, or what to install."""
    for package, module in packages.items():
        if not installed_version(package):
            return Finding(subject, "missing", f"{package} is not installed: pip install {extra}")
        try:
            importlib.import_module(module)
        except (ImportError, OSError) as error:
            return Finding(subject, "broken", f"{package} {installed_version(package)} does not import: {error}")
    return Finding(subject, "ok", ", ".join(f"{package} {installed_version(package)}" for package in packages))


def installed_version(package: str) -> str:
    """The version of an installed distribution, empty if it is not there."""
    try:
        return version(package)
    except PackageNotFoundError:
        return ""
