"""From scores to a plan: how deep each group is cut at one shared tolerance, and which tolerance meets a budget."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from fair_pruner.cost import Cost, CostModel
from fair_pruner.errors import BudgetError, SettingError
from fair_pruner.tod import depth_at, rank, tod_curve
from fair_pruner.types import GroupPlan, PruningPlan, Rule, ScoreTable, UnitScores


def allocate(table: ScoreTable, *, tolerance: float, round_to: int = 1, min_units: int = 1, rule: Rule = "tod") -> PruningPlan:
    """The plan at one tolerance in (0, 1]: in each group the largest depth m with ToD(m) <= tolerance goes, lowest U first.

    At least `min_units` units stay, and their number is rounded up to a multiple of `round_to`, so that rounding never
    cuts deeper than the tolerance allows. A tolerance a removes at most n / (2 - a) of a group's n units. Milliseconds.
    Raises SettingError for arguments out of range. Source: arXiv:2508.02291.
    """
    if not 0 < tolerance <= 1:
        raise SettingError(f"tolerance is {tolerance}; it must lie in (0, 1]")
    if rule != "tod":
        raise SettingError(f"rule is {rule!r}; it must be 'tod'")
    if round_to < 1 or min_units < 1:
        raise SettingError(f"round_to is {round_to} and min_units is {min_units}; both must be at least 1")
    groups = tuple(_cut(group, tolerance, round_to, min_units) for group in table.groups)
    return PruningPlan(groups, tolerance, rule, round_to, min_units)


@dataclass(frozen=True)
class Budget:
    """What a pruned model may cost: exactly one of these, as a share of the dense model (0 < float <= 1) or a number (int)."""

    macs: float | int | None = None
    params: float | int | None = None
    bytes: float | int | None = None

    def __post_init__(self) -> None:
        given = [value for value in (self.macs, self.params, self.bytes) if value is not None]
        if len(given) != 1:
            raise SettingError(f"a budget names exactly one of macs, params and bytes, not {len(given)}")
        if (isinstance(given[0], float) and not 0 < given[0] <= 1) or given[0] <= 0:
            raise SettingError(f"a budget is a share in (0, 1] or a positive whole number, not {given[0]}")

    @property
    def quantity(self) -> str:
        """Which cost is limited."""
        return next(name for name in ("macs", "params", "bytes") if getattr(self, name) is not None)

    def limit(self, dense: Cost) -> int:
        """The budget as a number, given the dense model's cost."""
        value: float | int = getattr(self, self.quantity)
        return int(value * getattr(dense, self.quantity)) if isinstance(value, float) else value


def tolerance_for(
    table: ScoreTable, model: nn.Module, *, example_input: Tensor, budget: Budget, round_to: int = 1, min_units: int = 1
) -> float:
    """The smallest tolerance whose plan keeps `model` within `budget`, by bisection over the values the ToD curves take.

    Nothing is trained and nothing is cut: costs are predicted. Raises BudgetError, with the least cost that can be
    reached, if even tolerance 1 is too dear.
    """
    costs = CostModel(model, example_input)
    limit = budget.limit(costs.dense)

    def cost_at(tolerance: float) -> int:
        plan = allocate(table, tolerance=tolerance, round_to=round_to, min_units=min_units)
        return int(getattr(costs.after(plan), budget.quantity))

    curves = torch.cat([tod_curve(*_tensors(group)) for group in table.groups])
    taken = curves[curves > 0].unique().tolist()  # never empty: ToD(n) = 1
    critical = [taken[0] / 2, *taken]  # below the first, a plan removes what is in no protected set at all
    if cost_at(critical[-1]) > limit:
        raise BudgetError(
            f"no tolerance brings {budget.quantity} down to {limit}: {cost_at(critical[-1])} is the least that one cut reaches "
            "with these settings; prune in rounds (cut, recover, score again) or allow more"
        )
    low, high = -1, len(critical) - 1  # critical[high] meets the budget
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if cost_at(critical[middle]) <= limit else (middle, high)
    return float(critical[high])


def _cut(group: UnitScores, tolerance: float, round_to: int, min_units: int) -> GroupPlan:
    u, r = _tensors(group)
    n = group.units
    curve = tod_curve(u, r)
    unrounded = depth_at(curve, tolerance, limit=max(0, n - min_units))
    kept = -(-(n - unrounded) // round_to) * round_to
    depth = max(0, n - kept)
    pruned = tuple(torch.nonzero(rank(u) < depth).flatten().tolist())
    return GroupPlan(
        name=group.name,
        units=n,
        pruned=pruned,
        tod=float(curve[depth]),
        removed_mass=float(r[list(pruned)].sum()),
        mass_bound=mass_bound(r, depth, overlap=round(float(curve[depth]) * depth)),
        total_mass=float(r.sum()),
        unrounded_depth=unrounded,
    )


def mass_bound(r_score: Tensor, depth: int, overlap: int) -> float:
    """The most R-mass that `depth` removed units can hold if only `overlap` of them are among the `depth` units of highest R.

    At most `overlap` removed units come from the top `depth`, so together they weigh no more than the `overlap` largest;
    the other depth - overlap lie outside the top `depth`, so they weigh no more than the largest of what is left there.
    `r_score` (n,) >= 0. The bound is ours.
    """
    ordered = r_score.sort(descending=True).values
    return float(ordered[:overlap].sum() + ordered[depth : 2 * depth - overlap].sum())


def _tensors(group: UnitScores) -> tuple[Tensor, Tensor]:
    return torch.tensor(group.u_score, dtype=torch.float64), torch.tensor(group.r_score, dtype=torch.float64)
