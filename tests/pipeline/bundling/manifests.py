"""A manifest.json with all that the scripts of a bundle rely on, and little else."""

from typing import Any

FILE = {"sha256": "0" * 64, "size_bytes": 7}
TENSOR = {"name": "input", "dtype": "float32", "shape": ["batch", 1, 8, 8]}
ALLOWED = {"measure": "largest", "max_difference": 0.1, "max_difference_gpu": 0.1, "min_agreement": 0.9, "reason": "rounding"}
MANIFEST: dict[str, Any] = {
    "schema_version": 1,
    "run": "digits",
    "inputs": [TENSOR],
    "outputs": [{**TENSOR, "name": "logits", "shape": ["batch", 10]}],
    "profile": {"min": 1, "opt": 8, "max": 16},
    "models": [
        {**FILE, "path": f"model.{precision}.onnx", "precision": precision, "tolerance": ALLOWED}
        for precision in ("fp32", "fp16")
    ],
    "engines": [{**FILE, "path": "engines/model.fp16.engine", "precision": "fp16"}],
    "golden": {**FILE, "path": "golden.npz", "samples": 4, "batch_sizes": [1, 3]},
}
