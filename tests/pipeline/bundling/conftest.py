"""A finished run of a tiny VGG: real files in all precisions, real accuracy; latency and plan are made up. And its bundle."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.bundle import bundle
from pipeline.config import DataConfig, EvaluateConfig, ExportConfig, QuantizeConfig, RunConfig
from pipeline.data import load_data
from pipeline.evaluate import evaluate
from pipeline.export import export
from pipeline.exported import EngineRecord, OnnxRecord, Precision
from pipeline.latency import LatencyReport, LatencySeries, Machine
from pipeline.measurements import Candidate, Recommendation, RunReport, Variant
from pipeline.quantize import quantize
from pipeline.records import CalibrationSet, ModelRecord
from pipeline.store import Store
from pipeline.variants import variant

from ..conftest import SEED, make_dense
from ..reporting.conftest import plan_record, score_record

DATA, CHECK = DataConfig(), ExportConfig(samples=32)
PRUNED = "tolerance-0.2"
PRECISIONS: tuple[Precision, ...] = ("fp16", "int8-cpu", "int8-trt")


def finished_run(folder: Path) -> RunReport:
    """Write `folder`/report.json and the store beside the folder. Both candidates have the same network and files."""
    store = Store(folder.parent / "store")
    model = make_dense(store)
    onnx = export(model, DATA, SEED, CHECK, store)
    dense = _candidate("dense", model, onnx, store)
    pruned = dense.model_copy(
        update={
            "name": PRUNED,
            "tolerance": 0.2,
            "plan": plan_record(store, 0.2),
            "variants": tuple(_variant(dense, precision, store) for precision in PRECISIONS),
        }
    )
    config = RunConfig(name=folder.name, seed=SEED, output=folder.parent, data=DATA)
    report = RunReport(
        name=folder.name,
        folder=str(folder),
        config=config.model_dump(mode="json"),
        config_digest="",
        git_commit="0123456789abcdef",
        flow_run_id="",
        candidates=(dense, pruned),
        latency=_latency(),
        scores=score_record(store),
        recommendation=Recommendation(candidate=PRUNED, precision="int8-cpu", reason="it is the quickest"),
        pareto=("dense", PRUNED),
    )
    folder.mkdir()
    (folder / "report.json").write_text(report.model_dump_json())
    return report


def _candidate(name: str, model: ModelRecord, onnx: OnnxRecord, store: Store) -> Candidate:
    validation, test = (evaluate(onnx, split, DATA, SEED, EvaluateConfig(), store) for split in ("validation", "test"))
    return Candidate(
        name=name,
        tolerance=None,
        plan=None,
        model=model,
        recalibrated_validation=None,
        torch_validation=validation,
        torch_test=test,
        onnx=onnx,
        onnx_validation=validation,
        onnx_test=test,
        engine=EngineRecord(status="skipped", reason="no TensorRT library"),
        stage_seconds={},
    )


def _variant(of: Candidate, precision: Precision, store: Store) -> Variant:
    calibration = CalibrationSet(indices=load_data(DATA, SEED).fit_indices[:32], per_class=3, num_classes=10)
    made = quantize(of.onnx, precision, calibration, DATA, SEED, QuantizeConfig(samples=32), CHECK, store)
    validation = evaluate(made, "validation", DATA, SEED, EvaluateConfig(), store)
    # no GPU is needed to tell an engine that ran on one from one that was only built
    engines = {
        "fp16": EngineRecord(
            status="executed",
            file=store.put(b"ftrt, an engine as far as a bundle can tell", ".engine"),
            library="tensorrt",
            library_version="10.3.0",
            precision="fp16",
            profile=(1, 8, 16),
            gpu="Some GPU",
            compute_capability="8.6",
        ),
        "int8-trt": EngineRecord(
            status="built",
            reason="no GPU on this machine",
            file=store.put(b"vtrt, built", ".engine"),
            library="tensorrt_rtx",
            library_version="1.7.1",
            profile=(1, 8, 16),
        ),
    }
    skipped = EngineRecord(status="skipped", reason="TensorRT wants int8-trt")
    return variant(made, validation, of.onnx_validation, engines.get(precision, skipped), None, store)


def _latency() -> LatencyReport:
    machine = Machine(
        cpu="Model CPU 3000",
        cores=2,
        system="Linux 6",
        versions={"python": "3.11.7", "onnxruntime": "1.24.0"},
        load_average=0.42,
        busy_cores=0.1,
    )
    reference = LatencySeries(
        candidate="dense",
        batch_size=1,
        runs=400,
        p50_ms=0.5,
        p50_low_ms=0.49,
        p50_high_ms=0.52,
        p90_ms=0.6,
        p95_ms=0.65,
        p99_ms=0.8,
        mean_ms=0.52,
        throughput=2000,
        speedup=1,
        speedup_low=1,
        speedup_high=1,
        verdict="reference",
    )
    quicker = {"candidate": PRUNED, "p50_ms": 0.25, "speedup": 2.0, "speedup_low": 1.9, "speedup_high": 2.1, "verdict": "faster"}
    return LatencyReport(machine=machine, threads=2, rounds=20, series=(reference, reference.model_copy(update=quicker)))


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunReport:
    """One run for all tests; do not write to its folder or its store."""
    return finished_run(tmp_path_factory.mktemp("runs") / "digits")


@pytest.fixture(scope="session")
def store(run: RunReport) -> Store:
    """The run's."""
    return Store(Path(run.folder).parent / "store")


@pytest.fixture(scope="session")
def shared_bundle(run: RunReport, store: Store, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bundle of the pruned candidate, to be read only."""
    target = tmp_path_factory.mktemp("bundles") / "bundle"
    bundle(run, PRUNED, target, DATA, SEED, EvaluateConfig(), store)
    return target


@pytest.fixture
def own_bundle(shared_bundle: Path, tmp_path: Path) -> Path:
    """A copy of the bundle, to be changed."""
    return Path(shutil.copytree(shared_bundle, tmp_path / "bundle"))


@pytest.fixture(scope="session")
def script() -> Callable[..., subprocess.CompletedProcess[str]]:
    """run(bundle, script, *arguments, python=...): run a script of a bundle as its user would, not knowing our packages."""

    def run(bundle: Path, name: str, *arguments: object, python: str = sys.executable) -> subprocess.CompletedProcess[str]:
        environment = {"PATH": os.environ["PATH"], "OMP_NUM_THREADS": "1", "ORT_DISABLE_TELEMETRY": "1"}
        command = [python, "-E", "-s", str(bundle / name), *map(str, arguments)]
        return subprocess.run(command, capture_output=True, text=True, check=False, env=environment, cwd=bundle.parent)

    return run
