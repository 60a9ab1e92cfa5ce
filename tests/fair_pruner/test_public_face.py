import subprocess
import sys

import fair_pruner


def test_the_exported_names() -> None:
    assert set(fair_pruner.__all__) == {
        *("score", "allocate", "tolerance_for", "plan_for", "remove", "tod_curve", "find_groups", "measure"),
        *("compose", "remainder"),
        *("ScoreTable", "UnitScores", "Ranking", "PruningPlan", "GroupPlan", "Group", "Budget", "Cost", "CostModel"),
        *("FairPrunerError", "SettingError", "UnsupportedModelError", "NothingToPruneError"),
        *("CalibrationError", "PlanError", "BudgetError"),
    }
    assert all(hasattr(fair_pruner, name) for name in fair_pruner.__all__)


def test_the_library_needs_torch_and_torch_pruning_only() -> None:
    """Importing it loads no package of the pipeline, so that it can be installed alone."""
    others = ("pydantic", "prefect", "mlflow", "onnx", "onnxruntime", "rich", "typer", "timm", "torchvision", "pipeline")
    code = f"import sys; sys.modules.update(dict.fromkeys({others!r})); import fair_pruner; print('imported')"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "imported\n"
