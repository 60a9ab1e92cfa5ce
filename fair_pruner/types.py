"""The values of the method: scores per group and plans, frozen, to JSON and back without loss."""

import json
from dataclasses import asdict, dataclass
from typing import Any, Literal

Rule = Literal["tod"]
Removal = Literal["wasserstein"]


@dataclass(frozen=True)
class UnitScores:
    """Scores of one group; element j of both tuples belongs to unit j in the dense numbering.

    `u_score` >= 0, low = removable; `r_score` >= 0, high = keep. `producers` are the layers that create the units.
    """

    name: str
    u_score: tuple[float, ...]
    r_score: tuple[float, ...]
    producers: tuple[str, ...]

    @property
    def units(self) -> int:
        """How many units the group has."""
        return len(self.u_score)


@dataclass(frozen=True)
class ScoreTable:
    """Scores of all groups that may be cut, in the order of the model's layers, with what they were computed from."""

    groups: tuple[UnitScores, ...]
    removal: Removal
    projections: int
    seed: int
    samples: int
    classes: int

    @property
    def units(self) -> int:
        """How many units all groups have together."""
        return sum(group.units for group in self.groups)

    def to_json(self) -> str:
        """Exact text form."""
        return _to_json("ScoreTable", self)

    @staticmethod
    def from_json(text: str) -> "ScoreTable":
        """The table that `to_json` wrote; raises ValueError on any other text."""
        values = _from_json("ScoreTable", text)
        groups = tuple(UnitScores(**_tuples(group)) for group in values.pop("groups"))
        return ScoreTable(groups=groups, **values)


@dataclass(frozen=True)
class GroupPlan:
    """What happens to one group of `units` units: those in `pruned` go (sorted indices in the dense numbering).

    `tod` is ToD at this depth. `removed_mass` is the summed R-Score of the removed units, `mass_bound` what it cannot
    exceed given the overlap, `total_mass` the group's summed R-Score. `unrounded_depth` is the depth before `round_to`.
    """

    name: str
    units: int
    pruned: tuple[int, ...]
    tod: float
    removed_mass: float
    mass_bound: float
    total_mass: float
    unrounded_depth: int

    @property
    def depth(self) -> int:
        """How many units go."""
        return len(self.pruned)

    @property
    def random_mass(self) -> float:
        """The R-mass that removing as many units at random would take on average."""
        return self.total_mass * self.depth / self.units


@dataclass(frozen=True)
class PruningPlan:
    """Which units of a dense model go, group by group, and the settings that led there."""

    groups: tuple[GroupPlan, ...]
    tolerance: float
    rule: Rule
    round_to: int
    min_units: int

    @property
    def units(self) -> int:
        """Units of the dense model in the plan's groups."""
        return sum(group.units for group in self.groups)

    @property
    def units_removed(self) -> int:
        """Units that go."""
        return sum(group.depth for group in self.groups)

    def to_json(self) -> str:
        """Exact text form."""
        return _to_json("PruningPlan", self)

    @staticmethod
    def from_json(text: str) -> "PruningPlan":
        """The plan that `to_json` wrote; raises ValueError on any other text."""
        values = _from_json("PruningPlan", text)
        groups = tuple(GroupPlan(**_tuples(group)) for group in values.pop("groups"))
        return PruningPlan(groups=groups, **values)


def _to_json(kind: str, value: ScoreTable | PruningPlan) -> str:
    return json.dumps({"kind": kind, **asdict(value)}, separators=(",", ":"))


def _from_json(kind: str, text: str) -> dict[str, Any]:
    values = json.loads(text)
    if not isinstance(values, dict) or values.pop("kind", None) != kind:
        raise ValueError(f"this is not the JSON of a {kind}")
    return values


def _tuples(values: dict[str, Any]) -> dict[str, Any]:
    return {key: tuple(value) if isinstance(value, list) else value for key, value in values.items()}
