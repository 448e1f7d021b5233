import io
import os
import shlex
import time
from pathlib import Path

import optuna
import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from rich.console import Console

from jaxrec.errors import InputError
from jaxrec.sweep.outcome import Outcome
from jaxrec.sweep.plan import Plan
from jaxrec.sweep.search import search
from jaxrec.sweep.space import Choice, Interval, distributions
from jaxrec.sweep.storage import open_storage
from jaxrec.sweep.study import (
    command,
    importance_note,
    importances,
    in_training,
    list_studies,
    open_study,
    show,
    show_studies,
)
from jaxrec.sweep.workers import at_work
from tests.sweep.recorder import InOneRound

SPACE = {"x": Interval(-1.0, 1.0), "y": Interval(-1.0, 1.0), "model": Choice(("mf", "a b"))}


def sweep(root, name="movies", answer=lambda params: Outcome(-(params["x"] ** 2)), **changes):
    arguments = {
        "space": SPACE,
        "n_trials": 12,
        "population": 4,
        "metric": "ndcg@10",
        "fixed": {"seed": 0},
        "overrides": ["data=ml100k", "x=0.5", "+trainer.note=it's here"],
    }
    return search(
        Plan(**{**arguments, **changes}),
        InOneRound(lambda batch: [answer(params) for params in batch]),
        study_name=name,
        storage=open_storage(None, root / name),
        directory=root / name,
    )


def printed(call, *arguments, width=160):
    console = Console(file=io.StringIO(), width=width)
    call(*arguments, console=console)
    return console.file.getvalue()


def test_studies_are_listed_and_a_broken_one_is_named(tmp_path):
    study = sweep(tmp_path)
    sweep(tmp_path, "books", n_trials=1, population=1, metric="recall@5")
    sweep(tmp_path, "wrecked")
    journal = tmp_path / "wrecked" / "journal.log"
    journal.write_bytes(b"nonsense\n" + journal.read_bytes())
    listed = list_studies(tmp_path).set_index("name")
    assert list(listed.index) == ["books", "movies", "wrecked"]
    assert listed.loc["movies", "complete"] == 12
    assert listed.loc["movies", "best_value"] == study.best_value
    assert list(listed.loc[["books", "movies"], "metric"]) == ["recall@5", "ndcg@10"]
    assert "journal.log: line 1 is not" in listed.loc["wrecked", "note"]
    text = printed(show_studies, list_studies(tmp_path))
    assert "12 complete" in text
    assert "broken" in text
    with pytest.raises(InputError, match=r"journal\.log is a file: name a folder of sweep directories"):
        list_studies(journal)
    assert "no studies yet" in printed(show_studies, list_studies(tmp_path / "nowhere"))


def test_a_study_is_opened_by_name(tmp_path):
    sweep(tmp_path)
    sweep(tmp_path, "books")
    (tmp_path / "books" / "journal.log").write_text("a\nb\n")
    study, directory = open_study("movies", tmp_path)
    assert (len(study.trials), directory) == (12, tmp_path / "movies")
    with pytest.raises(InputError, match="line 1"):
        open_study("books", tmp_path)
    with pytest.raises(InputError, match=r"no study called moves .*did you mean movies\?"):
        open_study("moves", tmp_path)
    with pytest.raises(InputError, match="available: movies"):
        open_study("zzz", tmp_path)
    storage = str(tmp_path / "movies" / "journal.log")
    assert open_study("movies", tmp_path / "nowhere", storage)[0].study_name == "movies"


def test_a_name_with_a_slash_is_a_folder_in_a_folder(tmp_path):
    sweep(tmp_path, "exp/one")
    assert list(list_studies(tmp_path)["name"]) == ["exp/one"]
    assert open_study("exp/one", tmp_path)[1] == tmp_path / "exp" / "one"
    assert open_study("exp/one", tmp_path / "exp" / "one")[1] == tmp_path / "exp" / "one"


def test_showing_a_study_writes_nothing(tmp_path):
    missing = [f"sqlite:///{tmp_path}/nope.db", str(tmp_path / "nope.log")]
    for storage in missing:
        with pytest.raises(InputError, match="does not exist"):
            open_study("nope", tmp_path / "root", storage)
    assert not list(tmp_path.iterdir())
    there = f"sqlite:///{tmp_path}/there.db"
    storage = optuna.storages.RDBStorage(there)
    optuna.create_study(study_name="a", storage=storage)
    storage.engine.dispose()
    assert open_study("a", tmp_path / "root", there)[0].study_name == "a"
    assert [path.name for path in tmp_path.iterdir()] == ["there.db"]


def test_importances_identify_the_parameter_with_an_effect(tmp_path):
    study = sweep(tmp_path, n_trials=40, population=20, sampler="random")
    found = importances(study)
    assert next(iter(found)) == "x"
    assert list(found.values()) == sorted(found.values(), reverse=True)
    assert sum(found.values()) == pytest.approx(1)
    assert importance_note(study) == ""


def test_the_reason_for_missing_importances_is_given(tmp_path):
    constant = sweep(tmp_path, answer=lambda params: Outcome(0.5))
    assert importances(constant) == {}
    assert "all 12 complete trials have the same value" in importance_note(constant)
    for n_trials in (1, 2, 3):
        few = sweep(tmp_path, "few", n_trials=n_trials)
        assert (importances(few) == {}) == (n_trials == 1)
        assert (f"the study has {n_trials}" if n_trials == 1 else f"only {n_trials}") in importance_note(few)


def test_the_command_repeats_a_trial(tmp_path):
    study = sweep(tmp_path, space=SPACE | {"model": Choice(("a b",))}, n_trials=2)
    words = shlex.split(command(study, 1))
    assert words[:4] == ["jaxrec", "train", "data=ml100k", "+trainer.note=it's here"]
    read = {o.key_or_group: o.value() for o in OverridesParser.create().parse_overrides(words[4:])}
    assert read == study.trials[1].params  # x=0.5 was typed but searched, so it is left out
    with pytest.raises(InputError, match="no trial 7; it has 0 to 1"):
        command(study, 7)


@pytest.mark.parametrize(
    ("state", "attributes", "every", "expected"),
    [
        ("pruned", {}, 1, [8]),
        ("complete", {"stopped": "sweep.timeout"}, 1, [8]),
        ("complete", {"stopped": "sweep.timeout"}, 5, [5]),  # its last validation
        ("complete", {}, 1, [60]),
    ],
)
def test_the_command_of_a_trial_that_was_ended_early_has_its_epochs(tmp_path, state, attributes, every, expected):
    outcome = Outcome(0.5, state, {"epochs": 8} | attributes)
    fixed = {"seed": 0, "trainer.validate_every": every}
    study = sweep(tmp_path, answer=lambda params: outcome, n_trials=1, overrides=["trainer.epochs=60"], fixed=fixed)
    words = OverridesParser.create().parse_overrides(shlex.split(command(study, 0))[2:])
    assert [word.value() for word in words if word.key_or_group == "trainer.epochs"] == expected


def test_show_prints_the_state_of_a_study(tmp_path):
    study = sweep(tmp_path)
    text = printed(show, study, tmp_path / "movies")
    assert "movies: 12 complete" in text
    assert "to maximize ndcg@10" in text
    assert "only 12 complete trials" in text
    assert command(study, study.best_trial.number) in printed(
        show, study, tmp_path / "movies", width=40
    )  # one line, to be copied
    with pytest.raises(InputError):
        sweep(tmp_path, "failing", answer=lambda params: Outcome(None, "failed", {"error": "[no] data"}))
    text = printed(show, *open_study("failing", tmp_path))
    assert "4 waiting, 4 failed" in text
    assert "last failure: [no] data" in text
    storage = open_storage(None, tmp_path / "empty")
    assert "no trials yet" in printed(show, optuna.create_study(study_name="empty", storage=storage), tmp_path)


def test_running_trials_are_shown_until_their_process_ends(tmp_path):
    study = sweep(tmp_path, n_trials=3)
    directory = tmp_path / "movies"
    with at_work(study, directory) as worker:
        trial = study.ask(distributions(SPACE))
        trial.set_user_attr("worker", worker.id)
        assert "movies: 3 complete, 1 running" in printed(show, *open_study("movies", tmp_path))
        assert in_training(study, directory)["epoch"].tolist() == [None], "nothing reported yet"
        for epoch, value in ((2, 0.1), (4, 0.25)):
            trial.report(value, epoch)
        (row,) = in_training(*open_study("movies", tmp_path)).to_dict("records")
        assert row == {"number": 3, "epoch": 4, "value": 0.25, **trial.params}
        text = printed(show, *open_study("movies", tmp_path))
        assert "trials in training" in text
        assert "best ndcg@10" in text
        assert list_studies(tmp_path).loc[0, "running"] == 1
    text = printed(show, *open_study("movies", tmp_path))
    assert "movies: 3 complete, 1 interrupted" in text
    assert "the same search command continues them" in text
    assert "trials in training" not in text
    assert list(list_studies(tmp_path).loc[0, ["running", "interrupted"]]) == [0, 1]


def test_trials_of_a_worker_with_a_lease_are_shown_as_running_while_it_renews_it(tmp_path):
    study = sweep(tmp_path, n_trials=1)
    study.set_user_attr("lease far", [3, time.time() - 40])
    study.ask().set_user_attr("worker", "far")
    assert "1 complete, 1 running" in printed(show, study, tmp_path / "movies")
    study.set_user_attr("lease far", [3, time.time() - 70])
    assert "1 complete, 1 interrupted" in printed(show, study, tmp_path / "movies")


def test_a_folder_without_permission_is_not_taken_for_an_empty_one(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path) != tmp_path)
    for look in (list_studies, lambda root: open_study("s", root)):
        with pytest.raises(InputError, match=f"root={tmp_path} cannot be read: permission denied"):
            look(tmp_path)
