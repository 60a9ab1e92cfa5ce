"""Every tolerance's plan without a server and without training more than the dense model."""

from flows.sweep import allocated, prepare
from flows.tasks import DirectRunner
from pipeline.config import RunConfig
from pipeline.preflight import preflight
from pipeline.records import ModelRecord, PlanRecord


def plan_all(config: RunConfig) -> tuple[ModelRecord, tuple[PlanRecord, ...]]:
    """The dense model and one plan a tolerance; what earlier runs finished is used again."""
    architecture = preflight(config)
    run = DirectRunner(config.output)
    model, _, scores = prepare(run, config, architecture)
    return model, tuple(allocated(run, config, tolerance, model, scores) for tolerance in config.allocate.tolerances)
