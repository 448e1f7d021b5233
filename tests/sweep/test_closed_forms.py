"""Trials of closed forms have the same outcome whatever is solved beside them, as in a search that was killed."""

import math

import jax
import numpy as np
import pytest

from jaxrec import experiment
from jaxrec.settings import build
from jaxrec.sweep.search import search
from jaxrec.sweep.space import Choice, Interval
from jaxrec.sweep.storage import open_storage
from jaxrec.sweep.tuning import Tuning
from jaxrec.sweep.winner import train_again
from tests.planted import PLANTED
from tests.slow import some_slow
from tests.sweep.kills import Killed, Mortal, records

SPACE = {
    "model.k": Interval(5, 60, integer=True),
    "model.shrinkage": Interval(1.0, 100.0),
    "model.similarity": Choice(("cosine", "jaccard")),
}
TRIALS = [
    {"model.k": 20, "model.shrinkage": 7.0, "model.similarity": "cosine"},
    {"model.k": 10, "model.shrinkage": 90.0, "model.similarity": "cosine"},
    {"model.k": 9, "model.shrinkage": 3.0, "model.similarity": "jaccard"},
]


@pytest.fixture(scope="module")
def tuning(compose):
    tree = compose("model=item_knn", *PLANTED, "sweep.n_trials=5", "sweep.population=2")
    return Tuning(tree, SPACE, lambda overrides: tree)


@pytest.fixture(scope="module")
def selection(tuning):
    return experiment.prepare(tuning.tree)[0].selection


@pytest.fixture(scope="module")
def together(tuning, selection):
    return solved(tuning, selection, range(len(TRIALS)))


def solved(tuning, selection, numbers):
    """Outcomes of these trials without durations, and the runner."""
    runner = tuning.runner(selection, len(TRIALS))
    for number in numbers:
        runner.add(number, TRIALS[number])
    outcomes = {step.number: step.outcome for step in runner.advance()}
    return {n: (o.value, {**o.attributes, "seconds": 0}) for n, o in outcomes.items()}, runner


def test_a_trial_that_is_solved_again_has_the_same_outcome(tuning, selection, together):
    outcomes, runner = together
    assert list(outcomes) == [0, 1, 2]
    for numbers in ([0], [1, 2]):
        again, other = solved(tuning, selection, numbers)
        assert again == {number: outcomes[number] for number in numbers}
        for number in numbers:
            ours, theirs = (each.user_values.read(number, outcomes[number][0]) for each in (other, runner))
            np.testing.assert_array_equal(ours, theirs)


def test_the_best_trial_has_the_same_parameters_if_its_process_was_killed_and_another_tests_it(
    tuning, selection, together
):
    outcomes, runner = together
    winner = max(outcomes, key=lambda number: outcomes[number][0])
    assert runner.best.number == winner
    shared, selected = train_again(tuning, tuning.tree_of(TRIALS[winner]), selection, len(TRIALS))
    assert shared["model"]["k"] == runner.best.tree["model"]["k"] == 60  # padded to the largest of the space
    jax.tree.map(np.testing.assert_array_equal, selected.fit.params, runner.best.selected.fit.params)
    assert selected.validation == runner.best.selected.validation


@pytest.fixture(scope="module")
def searched(tuning, selection):
    """Search in a directory, killed at the n-th use of the runner; return what the study has recorded."""

    def run(directory, killed_at=math.inf):
        chosen = build(tuning.tree["sweep"])
        runner = Mortal(tuning.runner(selection, chosen.population, directory), killed_at)
        plan, storage = tuning.plan(chosen), open_storage(None, directory)
        return records(search(plan, runner, study_name="study", storage=storage, directory=directory))

    return run


@pytest.fixture(scope="module")
def uninterrupted(searched, tmp_path_factory):
    return searched(tmp_path_factory.mktemp("through"))


@pytest.mark.parametrize("n", some_slow(range(1, 14), *(n for n in range(1, 14) if n not in (2, 6))))
def test_a_killed_search_ends_with_the_same_trials_in_the_same_rounds(n, searched, uninterrupted, tmp_path):
    assert [attributes["ended_round"] for *_, attributes in uninterrupted] == [1, 1, 2, 2, 3]
    with pytest.raises(Killed):
        searched(tmp_path, n)
    assert searched(tmp_path) == uninterrupted
