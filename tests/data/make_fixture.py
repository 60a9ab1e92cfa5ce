"""Turn the dense model of a finished run into a test fixture.

    python tests/data/make_fixture.py runs/NAME tests/data/NAME.safetensors

The weights are those of the run; config, seed and test accuracy go into the file's metadata.
"""

import json
import sys
from pathlib import Path

from safetensors.torch import load_file, save_file


def make_fixture(run: Path, target: Path) -> None:
    report = json.loads((run / "report.json").read_text())
    dense = report["candidates"][0]
    metadata = {
        "config": json.dumps({key: report["config"][key] for key in ("data", "model", "train", "seed")}),
        "seed": str(report["config"]["seed"]),
        "top1_test": str(dense["torch_test"]["top1"]),
        "samples_test": str(dense["torch_test"]["samples"]),
        "architecture": json.dumps(dense["model"]["architecture"]),
    }
    save_file(load_file(run / "dense" / "model.safetensors"), target, metadata=metadata)


if __name__ == "__main__":
    make_fixture(Path(sys.argv[1]), Path(sys.argv[2]))
