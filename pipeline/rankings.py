"""A score record's table, ranked once for all that is asked of it."""

from functools import lru_cache

from fair_pruner import Ranking, ScoreTable
from pipeline.records import ScoreRecord
from pipeline.store import Store


@lru_cache(maxsize=4)
def ranking_of(scores: ScoreRecord, store: Store) -> Ranking:
    """Every group of the table, sorted by both scores. Raises InputError if the table is gone from the store."""
    return Ranking(ScoreTable.from_json(store.path(scores.table).read_text()))
