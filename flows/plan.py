"""Every candidate's first plan without a server and without training more than the dense model."""

from flows.sweep import prepare
from flows.tasks import DirectRunner
from pipeline.config import RunConfig
from pipeline.preflight import preflight
from pipeline.records import ModelRecord, PlanRecord


def plan_all(config: RunConfig) -> tuple[ModelRecord, tuple[PlanRecord, ...]]:
    """The dense model and one plan a tolerance or budget; what earlier runs finished is used again."""
    architecture = preflight(config)
    start = prepare(DirectRunner(config.output), config, architecture)
    return start.model, start.plans
