import json
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from flows.plan import plan_all
from flows.sweep import sweep
from flows.tasks import cache_key
from pipeline.config import DataConfig, RunConfig, ScoreConfig, TrainConfig
from pipeline.dense import dense
from pipeline.errors import InputError
from pipeline.finetune import finetune
from pipeline.measurements import RunReport
from pipeline.records import CalibrationSet
from pipeline.score import score
from pipeline.store import Store

from .conftest import tiny

pytestmark = pytest.mark.usefixtures("prefect_server")


class Lines(logging.Handler):
    """Keeps what the pipeline logs."""

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self.texts: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.texts.append(record.getMessage())

    @property
    def cached(self) -> tuple[int, int]:
        """Tasks and cached tasks of the last sweep."""
        words = [text for text in self.texts if "from the cache" in text][-1].split()
        return int(words[0]), int(words[2])


@pytest.fixture
def lines() -> Iterator[Lines]:
    handler, logger = Lines(), logging.getLogger("pipeline")
    logger.addHandler(handler)
    yield handler
    logger.removeHandler(handler)


@pytest.fixture
def finished(tmp_path: Path, lines: Lines) -> tuple[RunConfig, RunReport]:
    config = tiny(tmp_path / "runs")
    return config, sweep(config)


def test_a_sweep_leaves_what_it_promises_and_a_second_one_reuses_it(finished: tuple[RunConfig, RunReport], lines: Lines) -> None:
    config, report = finished
    names = [candidate.name for candidate in report.candidates]
    assert names == ["dense", "tolerance-0.3", "tolerance-0.6"]
    assert lines.cached == (3 + 6 + 2 * 11 + 2, 0)
    folder = config.output / "tiny"
    assert RunReport.model_validate_json((folder / "report.json").read_text()).candidates == report.candidates
    for name in names:
        assert (folder / name / "model.onnx").stat().st_size > 0
        assert (folder / name / "model.engine").exists() == (report.candidates[0].engine.status == "built")
    dense, shallow, deep = report.candidates
    assert dense.model.macs > shallow.model.macs > deep.model.macs
    assert abs(dense.torch_test.top1 - dense.onnx_test.top1) < 0.01
    assert {series.candidate for series in report.latency.series} == set(names)
    lineage = (deep.plan.parents[0], deep.onnx.parents[0], deep.onnx_test.subject)
    assert lineage == (dense.model.digest, deep.model.digest, deep.onnx.digest)

    # one tolerance more: only its branch, the benchmark and the report are new
    wider = config.model_copy(update={"allocate": config.allocate.model_copy(update={"tolerances": (0.3, 0.45, 0.6)})})
    again = sweep(wider)
    assert lines.cached == (3 + 6 + 3 * 11 + 2, 3 + 6 + 2 * 11)
    assert [c.model.digest for c in again.candidates if c.name in names] == [c.model.digest for c in report.candidates]

    # a file of the store that is gone is made anew, with the same content
    store, lost = Store(config.output / "store"), deep.onnx.file
    store.path(lost).unlink()
    assert sweep(wider).candidates[-1].onnx.file == lost
    assert store.path(lost).stat().st_size == lost.size_bytes

    # so are records that were half-written when a run was killed
    for stage in ("prune", "evaluate"):
        record = next((config.output / "cache").glob(f"{stage}-*"))
        record.write_text(record.read_text()[:100])
    assert [c.model.digest for c in sweep(wider).candidates] == [c.model.digest for c in again.candidates]
    assert len([text for text in lines.texts if "is torn or altered" in text]) == 2

    # plans come from the same cache, without a server
    before = {path.name for path in (config.output / "cache").iterdir()}
    model, plans = plan_all(wider)
    assert model.digest == dense.model.digest
    assert [plan.digest for plan in plans] == [c.plan.digest for c in again.candidates[1:]]
    assert {path.name for path in (config.output / "cache").iterdir()} == before


def test_every_precision_is_made_measured_and_judged(tmp_path: Path) -> None:
    precisions = ("fp16", "int8-cpu", "int8-trt")
    settings = {"allocate": {"tolerances": [0.5]}, "quantize": {"precisions": precisions, "samples": 40}}
    config = tiny(tmp_path / "runs", **settings)
    report = sweep(config)
    for candidate in report.candidates:
        assert tuple(variant.onnx.precision for variant in candidate.variants) == precisions
        for variant in candidate.variants:
            assert variant.onnx.parents[0] == candidate.onnx.digest
            assert variant.validation.subject == variant.onnx.digest
            assert variant.against.samples == candidate.onnx_validation.samples
            assert (config.output / "tiny" / candidate.name / f"model.{variant.onnx.precision}.onnx").is_file()
        assert candidate.variants[1].engine.status == "skipped"
    assert measured(report) == {
        (name, file, "onnxruntime") for name in ("dense", "tolerance-0.5") for file in ("fp32", "int8-cpu")
    }
    assert report.recommendation.candidate or report.recommendation.refused


@pytest.mark.slow
def test_layer_costs_and_a_second_runtime_are_measured(tmp_path: Path) -> None:
    settings = {"allocate": {"tolerances": [0.5]}, "quantize": {"precisions": ["int8-cpu"], "samples": 40}}
    benchmark = {"runtimes": ["onnxruntime", "torch"], "batch_sizes": [1], "rounds": 5, "min_seconds": 0.05, "warmup_seconds": 0}
    costs = {"enabled": True, "points": 2, "precision": "int8-cpu"}
    report = sweep(tiny(tmp_path / "runs", **settings, benchmark=benchmark, layer_costs=costs))
    files = (("fp32", "onnxruntime"), ("int8-cpu", "onnxruntime"), ("fp32", "torch"))
    assert measured(report) == {(name, *file) for name in ("dense", "tolerance-0.5") for file in files}
    assert [series.verdict for series in report.latency.series].count("reference") == 2
    assert report.layer_costs
    assert report.layer_costs.precision == "int8-cpu"
    assert report.candidates[-1].plan.latency_ms > 0


def measured(report: RunReport) -> set[tuple[str, str, str]]:
    """What has a latency: candidate, precision, runtime."""
    return {(series.candidate, series.precision, series.runtime) for series in report.latency.series}


def test_a_checkpoint_is_known_by_its_content(finished: tuple[RunConfig, RunReport], tmp_path: Path) -> None:
    config, report = finished
    checkpoint = tmp_path / "trained.safetensors"
    checkpoint.write_bytes((config.output / "tiny" / "dense" / "model.safetensors").read_bytes())
    changed = config.model_copy(update={"model": config.model.model_copy(update={"checkpoint": checkpoint})})
    model, plans = plan_all(changed)
    assert model.weights == report.candidates[0].model.weights
    assert [plan.plan for plan in plans] == [c.plan.plan for c in report.candidates[1:]]
    other = tiny(tmp_path / "elsewhere", seed=1)
    checkpoint.write_bytes(Store(other.output / "store").path(plan_all(other)[0].weights).read_bytes())
    assert plan_all(changed)[0].weights != model.weights


def test_bad_input_ends_the_flow_with_its_own_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="did you mean vgg"):
        sweep(tiny(tmp_path, model={"name": "vggg"}))
    assert not (tmp_path / "tiny").exists()


def test_keys_follow_what_decides_a_result_and_nothing_else() -> None:
    record = CalibrationSet(indices=(1,), per_class=1, num_classes=2)
    key = cache_key(finetune, {"model": record, "config": TrainConfig(), "label": "a", "store": Store(Path("x"))})
    assert key == cache_key(finetune, {"model": record, "config": TrainConfig(), "label": "b", "store": Store(Path("y"))})
    assert key == cache_key(finetune, {"model": record.model_copy(update={"seconds": 5.0}), "config": TrainConfig()})
    assert key == cache_key(finetune, {"model": record, "config": TrainConfig(checkpoint_seconds=1)})
    assert key == cache_key(finetune, {"model": record, "config": TrainConfig(), "wanted": 0.0})  # its default
    assert key != cache_key(dense, {"model": record, "config": TrainConfig()})
    assert key != cache_key(finetune, {"model": record, "config": TrainConfig(epochs=31)})
    assert key != cache_key(finetune, {"model": record.model_copy(update={"per_class": 2}), "config": TrainConfig()})
    assert cache_key(dense, {"data": DataConfig()}) != cache_key(dense, {"data": DataConfig(validation_fraction=0.2)})
    assert key.replace("-", "").isalnum()  # it is a file name


@pytest.mark.usefixtures("code_allowed")
def test_a_removal_function_is_known_by_its_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "own_signal.py"
    file.write_text("def signal(group, model):\n    return 0\n")
    config = ScoreConfig(removal="own_signal:signal")
    key = cache_key(score, {"config": config})
    assert key == cache_key(score, {"config": config})
    file.write_text("def signal(group, model):\n    return 1\n")
    assert key != cache_key(score, {"config": config})
    assert key != cache_key(score, {"config": ScoreConfig()})
    assert cache_key(score, {"config": ScoreConfig()}) != cache_key(score, {"config": ScoreConfig(observe="norm")})


def test_the_flow_describes_its_parameters() -> None:
    schema = sweep.parameters.model_dump()
    assert list(schema["properties"]) == ["config"]
    assert json.dumps(schema)
