"""Two classifiers on the same images: is one right more often than chance alone explains?"""

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest

from pipeline.errors import InputError
from pipeline.measurements import EvalReport, PairedTest
from pipeline.store import Store


def paired(first: EvalReport, second: EvalReport, store: Store) -> PairedTest:
    """McNemar's exact test: of the images that only one gets right, each would be either's with probability 1/2.

    The two-sided p-value is in [0, 1], small: they differ; it is 1 where no image parts them. `points` is in [-100, 100],
    above 0: the second is right more often. Raises InputError if the reports are not about the same images.

    Source: Q. McNemar, Psychometrika 12 (1947) 153-157, with the binomial in place of the chi-squared distribution.
    """
    if first.split != second.split:
        raise InputError(f"one report is of the {first.split} split, the other of the {second.split} split; evaluate both on one")
    (first_found, labels), (second_found, others) = _predictions(first, store), _predictions(second, store)
    if not np.array_equal(labels, others):
        raise InputError(
            f"the reports on the {first.split} split are of other images ({len(labels)} and {len(others)}, or other labels); "
            "evaluate both with the same data and seed"
        )
    right, right_too = first_found == labels, second_found == labels
    lost, gained = int((right & ~right_too).sum()), int((right_too & ~right).sum())
    return PairedTest(
        samples=len(labels),
        lost=lost,
        gained=gained,
        points=100 * (gained - lost) / len(labels),
        p_value=float(binomtest(lost, lost + gained).pvalue) if lost + gained else 1.0,
    )


def _predictions(report: EvalReport, store: Store) -> NDArray[np.int32]:
    if report.predictions is None:
        raise InputError(f"the report on the {report.split} split has no predictions; evaluate again")
    predictions: NDArray[np.int32] = np.load(store.path(report.predictions), allow_pickle=False)
    return predictions
