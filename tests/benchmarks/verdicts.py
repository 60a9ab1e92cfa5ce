"""How often a verdict is wrong: python tests/benchmarks/verdicts.py [--trials N]

Copies of one ONNX file (a 3x3 convolution of 64 channels, 14x14, one image, one thread) are measured against each other by the
product's own benchmark, one whole measurement a trial: whatever calls a copy faster or slower than the first one is wrong. An
interval of 95 % may be wrong in one of twenty. Needs a machine with nothing else to do.
"""

import argparse
import shutil
from collections import Counter
from pathlib import Path
from tempfile import TemporaryDirectory

from flows.environment import prepare_environment

prepare_environment()

from staircase import KIND  # noqa: E402

from pipeline.bench_files import bench_config, bench_files  # noqa: E402
from pipeline.layer_models import layer_model  # noqa: E402

CHANNELS, COPIES = 64, 4


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=40)
    trials = parser.parse_args().trials
    config = bench_config(batch_sizes=(1,), min_seconds=0.5, warmup_seconds=0.05)
    verdicts: Counter[str] = Counter()
    widths = []
    with TemporaryDirectory() as name:
        files = [Path(name, f"{copy}.onnx") for copy in range(COPIES + 1)]
        files[0].write_bytes(layer_model(KIND, CHANNELS, CHANNELS))
        for copy in files[1:]:
            shutil.copy(files[0], copy)
        for _ in range(trials):
            series = bench_files(tuple(files), config, None).series[1:]
            verdicts.update(each.verdict for each in series)
            widths += [each.speedup_high / each.speedup_low - 1 for each in series]
    wrong = verdicts["faster"] + verdicts["slower"]
    print(f"{wrong} of {len(widths)} verdicts wrong: {dict(verdicts)}; intervals {sum(widths) / len(widths):.1%} wide")  # noqa: T201


if __name__ == "__main__":
    main()
