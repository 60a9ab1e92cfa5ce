"""What the candidates of a run are cut to, one goal each."""

from pipeline.config import AllocateConfig
from pipeline.records import Goal


def goals(config: AllocateConfig) -> tuple[Goal, ...]:
    """One goal a tolerance (a pruning ratio for the two baselines), or one a budget, in their order."""
    number = "tolerance" if config.rule == "tod" else "ratio"
    asked = [given for budget in config.budgets for given in budget.model_dump(exclude_none=True).items()]
    return tuple(
        Goal.model_validate({"quantity": quantity, "value": value})
        for quantity, value in (*((number, tolerance) for tolerance in config.tolerances), *asked)
    )
