"""What the library raises, and when.

FairPrunerError (a ValueError)
├── SettingError            an argument is out of its range or unknown
├── UnsupportedModelError   the model cannot be traced, or a layer's name is not in it
│   └── NothingToPruneError no group of the model can be cut; the message says why, group by group
├── CalibrationError        the calibration batches cannot be scored (empty, one class, wrong shapes)
├── PlanError               a plan does not fit the model, or cutting it would break the model
└── BudgetError             no tolerance reaches the budget; the message has the limit that can be reached
"""


class FairPrunerError(ValueError):
    """Base of everything this library raises on purpose."""


class SettingError(FairPrunerError):
    """An argument is out of its range or unknown."""


class UnsupportedModelError(FairPrunerError):
    """The model cannot be traced, or does not have a layer that was named."""


class NothingToPruneError(UnsupportedModelError):
    """No group of the model can be cut."""


class CalibrationError(FairPrunerError):
    """The calibration batches cannot be scored."""


class PlanError(FairPrunerError):
    """A plan does not fit the model."""


class BudgetError(FairPrunerError):
    """No tolerance reaches the budget."""


def first_line(error: BaseException) -> str:
    """What another library's error says in its first line, or the error's name if it says nothing: fits into a sentence."""
    return (str(error).splitlines() or [type(error).__name__])[0]
