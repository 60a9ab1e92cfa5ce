"""The second flow: new engines from the ONNX files of a finished run, for another TensorRT or another GPU."""

from pathlib import Path

from prefect import flow, runtime

from flows.artifacts import show
from flows.branch import executed
from flows.environment import prepare_environment
from flows.outage import outliving
from flows.run_logs import run_logs
from flows.sweep import flow_run_url, git_commit, now_ms, report_turn
from flows.tasks import FlowRunner, benchmark_task, rebuild_task, report_task
from flows.tracking import tracked_or_kept
from pipeline.config import RunConfig, override_config
from pipeline.errors import InputError
from pipeline.exported import EngineRecord, OnnxRecord
from pipeline.file_lock import locked
from pipeline.measurements import Candidate, EvalReport, RunReport
from pipeline.onnx_file import read_onnx
from pipeline.output import Place
from pipeline.permission import require_permission
from pipeline.saved_report import candidate_named, read_report, store_of
from pipeline.shared_run import folder_of_run, publish
from pipeline.variants import contestants


def _run_name() -> str:
    return f"rebuild {Path(str(runtime.flow_run.parameters['run'])).name}"


@flow(name="rebuild_engine", flow_run_name=_run_name)
@run_logs()
@outliving
def rebuild_engine(run: Place, candidates: tuple[str, ...] = (), overrides: tuple[str, ...] = ()) -> RunReport:
    """Build the engines of a finished run anew, on this machine and with its TensorRT, verify, measure and log them.

    Args:
        run: Folder or URL of the run, with its report.json; the store lies beside it.
        candidates: Names of the candidates to rebuild; none: all of them. The dense model is always measured with them.
        overrides: Settings that differ from the run's, such as engine.max_batch=32.
    """
    prepare_environment()
    began_ms = now_ms()
    folder = folder_of_run(str(run))
    source, store = read_report(folder), store_of(folder)
    config = override_config(source.config, overrides)
    if config.data.factory:
        require_permission(config.data.factory, "data.factory")
    wanted = [candidate_named(source, name) for name in candidates] or list(source.candidates)
    kept = [c for c in source.candidates if c is source.candidates[0] or c in wanted]
    for candidate in kept:
        for file in candidate.files:
            if not store.intact(file.onnx):
                raise InputError(
                    f"{file.onnx.file.path} of {candidate.name} is missing from the store or altered; run the sweep again"
                )
            read_onnx(store.path(file.onnx.file))
    runner = FlowRunner(folder.parent)
    rebuilt = tuple(_rebuilt(runner, config, candidate) for candidate in kept)
    engines = [file.engine for candidate in rebuilt for file in candidate.files if file.engine.file]
    if not engines:
        raise InputError(f"no engine can be built here: {rebuilt[0].engine.reason}")
    ran = all(engine.status == "executed" for engine in engines)
    runtimes = (*(("tensorrt",) if ran else ()), *(name for name in config.benchmark.runtimes if name != "tensorrt"))
    latency = runner(
        benchmark_task,
        f"{len(rebuilt)} candidates",
        contestants=contestants(rebuilt, runtimes, runner.store),
        config=config.benchmark,
    )
    name = f"{source.name}-rebuilt-{engines[0].library}-{engines[0].library_version}"
    with locked(report_turn(runner.output, name)):
        result = runner(
            report_task,
            name,
            name=name,
            folder=runner.output / name,
            config=config.model_dump(mode="json"),
            candidates=rebuilt,
            latency=latency,
            scores=source.scores,
            plans=tuple(c.plan for c in rebuilt if c.plan),
            layer_costs=None,
            gate=config.gate,
            flow_run_id=str(runtime.flow_run.id or ""),
            git_commit=git_commit(),
            rebuilt_from=source.digest,
        )
        publish(Path(result.folder))
        unregistered = config.model_copy(update={"track": config.track.model_copy(update={"registry": False})})
        tracked, remarks = tracked_or_kept(runner, unregistered, result, flow_run_url(), began_ms, now_ms())
        show(result, tracked, *remarks)
    return result


def _rebuilt(run: FlowRunner, config: RunConfig, candidate: Candidate) -> Candidate:
    variants = tuple(v.model_copy(update=_engine(run, config, candidate.name, v.onnx)) for v in candidate.variants)
    return candidate.model_copy(update={**_engine(run, config, candidate.name, candidate.onnx), "variants": variants})


def _engine(run: FlowRunner, config: RunConfig, name: str, onnx: OnnxRecord) -> dict[str, EngineRecord | EvalReport | None]:
    about = f"{name} {onnx.precision}"
    engine, accuracy = executed(run, config, about, onnx, run(rebuild_task, about, onnx=onnx, config=config.engine))
    return {"engine": engine, "engine_validation": accuracy}
