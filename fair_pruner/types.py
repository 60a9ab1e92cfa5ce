"""The values of the method: scores per group and plans, frozen, to JSON and back without loss."""

import json
import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, Literal, NoReturn, TypeVar

Rule = Literal["tod", "uniform", "global"]
Removal = Literal[
    "wasserstein",
    "l1",
    "l2",
    "group_norm",
    "bn_scale",
    "fpgm",
    "lamp",
    "hrank",
    "mean_activation",
    "random",
    "taylor",
    "hessian",
]
Observation = Literal["producer", "norm", "activation"]  # where outputs are read: of the producer, behind its norm, behind both
Aggregation = Literal["max", "mean"]  # over the producers of a group
Protection = Literal["signed", "absolute"]  # how R adds up: signed over samples, or absolute values sample by sample
UnitKind = Literal["channel", "head", "hidden", "width"]


@dataclass(frozen=True)
class UnitScores:
    """Scores of one group; element j of both tuples belongs to unit j in the dense numbering.

    `u_score` is the removal signal, low = removable; `r_score` >= 0, high = keep. `producers` are the layers that create
    the units, `kind` says what a unit is, and it is made of `channels` channels of the first producer.
    """

    name: str
    u_score: tuple[float, ...]
    r_score: tuple[float, ...]
    producers: tuple[str, ...]
    kind: UnitKind = "channel"
    channels: int = 1

    @property
    def units(self) -> int:
        """How many units the group has."""
        return len(self.u_score)


@dataclass(frozen=True)
class ScoreTable:
    """Scores of all groups that may be cut, in the order of the model's layers, with what they were computed from.

    `removal` names the signal in `u_score`; it is "custom" for one that the caller computed.
    """

    groups: tuple[UnitScores, ...]
    removal: Removal | Literal["custom"]
    projections: int
    seed: int
    samples: int
    classes: int
    observe: Observation = "activation"
    aggregate: Aggregation = "mean"
    protection: Protection = "absolute"

    @property
    def units(self) -> int:
        """How many units all groups have together."""
        return sum(group.units for group in self.groups)

    def to_json(self) -> str:
        """Exact text form; raises ValueError if a number is NaN or infinite."""
        return _to_json("ScoreTable", self)

    @staticmethod
    def from_json(text: str) -> "ScoreTable":
        """The table that `to_json` wrote; raises ValueError on any other text."""
        return _from_json(ScoreTable, UnitScores, text)


@dataclass(frozen=True)
class GroupPlan:
    """What happens to one group of `units` units: those in `pruned` go (sorted indices in the dense numbering).

    `tod` is ToD at this depth. `removed_mass` is the summed R-Score of the removed units, `mass_bound` what it cannot
    exceed given the overlap, `total_mass` the group's summed R-Score. `round_to` is what the number of channels that stay
    was rounded up to a multiple of, `unrounded_depth` the depth before that.
    """

    name: str
    units: int
    pruned: tuple[int, ...]
    tod: float
    removed_mass: float
    mass_bound: float
    total_mass: float
    unrounded_depth: int
    round_to: int = 1

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
    """Which units of a dense model go, group by group, and the settings that led there.

    `tolerance` is the rule's number: a tolerance for `tod`, a pruning ratio for `uniform` and `global`. `round_to` is the
    largest number that divides the groups' own. `uniform_mass` is the R-mass that a uniform plan would remove if it took as
    many units, by the same signal. `rounds` counts the cuts.
    """

    groups: tuple[GroupPlan, ...]
    tolerance: float
    rule: Rule
    round_to: int
    min_units: int
    uniform_mass: float = 0.0
    rounds: int = 1

    @property
    def units(self) -> int:
        """Units of the dense model in the plan's groups."""
        return sum(group.units for group in self.groups)

    @property
    def units_removed(self) -> int:
        """Units that go."""
        return sum(group.depth for group in self.groups)

    @property
    def removed_mass(self) -> float:
        """Summed R-Score of the units that go."""
        return math.fsum(group.removed_mass for group in self.groups)

    @property
    def mass_bound(self) -> float:
        """What `removed_mass` cannot exceed, given the overlap in each group."""
        return math.fsum(group.mass_bound for group in self.groups)

    @property
    def random_mass(self) -> float:
        """The R-mass that removing as many units of each group at random would take on average."""
        return math.fsum(group.random_mass for group in self.groups)

    @property
    def exchange_margin(self) -> float:
        """`uniform_mass` - `removed_mass`: positive if this plan removes less R-mass than uniform pruning of as many units."""
        return self.uniform_mass - self.removed_mass

    def to_json(self) -> str:
        """Exact text form; raises ValueError if a number is NaN or infinite."""
        return _to_json("PruningPlan", self)

    @staticmethod
    def from_json(text: str) -> "PruningPlan":
        """The plan that `to_json` wrote; raises ValueError on any other text."""
        return _from_json(PruningPlan, GroupPlan, text)


def _to_json(kind: str, value: ScoreTable | PruningPlan) -> str:
    return json.dumps({"kind": kind, **asdict(value)}, separators=(",", ":"), allow_nan=False)


T = TypeVar("T", ScoreTable, PruningPlan)


def _from_json(kind: type[T], member: Callable[..., Any], text: str) -> T:
    values = json.loads(text, parse_constant=_refuse)
    if not isinstance(values, dict) or values.pop("kind", None) != kind.__name__:
        raise ValueError(f"this is not the JSON of a {kind.__name__}")
    try:
        groups = tuple(member(**_tuples(group)) for group in values.pop("groups"))
        return kind(groups=groups, **values)
    except (TypeError, KeyError, AttributeError) as error:
        raise ValueError(f"this {kind.__name__} was written by another version: {error}") from error


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"the JSON holds {constant}; every number must be finite")


def _tuples(values: dict[str, Any]) -> dict[str, Any]:
    return {key: tuple(value) if isinstance(value, list) else value for key, value in values.items()}
