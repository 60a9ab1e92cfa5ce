"""Which version is champion, by hand and when several decide at once."""

import fcntl
from itertools import pairwise

import pytest

from pipeline import promote as promote_module
from pipeline.errors import InputError
from pipeline.promote import promote, rollback
from pipeline.registry import register
from pipeline.standings import standings
from pipeline.store import Store
from pipeline.track import track

from ....local_mlflow import QUIET
from ..finished import save
from .conftest import BOUNDS, SHARED, a_report, aliases, into, pruned

pytestmark = QUIET


def test_promotion_can_be_left_to_people(first, better, client, output):
    for each in (first, better):
        record = register(*each, into("by-hand", promote=False), BOUNDS)
    assert (record.aliases, record.reason) == (("challenger",), "version 2 of by-hand is registered; track.promote is false")
    assert promote("by-hand", output, version=1).aliases == ("champion",)
    record = promote("by-hand", output)
    assert (record.version, record.promoted) == (2, True)
    assert aliases(client, "by-hand") == {"champion": 2, "previous": 1}
    record = promote("by-hand", output, version=2)
    assert (record.promoted, record.reason) == (False, "version 2 of by-hand is the champion already")


def test_force_leaves_out_the_comparison_but_not_the_gate(first, no_faster, client, output):
    for each in (first, no_faster):
        register(*each, into("forced"), BOUNDS)
    assert not promote("forced", output).promoted
    record = promote("forced", output, force=True)
    assert record.reason == "version 2 of forced has become champion: it passes the gate and nobody compared it with version 1"
    assert aliases(client, "forced") == {"champion": 2, "previous": 1}


def test_a_forced_file_must_pass_the_gate_of_its_run(output, client):
    report = a_report(output / "strict", pruned(0.45, 0.1))
    strict = report.model_copy(update={"config": report.config | {"gate": {"max_accuracy_drop": 0.001}}})
    save(strict)
    register(strict, track(strict, SHARED, output, Store(output / "store")), into("bounded", promote=False), BOUNDS)
    assert "it does not pass the gate: loses 1.11 points" in promote("bounded", output, force=True).reason
    assert aliases(client, "bounded") == {"challenger": 1}


def test_rollback_brings_the_previous_one_back_and_no_sweep_undoes_it(first, better, client, output):
    for each in (first, better):
        register(*each, into("back"), BOUNDS)
    record = rollback("back", output)
    assert (record.version, record.aliases, record.promoted) == (1, ("champion",), True)
    assert record.reason == "version 1 of back has become champion again, in place of version 2"
    assert aliases(client, "back") == {"champion": 1}
    with pytest.raises(InputError, match="back has no previous champion; choose a version with fair-pruner promote back"):
        rollback("back", output)
    record = register(*better, into("back"), BOUNDS)
    assert (record.aliases, record.promoted) == (("challenger",), False)
    assert record.reason.startswith("version 2 of back was rolled back at 20")
    assert promote("back", output).promoted
    assert aliases(client, "back") == {"champion": 2, "previous": 1}
    assert register(*better, into("back"), BOUNDS).reason == "version 2 of back is the champion already"


def test_a_version_of_somebody_elses_is_not_judged(first, client, output):
    client.create_registered_model("foreign")
    client.create_model_version("foreign", source=str(output))
    with pytest.raises(InputError, match="version 1 of foreign is of no sweep, so nobody knows how accurate and how fast it is"):
        promote("foreign", output, version=1, force=True)
    record = register(*first, into("foreign"), BOUNDS)
    assert (record.version, record.promoted) == (2, True)


@pytest.mark.parametrize(
    ("name", "version", "message"),
    [
        ("unknown", None, "MLflow has no registered model unknown; fair-pruner promote without a name lists those there are"),
        ("un/known:", 1, "MLflow has no registered model un/known:"),
        ("it's", 1, "MLflow has no registered model it's"),
        ("single", 7, "single has no version 7; it has 1"),
        ("single", None, "single has no challenger; choose one of its versions with --version: 1"),
    ],
)
def test_what_is_not_there_is_named_whether_forced_or_not(first, output, name, version, message):
    register(*first, into("single"), BOUNDS)
    for force in (False, True):
        with pytest.raises(InputError, match=message):
            promote(name, output, version, force)


def test_no_database_is_made_by_asking(tmp_path):
    for ask in (lambda: promote("any", tmp_path), lambda: rollback("any", tmp_path), lambda: standings(tmp_path)):
        with pytest.raises(InputError, match=r"mlflow\.db does not exist, so nothing is registered; give --output"):
            ask()
    assert not list(tmp_path.iterdir())


def test_another_champion_that_comes_in_between_is_what_it_is_compared_with(
    first, better, no_faster, client, output, monkeypatch
):
    register(*first, into("race"), BOUNDS)
    register(*better, into("race", promote=False), BOUNDS)
    real, compared = promote_module.objection, []

    def meanwhile(challenger, champion, bounds):
        if not compared:  # another process promotes the better one while this one is compared with the first
            client.set_registered_model_alias("race", "champion", "2")
        compared.append(champion.candidate.name)
        return real(challenger, champion, bounds)

    monkeypatch.setattr(promote_module, "objection", meanwhile)
    record = register(*no_faster, into("race"), BOUNDS)
    assert compared == ["tolerance-0.2", "tolerance-0.3"]
    assert not record.promoted
    assert aliases(client, "race")["champion"] == 2


def test_nobody_else_decides_meanwhile(first, output, monkeypatch):
    register(*first, into("alone", promote=False), BOUNDS)
    real = promote_module.objection

    def meanwhile(*arguments):
        with (output / ".mlflow.db.lock").open("w") as lock, pytest.raises(BlockingIOError):
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return real(*arguments)

    monkeypatch.setattr(promote_module, "objection", meanwhile)
    assert promote("alone", output).promoted


def test_standings_list_what_sweeps_have_registered(first, better, no_faster, output, client):
    client.create_registered_model("not-ours")
    for each in (first, better, no_faster):
        register(*each, into("listed"), BOUNDS)
    found = {each.name: each for each in standings(output)}
    assert "not-ours" not in found
    assert found["listed"] == ("listed", 3, "2: tolerance-0.3 fp32", "3: tolerance-0.25 fp32", "1: tolerance-0.2 fp32")
    assert all(before < after for before, after in pairwise(found))
