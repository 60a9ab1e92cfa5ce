import io
from math import comb

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.config import DataConfig, EvaluateConfig
from pipeline.errors import InputError
from pipeline.evaluate import evaluate
from pipeline.exported import OnnxRecord
from pipeline.measurements import EvalReport, PairedTest
from pipeline.paired import paired
from pipeline.records import ModelRecord
from pipeline.store import Store


def report(store: Store, right: list[bool], labels: list[int] | None = None, split: str = "validation") -> EvalReport:
    """A report on images of which the classifier gets those right that are said to be."""
    wanted = np.array(labels or [at % 3 for at in range(len(right))])
    content = io.BytesIO()
    np.save(content, np.stack((np.where(right, wanted, wanted + 1), wanted)).astype(np.int32))
    return EvalReport(
        subject="",
        runtime="torch",
        split=split,
        samples=len(right),
        top1=sum(right) / len(right),
        top5=None,
        recall=(sum(right) / len(right),),
        predictions=store.put(content.getvalue(), ".npy"),
    )


def compare(store: Store, both: int, lost: int, gained: int, neither: int) -> PairedTest:
    first = [True] * (both + lost) + [False] * (gained + neither)
    second = [True] * both + [False] * lost + [True] * gained + [False] * neither
    return paired(report(store, first), report(store, second), store)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return Store(tmp_path_factory.mktemp("store"))


counts = st.integers(0, 25)


@given(both=st.integers(1, 25), lost=counts, gained=counts, neither=counts)
def test_against_the_sum_of_binomial_terms(shared: Store, both: int, lost: int, gained: int, neither: int) -> None:
    found = compare(shared, both, lost, gained, neither)
    parted = lost + gained
    tail = sum(comb(parted, at) for at in range(min(lost, gained) + 1)) / 2**parted
    assert (found.lost, found.gained, found.samples) == (lost, gained, both + parted + neither)
    assert found.p_value == pytest.approx(min(1.0, 2 * tail))
    assert found.points == pytest.approx(100 * (gained - lost) / found.samples)


@given(both=st.integers(1, 25), lost=counts, gained=counts)
def test_swapping_the_two_swaps_lost_and_gained(shared: Store, both: int, lost: int, gained: int) -> None:
    there, back = compare(shared, both, lost, gained, 1), compare(shared, both, gained, lost, 1)
    assert (there.lost, there.gained, there.points) == (back.gained, back.lost, -back.points)
    assert there.p_value == back.p_value


@given(lost=counts, gained=counts, more=st.integers(1, 100))
def test_images_that_do_not_part_them_do_not_count(shared: Store, lost: int, gained: int, more: int) -> None:
    assert compare(shared, 1, lost, gained, 0).p_value == compare(shared, 1 + more, lost, gained, more).p_value


def test_one_against_nine(store: Store) -> None:
    """2 (1 + 10) / 2^10."""
    assert compare(store, 5, 1, 9, 2) == PairedTest(samples=17, lost=1, gained=9, points=800 / 17, p_value=0.021484375)


def test_a_file_against_the_model_it_was_made_from(dense_record: ModelRecord, onnx_record: OnnxRecord, store: Store) -> None:
    first, second = (evaluate(each, "test", DataConfig(), 3, EvaluateConfig(), store) for each in (dense_record, onnx_record))
    found = paired(first, second, store)
    assert (found.lost, found.gained, found.p_value, found.samples) == (0, 0, 1.0, first.samples)


def test_other_splits_are_refused(store: Store) -> None:
    with pytest.raises(InputError, match=r"one report is of the validation split, the other of the test split; evaluate both"):
        paired(report(store, [True]), report(store, [True], split="test"), store)


@pytest.mark.parametrize("labels", [[1, 1, 2], [0, 1]])
def test_other_images_are_refused(labels: list[int], store: Store) -> None:
    second = report(store, [True] * len(labels), labels)
    with pytest.raises(InputError, match=rf"other images \(3 and {len(labels)}, or other labels\); evaluate both with the same"):
        paired(report(store, [True] * 3), second, store)


def test_a_report_without_predictions_is_refused(store: Store) -> None:
    old = report(store, [True]).model_copy(update={"predictions": None})
    with pytest.raises(InputError, match="the report on the validation split has no predictions; evaluate again"):
        paired(report(store, [True]), old, store)
