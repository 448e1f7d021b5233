"""A search ends near its timeout: trials in training are stopped, and keep the best validation so far."""

import time
from types import SimpleNamespace

import jax
import numpy as np
import pytest
from optuna.trial import create_trial

from jaxrec import experiment
from jaxrec.settings import build
from jaxrec.sweep import time_limit
from jaxrec.sweep.search import search
from jaxrec.sweep.search_task import SearchTask
from jaxrec.sweep.space import Interval
from jaxrec.sweep.storage import open_storage
from jaxrec.sweep.time_limit import in_parts
from jaxrec.sweep.trials import epochs_to_repeat
from jaxrec.sweep.tuning import Tuning
from jaxrec.sweep.winner import finish, train_again
from tests.planted import PLANTED
from tests.sweep.recorder import Curves, n_done, quadratic, sweep

STATES = {"COMPLETE": "C", "RUNNING": "R"}


def states(study):
    return "".join(STATES[trial.state.name] for trial in study.trials)


@pytest.fixture
def clock(monkeypatch):
    """Time in seconds of the loop of a search, as a list of one number."""
    now = [0.0]
    monkeypatch.setattr("jaxrec.sweep.worker_loop.time", SimpleNamespace(monotonic=lambda: now[0], sleep=time.sleep))
    return now


@pytest.fixture
def slow(clock):
    """A runner whose trials have five epochs of ten seconds."""

    def n_epochs(params):
        clock[0] += 10
        return 5

    return Curves(n_epochs)


def test_trials_in_training_are_stopped_with_their_value_and_the_search_continues(tmp_path, slow):
    study = sweep(tmp_path, runner=slow, n_trials=7, timeout=3)
    # 3 trials of 5 epochs take 150 s, the next round ends after 180 s, which is in time, and the last one after 210 s.
    assert states(study) == "CCCCCC"
    assert [trial.user_attrs["epochs"] for trial in study.trials] == [5, 5, 5, 2, 2, 2]
    assert [trial.user_attrs.get("stopped") for trial in study.trials] == [None] * 3 + ["timeout"] * 3
    for trial in study.trials[3:]:
        assert trial.value == quadratic(trial.params) * 3 / 4
    study = sweep(tmp_path, runner=Curves(lambda params: 1), n_trials=7, timeout=1)  # each start has the full time
    assert n_done(study) == 7
    assert "stopped" not in study.trials[6].user_attrs


def test_a_search_trains_until_it_has_a_value_and_leaves_other_trials_to_the_next_start(tmp_path, slow):
    """As many epochs as it takes to the first validation, in every third epoch; trial 1 has one already."""
    stop, saved = slow.stop, []
    slow.stop = lambda number: stop(number) if slow.trials[number]["epoch"] >= 3 - (number == 1) else None
    slow.save = lambda is_interrupted: saved.append(is_interrupted)
    study = sweep(tmp_path, runner=slow, n_trials=5, timeout=1e-9)
    assert states(study) == "RCR"
    assert study.trials[1].user_attrs["epochs"] == 2
    assert saved == [False, False, False, True]
    again = Curves(lambda params: 5)
    study = sweep(tmp_path, runner=again, n_trials=5)
    assert states(study) == "CCCCC"
    assert again.started == [0, 2, 3, 4]
    assert study.trials[0].user_attrs["epochs"] == 5


def test_no_trial_is_proposed_after_the_round_in_which_the_time_ends(tmp_path, slow):
    slow.n_epochs, n_epochs = lambda params: n_epochs(params) - 4, slow.n_epochs
    assert states(sweep(tmp_path, runner=slow, n_trials=7, timeout=0.4)) == "CCC"  # after 30 s


def test_a_trial_with_the_parameters_of_a_stopped_one_has_its_value(tmp_path, slow):
    study = sweep(tmp_path, runner=slow, space={"x": Interval(0, 1, integer=True)}, n_trials=4, timeout=1e-9)
    assert states(study) == "CCCC"
    assert len(slow.started) == 2
    same = [trial for trial in study.trials if "same_as" in trial.user_attrs]
    assert [trial.value for trial in same] == [study.trials[trial.user_attrs["same_as"]].value for trial in same]
    assert [trial.user_attrs["stopped"] for trial in study.trials] == ["timeout"] * 4


SPACE = {"optimizer.learning_rate": Interval(1e-3, 0.3, log=True)}


@pytest.fixture(scope="module")
def tuning(compose):
    more = ("trainer.epochs=12", "trainer.validate_every=2", "trainer.batch_size=512", "sweep.population=2")
    tree = compose("model=mf", *PLANTED, *more, "trainer.save_minutes=null", "sweep.n_trials=4")
    return Tuning(tree, SPACE, lambda overrides: tree)


@pytest.fixture(scope="module")
def split(tuning):
    return experiment.prepare(tuning.tree)[0]


def test_the_best_trial_is_tested_as_it_was_when_it_was_stopped(tuning, split, clock, tmp_path):
    runner, chosen = tuning.runner(split.selection, 2, tmp_path), build(tuning.tree["sweep"] | {"timeout": 4.5 / 60})
    advance, limits = runner.advance, []

    def advance_a_second(seconds):
        clock[0] += 1
        limits.append(seconds)
        yield from advance(seconds)
        assert clock[0] > 1 or runner.stop(0) is None  # the first epoch is not validated

    runner.advance = advance_a_second
    plan, storage = tuning.plan(chosen), open_storage(None, tmp_path)
    study = search(plan, runner, study_name="study", storage=storage, directory=tmp_path)
    assert states(study) == "CC"
    assert limits == [4.5, 3.5, 2.5, 1.5, 0.5]
    assert [trial.user_attrs["epochs"] for trial in study.trials] == [5, 5]  # validated after the fourth
    tuned = finish(SearchTask("study", chosen, tuning, plan, []), runner, study, split)
    assert tuned.result.metrics["validation"]["ndcg@10"] == tuned.winner.value
    assert "2 of 4 trials have ended: start the same search again to continue it" in tuned.notes
    assert any("was stopped by the timeout after epoch 5" in note for note in tuned.notes)
    assert tuned.tree["trainer"]["epochs"] == 4
    _, again = train_again(tuning, tuned.tree, split.selection, 2)  # as another process does
    assert again.validation[0]["ndcg@10"] == tuned.winner.value
    params = runner.best.selected.fit.params
    jax.tree.map(np.testing.assert_array_equal, again.fit.params, params)


@pytest.mark.parametrize(
    ("attributes", "every", "epochs"),
    [
        ({"epochs": 5, "stopped": "timeout"}, 2, 4),
        ({"epochs": 4, "stopped": "timeout"}, 2, 4),
        ({"epochs": 5}, 2, 5),  # all epochs, of which the last one is validated
        ({}, 1, None),
    ],
)
def test_a_stopped_trial_is_repeated_up_to_its_last_validation(attributes, every, epochs):
    assert epochs_to_repeat(create_trial(value=0.5, user_attrs=attributes), every) == epochs


@pytest.fixture
def steps(monkeypatch):
    """Time of `in_parts`, as a list of one number."""
    now = [0.0]
    monkeypatch.setattr(time_limit.time, "monotonic", lambda: now[0])
    return now


@pytest.mark.parametrize(
    ("until", "size", "parts"),
    [
        (np.inf, 2, ["abcdefgh"]),
        (100.0, 2, ["ab", "cdefgh"]),  # all that are left fit
        (7.9, 2, ["ab", "cdef", "gh"]),  # a pair takes 2 s, and 5.9 s are left for two of them, then 1.9 s
        (6.0, 2, ["ab", "cdef"]),
        (7.9, 1, ["a", "bcdefg", "h"]),
        (2.1, 2, ["ab", "cd"]),  # time is left, though little
        (2.0, 2, ["ab"]),
        (-5.0, 2, ["ab"]),  # at least one part
        (100.0, 9, ["abcdefgh"]),
    ],
)
def test_parts_are_as_large_as_the_time_that_is_left_seems_to_allow(until, size, parts, steps):
    found = []
    for part in in_parts("abcdefgh", size, until):
        found.append(part)
        steps[0] += len(part)
    assert found == parts


def test_closed_forms_that_the_time_does_not_allow_are_left(compose):
    tree = compose("model=item_knn", *PLANTED, "sweep.population=4")
    own = Tuning(tree, {"model.shrinkage": Interval(1.0, 100.0)}, lambda overrides: tree)
    runner = own.runner(experiment.prepare(tree)[0].selection, 4)
    for number in range(5):
        runner.add(number, {"model.shrinkage": 10.0 * (number + 1)})
    n = jax.device_count()
    assert [step.number for step in runner.advance(seconds=0)] == list(range(n))
    assert runner.stop(n) is None
    assert {step.number for step in runner.in_training} == set(range(n, 5))
    assert [step.number for step in runner.advance()] == list(range(n, 5))
