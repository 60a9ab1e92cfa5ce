"""At which channel counts a convolution is fast on this CPU: python tests/benchmarks/staircase.py [--figure PATH.png]

A 3x3 convolution with bias and ReLU from c to c channels at 14x14, c = 1 ... MOST, one image, one thread, in ONNX Runtime and in
OpenVINO if that is installed. Every file takes its turn in each of PASSES processes; the least median counts. Then the same by
c mod 16, as the time for each MAC over that at the multiples of 16 (mean over c > 16). Needs a machine with nothing else to do.
"""

import argparse
import statistics
import tempfile
from pathlib import Path

from matplotlib.figure import Figure

from flows.environment import prepare_environment
from pipeline.doctor import installed_version
from pipeline.drawing import CANDIDATE, DENSE, plain, png, title
from pipeline.latency import Runtime
from pipeline.latency_process import run_round
from pipeline.latency_round import Round, Turn
from pipeline.layer_kinds import LayerKind
from pipeline.layer_models import INPUT, OUTPUT, layer_model
from pipeline.machine import describe
from pipeline.pinning import choose_cores

MOST, SIDE, PASSES, RUNS, BLOCK = 96, 14, 5, 60, 16
KIND = LayerKind(operator="conv", size=(SIDE, SIDE), kernel=(3, 3), stride=(1, 1), padding=(1, 1, 1, 1), dilation=(1, 1))
COUNTS = range(1, MOST + 1)
Times = dict[int, float]  # milliseconds by channel count
TITLES: dict[Runtime, str] = {"onnxruntime": "ONNX Runtime", "openvino": "OpenVINO"}


def measure(runtime: Runtime, folder: Path) -> Times:
    files = [folder / f"{count}.onnx" for count in COUNTS]
    for count, file in zip(COUNTS, files, strict=True):
        file.write_bytes(layer_model(KIND, count, count))
    turns = tuple(
        Turn(str(file), runtime, INPUT, OUTPUT, (count, SIDE, SIDE), (1,), (RUNS,))
        for count, file in zip(COUNTS, files, strict=True)
    )
    asked = Round(turns, 1, choose_cores(1), warmup_seconds=0.005)
    passes = [run_round(asked, [file.name for file in files]) for _ in range(PASSES)]
    medians = [[statistics.median(timings.wall_ms) for (timings,) in one] for one in passes]
    return {count: min(of_file) for count, of_file in zip(COUNTS, zip(*medians, strict=True), strict=True)}


def penalty(times: Times) -> dict[int, float]:
    """By c mod BLOCK: time for each MAC over that of the nearest multiples of BLOCK around c."""
    found: dict[int, list[float]] = {}
    for count in range(BLOCK + 1, MOST - BLOCK + 1):
        below = count // BLOCK * BLOCK
        share = (count - below) / BLOCK
        each = (1 - share) * times[below] / below**2 + share * times[below + BLOCK] / (below + BLOCK) ** 2
        found.setdefault(count % BLOCK, []).append(times[count] / count**2 / each)
    return {rest: statistics.mean(found[rest]) for rest in sorted(found)}


def drawn(measured: dict[Runtime, Times], cpu: str) -> bytes:
    canvas = Figure(figsize=(9, 3.8), layout="constrained", dpi=150)
    axes = canvas.subplots()
    for (runtime, times), colour in zip(measured.items(), (CANDIDATE, DENSE), strict=False):
        axes.plot(list(times), list(times.values()), ".-", color=colour, label=TITLES[runtime], linewidth=1, markersize=4)
    axes.set_xticks(range(0, MOST + 1, 8))
    axes.set_xlim(0, MOST + 1)
    axes.set_ylim(0)
    plain(axes)
    title(axes, "Latency of a 3x3 convolution by its channels", f"c to c channels at {SIDE}x{SIDE}, batch 1, one thread · {cpu}")
    axes.set_xlabel("channels c")
    axes.set_ylabel("median latency [ms]")
    axes.legend(frameon=False, loc="upper left")
    return png(canvas)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--figure", type=Path, help="write the figure there, as PNG")
    arguments = parser.parse_args()
    prepare_environment()
    runtimes: tuple[Runtime, ...] = ("onnxruntime", "openvino") if installed_version("openvino") else ("onnxruntime",)
    measured: dict[Runtime, Times] = {}
    for runtime in runtimes:
        with tempfile.TemporaryDirectory() as folder:
            measured[runtime] = measure(runtime, Path(folder))
    machine = describe(runtimes)
    print(f"{machine.cpu}, {machine.versions}, other work: {machine.busy_cores:.2f} cores\n")  # noqa: T201
    rests = range(BLOCK)
    print(f"| c mod {BLOCK} | {' | '.join(map(str, rests))} |\n|{'---|' * (BLOCK + 1)}")  # noqa: T201
    for runtime, times in measured.items():
        by_rest = penalty(times)
        print(f"| {TITLES[runtime]} | {' | '.join(f'{by_rest[rest]:.2f}' for rest in rests)} |")  # noqa: T201
    if arguments.figure:
        arguments.figure.write_bytes(drawn(measured, machine.cpu))


if __name__ == "__main__":
    main()
