from pipeline.config import AllocateConfig
from pipeline.goals import goals


def test_one_goal_a_number_named_after_what_it_means() -> None:
    assert [goal.name for goal in goals(AllocateConfig(tolerances=(0.2, 0.1)))] == ["tolerance-0.1", "tolerance-0.2"]
    assert [str(goal) for goal in goals(AllocateConfig(tolerances=(0.2,), rule="uniform"))] == ["ratio 0.2"]
    assert not any(goal.is_budget for goal in goals(AllocateConfig()))


def test_one_goal_a_budget_in_their_order() -> None:
    config = AllocateConfig.model_validate({"budgets": [{"macs": 0.5}, {"params": 1e6}, {"bytes": 0.25}, {"macs": 0.5}]})
    found = goals(config)
    assert [goal.name for goal in found] == ["macs-0.5", "params-1000000", "bytes-0.25"]
    assert [type(goal.value) for goal in found] == [float, int, float]
    assert all(goal.is_budget for goal in found)
    assert [type(goal).model_validate_json(goal.model_dump_json()) for goal in found] == list(found)


def test_a_latency_budget_is_in_milliseconds() -> None:
    (goal,) = goals(AllocateConfig.model_validate({"budgets": [{"latency_ms": 2.5}]}))
    assert (goal.name, str(goal), goal.value, goal.is_budget) == ("latency_ms-2.5", "latency_ms 2.5", 2.5, True)
