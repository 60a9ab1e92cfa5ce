"""The stages as Prefect tasks, cached by what decides their result: the digests of their records and their settings."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from inspect import Parameter, signature
from pathlib import Path
from typing import Any, TypeVar

from prefect import Task, task
from prefect.cache_policies import NO_CACHE
from prefect.context import TaskRunContext
from prefect.results import ResultStore
from pydantic import BaseModel

from flows.limits import alone
from flows.progress_artifact import progress_artifact
from flows.record_files import RecordSerializer, whole
from flows.record_storage import record_storage
from pipeline.ablation_report import ablation_report
from pipeline.allocate import allocate
from pipeline.benchmark import benchmark
from pipeline.build_engine import build_engine
from pipeline.calibrate import calibrate
from pipeline.config import DataConfig, ScoreConfig
from pipeline.data import fingerprint as data_fingerprint
from pipeline.dense import dense
from pipeline.doctor import installed_version
from pipeline.evaluate import evaluate
from pipeline.export import export
from pipeline.finetune import finetune
from pipeline.layer_costs import layer_costs
from pipeline.memory import told_of_memory
from pipeline.output import folder_of
from pipeline.progress import log
from pipeline.prune import prune
from pipeline.quantize import quantize
from pipeline.recalibrate import recalibrate
from pipeline.records import Record, digest_of
from pipeline.registry import register
from pipeline.removal import fingerprint as score_fingerprint
from pipeline.report import report
from pipeline.score import score
from pipeline.shared import fetch, send_if_lost
from pipeline.store import Store
from pipeline.track import track
from pipeline.track_ablation import track_ablation
from pipeline.verify_engine import verify_engine
from pipeline.whole_files import remove_abandoned

R = TypeVar("R", bound=Record)
UNHASHED = frozenset({"store", "label"})  # where files lie and what a bar is called decide nothing
LIBRARIES = (
    "fair-pruner",
    "torch",
    "torch-pruning",
    "onnx",
    "onnxconverter-common",
    "nvidia-modelopt",
    "onnxruntime",
    "onnxruntime-gpu",
    "tensorrt",
    "tensorrt-rtx-cu12",
)


def cache_key(stage: Callable[..., Record], arguments: Mapping[str, Any]) -> str:
    """What decides the result of a stage, as a file name.

    Library versions, the form of the record that it returns, and every argument but those in UNHASHED, also those left to
    their defaults, which Prefect fills in before it asks: records by digest, data sets and a person's own removal function by
    what their files hold, settings by value.
    """
    called = signature(stage)
    defaults = {name: each.default for name, each in called.parameters.items() if each.default is not Parameter.empty}
    values = {name: _content(value) for name, value in {**defaults, **arguments}.items() if name not in UNHASHED}
    form = called.return_annotation.model_json_schema()
    return f"{stage.__name__}-{digest_of({'versions': _versions(), 'form': form, 'arguments': values})}"


def _content(value: Any) -> Any:
    if isinstance(value, Record):
        return value.digest
    if isinstance(value, DataConfig):
        return data_fingerprint(value)
    if isinstance(value, ScoreConfig):
        return score_fingerprint(value)
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json", exclude=set(getattr(value, "UNHASHED", ())))
    if isinstance(value, tuple | list):
        return [_content(item) for item in value]
    return value


@cache
def _versions() -> dict[str, str]:
    return {name: found for name in LIBRARIES if (found := installed_version(name))}


def _key(context: TaskRunContext, arguments: dict[str, Any]) -> str:
    return cache_key(context.task.fn, arguments)


def _cached(stage: Callable[..., R]) -> Task[..., R]:
    told = told_of_memory(stage)
    return task(told, name=stage.__name__, cache_key_fn=_key, persist_result=True, result_serializer=RecordSerializer())


def _uncached(stage: Callable[..., R]) -> Task[..., R]:
    return task(told_of_memory(stage), name=stage.__name__, cache_policy=NO_CACHE)


dense_task = _cached(dense)
calibrate_task = _cached(calibrate)
score_task = _cached(score)
allocate_task = _cached(allocate)
prune_task = _cached(prune)
recalibrate_task = _cached(recalibrate)
finetune_task = _cached(finetune)
evaluate_task = _cached(evaluate)
export_task = _cached(export)
layer_costs_task = _cached(alone(layer_costs))
quantize_task = _cached(quantize)
build_engine_task = _cached(build_engine)
# never cached: a latency is that of this machine, now
benchmark_task = _uncached(alone(benchmark))
# what an engine is good for follows from the machine, which no key knows
rebuild_task = _uncached(build_engine)
verify_engine_task = _uncached(verify_engine)
evaluate_engine_task = _uncached(evaluate)
report_task = _uncached(report)
ablation_report_task = _uncached(ablation_report)
track_task = _uncached(track)
track_ablation_task = _uncached(track_ablation)
register_task = _uncached(register)


@dataclass
class FlowRunner:
    """Runs stages as tasks of the current flow, over one store and one cache, and counts what came from the cache."""

    output: Path | str
    finished: int = 0
    cached: int = 0

    def __post_init__(self) -> None:
        self.output = folder_of(self.output)
        self.store = Store(self.output / "store")
        self.cache = self.output / "cache"
        remove_abandoned(self.output)

    def __call__(self, stage: Task[..., R], about: str, **arguments: Any) -> R:
        """Run a task under a readable name; a cached record whose files are gone or altered is made anew."""
        name = f"{stage.name} · {about}"
        named = stage.with_options(task_run_name=name)
        arguments = _with_store(stage, arguments, self.store)
        if stage.persist_result:
            named.result_storage = record_storage(self.cache)  # with_options takes no storage that the server does not know
            self._look_up(cache_key(stage.fn, arguments))
        with progress_artifact(name):
            state = named(**arguments, return_state=True)
            record: R = state.result()
            self.finished += 1
            if state.name == "Cached":
                if not self.store.intact(record):
                    log.warning("%s: a file of the cached record is gone or altered; made anew", name)
                    named.refresh_cache = True
                    return named(**arguments)
                self.cached += 1
        return record

    def _look_up(self, key: str) -> None:
        """Remove a cached record that is not as it was written, and fetch one that another machine has made if there is none."""
        file = self.cache / key
        if file.is_file() and not whole(file):
            log.warning("the cached record %s is torn or altered; made anew", key)
            file.unlink(missing_ok=True)
        if file.is_file():
            send_if_lost(file)
        else:
            fetch(file, whole)


class DirectRunner(FlowRunner):
    """Runs stages with no flow and no server, through the same cache: those that are never cached run each time."""

    def __call__(self, stage: Task[..., R], about: str, **arguments: Any) -> R:
        """Run a stage, or return its cached record; `about` only names the log line."""
        arguments = _with_store(stage, arguments, self.store)
        self.finished += 1
        if not stage.persist_result:
            return self._ran(stage, about, arguments)
        results = ResultStore(result_storage=record_storage(self.cache), serializer=RecordSerializer(), persist_result=True)
        key = cache_key(stage.fn, arguments)
        self._look_up(key)
        if results.exists(key):
            record: R = results.read(key).result
            if self.store.intact(record):
                self.cached += 1
                return record
        record = self._ran(stage, about, arguments)
        results.write(record, key=key)
        return record

    def _ran(self, stage: Task[..., R], about: str, arguments: dict[str, Any]) -> R:
        log.info("%s · %s", stage.name, about)
        record: R = stage.fn(**arguments)
        return record


class NotFinishedError(Exception):
    """What was asked for is not in the cache."""


class CacheReader(DirectRunner):
    """Returns what earlier runs have finished; raises NotFinishedError for the rest, and for what is never cached."""

    def _ran(self, stage: Task[..., R], about: str, _arguments: dict[str, Any]) -> R:
        raise NotFinishedError(f"{stage.name} · {about}")


def _with_store(stage: Task[..., Any], arguments: dict[str, Any], store: Store) -> dict[str, Any]:
    return {**arguments, "store": store} if "store" in signature(stage.fn).parameters else arguments
