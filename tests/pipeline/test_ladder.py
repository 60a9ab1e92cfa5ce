import pytest

from pipeline.allocate import allocate
from pipeline.calibrate import calibrate
from pipeline.config import CalibrateConfig, DataConfig, ScoreConfig
from pipeline.errors import InputError
from pipeline.ladder import ladder
from pipeline.records import ModelRecord, ScoreRecord
from pipeline.score import score
from pipeline.store import Store

from .conftest import SEED

DATA = DataConfig()


@pytest.fixture
def scores(store: Store, dense_record: ModelRecord) -> ScoreRecord:
    chosen = calibrate(DATA, CalibrateConfig(per_class=4), SEED)
    return score(dense_record, chosen, (), False, DATA, ScoreConfig(projections=4), SEED, "score", store)


@pytest.mark.parametrize("rule", ["tod", "uniform", "global"])
def test_the_rungs_go_down_in_macs_and_end_at_the_deepest_cut(
    store: Store, dense_record: ModelRecord, scores: ScoreRecord, rule: str
) -> None:
    rungs = ladder(dense_record, scores, 6, rule, 1, 1, None, store)  # type: ignore[arg-type]
    macs = [allocate(dense_record, dense_record, scores, goal, 1.0, rule, 1, 1, None, store).macs for goal in rungs]  # type: ignore[arg-type]
    deepest = allocate(
        dense_record,
        dense_record,
        scores,
        rungs[-1].model_copy(update={"value": 1.0}),
        1.0,
        rule,
        1,
        1,
        None,
        store,  # type: ignore[arg-type]
    )
    assert 2 <= len(rungs) <= 6
    assert macs == sorted(set(macs), reverse=True)
    assert dense_record.macs > macs[0]
    assert macs[-1] == deepest.macs
    assert {goal.quantity for goal in rungs} == {"tolerance" if rule == "tod" else "ratio"}
    assert all(len(goal.name) <= len("tolerance-0.1234") for goal in rungs)


def test_where_nothing_can_go_it_is_said(store: Store, dense_record: ModelRecord, scores: ScoreRecord) -> None:
    with pytest.raises(InputError, match=r"removes anything with round_to 64; set allocate\.round_to lower"):
        ladder(dense_record, scores, 6, "tod", 64, 1, None, store)
