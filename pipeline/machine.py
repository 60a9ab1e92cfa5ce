"""The machine that a latency is measured on, and the refusal to compare it with another."""

import os
import platform
import shutil
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import psutil

from pipeline.errors import InputError
from pipeline.latency import Machine

LOOK_SECONDS = 1.0
GPU_FACTS = "name,driver_version,power.limit"
GPU_SECONDS = 20  # nvidia-smi hangs where a GPU has fallen off the bus
CPUS, CPU_INFORMATION = Path("/sys/devices/system/cpu"), Path("/proc/cpuinfo")
# by runtime, the distributions that can bring it
DISTRIBUTIONS = {
    "onnxruntime": ("onnxruntime", "onnxruntime-gpu"),
    "onnxruntime-cuda": ("onnxruntime-gpu",),
    "onnxruntime-tensorrt": ("onnxruntime-gpu", "tensorrt"),
    "tensorrt": ("tensorrt", "tensorrt-rtx-cu12"),
}


def describe(libraries: tuple[str, ...], core: int = 0) -> Machine:
    """Look at the machine for a second. `libraries`, runtimes or distributions, will run the models on `core` or others.

    `throttled` is left open, since it takes a look before and one after (`throttle_count`). A library that is not installed
    is left out of the versions.
    """
    return Machine(
        cpu=_cpu_name(),
        cores=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        system=platform.platform(),
        gpu=_gpu(),
        governor=_read(CPUS / f"cpu{core}/cpufreq/scaling_governor"),
        mhz=_mhz(core),
        versions={"python": platform.python_version()} | {name: version(name) for name in _installed(libraries)},
        load_average=os.getloadavg()[0],
        busy_cores=psutil.cpu_percent(interval=LOOK_SECONDS) / 100 * (os.cpu_count() or 1),
    )


def throttle_count() -> int | None:
    """How often the cores have slowed down for heat since the system started; None where it does not tell."""
    counts = [int(file.read_text()) for file in CPUS.glob("cpu[0-9]*/thermal_throttle/core_throttle_count")]
    return sum(counts) if counts else None


def refuse_other_machine(first: Machine, second: Machine) -> None:
    """Raise InputError that names what differs if latencies of the two must not be compared; `second` is this machine."""
    there, here = first.identity, second.identity
    differing = [key for key in sorted(there | here) if there.get(key) != here.get(key)]
    if differing:
        what = ", ".join(f"{key} is {there.get(key) or 'none'} there and {here.get(key) or 'none'} here" for key in differing)
        raise InputError(f"latencies of different machines are not compared: {what}; measure both here")


def _installed(libraries: tuple[str, ...]) -> list[str]:
    return [name for library in libraries for name in DISTRIBUTIONS.get(library, (library,)) if _is_installed(name)]


def _is_installed(distribution: str) -> bool:
    try:
        version(distribution)
    except PackageNotFoundError:
        return False
    return True


def _cpu_name() -> str:
    return _of_core("model name", 0) or platform.processor() or platform.machine()


def _mhz(core: int) -> float | None:
    khz = _read(CPUS / f"cpu{core}/cpufreq/scaling_cur_freq")
    if khz:
        return int(khz) / 1000
    mhz = _of_core("cpu MHz", core)
    return float(mhz) if mhz else None


def _of_core(key: str, core: int) -> str:
    """What Linux's cpuinfo says of a core, empty if it says nothing."""
    blocks = _read(CPU_INFORMATION).split("\n\n")
    lines = blocks[min(core, len(blocks) - 1)].splitlines()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith(key)), "")


def _gpu() -> str:
    """Name, driver and power limit of the first GPU, empty without one."""
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return ""
    command = [tool, f"--query-gpu={GPU_FACTS}", "--format=csv,noheader", "--id=0"]
    try:
        result = subprocess.run(command, capture_output=True, text=True, timeout=GPU_SECONDS, check=False)  # noqa: S603
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return result.stdout.strip() if result.returncode == 0 else ""


def _read(file: Path) -> str:
    return file.read_text().strip() if file.is_file() else ""
