"""FAIR-Pruner (arXiv:2508.02291): structured pruning by U-Score, R-Score and the Tolerance of Difference between them.

table = score(model, batches, example_input=x)      # one pass over the calibration data
plan = allocate(table, tolerance=0.1)               # which units go, in milliseconds
small = remove(model, plan, example_input=x)        # a smaller copy; the model stays as it is
"""

from fair_pruner.allocate import allocate
from fair_pruner.budget import Budget, tolerance_for
from fair_pruner.compose import compose, remainder
from fair_pruner.cost import Cost, CostModel, measure
from fair_pruner.errors import (
    BudgetError,
    CalibrationError,
    FairPrunerError,
    NothingToPruneError,
    PlanError,
    SettingError,
    UnsupportedModelError,
)
from fair_pruner.fill import plan_for
from fair_pruner.groups import find_groups
from fair_pruner.ranking import Ranking
from fair_pruner.remove import remove
from fair_pruner.score import score
from fair_pruner.structure import Group
from fair_pruner.tod import tod_curve
from fair_pruner.types import GroupPlan, PruningPlan, ScoreTable, UnitScores

__all__ = [
    "Budget",
    "BudgetError",
    "CalibrationError",
    "Cost",
    "CostModel",
    "FairPrunerError",
    "Group",
    "GroupPlan",
    "NothingToPruneError",
    "PlanError",
    "PruningPlan",
    "Ranking",
    "ScoreTable",
    "SettingError",
    "UnitScores",
    "UnsupportedModelError",
    "allocate",
    "compose",
    "find_groups",
    "measure",
    "plan_for",
    "remainder",
    "remove",
    "score",
    "tod_curve",
    "tolerance_for",
]
