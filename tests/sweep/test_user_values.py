"""Validation values of users by trial: storage, and the trials with which the best is compared."""

import numpy as np
import optuna
import pytest
from optuna.trial import TrialState, create_trial

from jaxrec.bootstrap import best_corrected
from jaxrec.evaluation.evaluation import Evaluator, Measured
from jaxrec.evaluation.ground_truth import GroundTruth
from jaxrec.fitting.member import Member
from jaxrec.hyper import Hyper
from jaxrec.ranking import QueryRows
from jaxrec.sweep.user_values import FOLDER, ObservedEvaluator, UserValues

VALUES = np.random.default_rng(0).random((4, 30)).astype(np.float32)  # of 4 trials, by user


class Table(Evaluator):
    """An evaluator that returns a table of values [P, R] of these users as ndcg@10."""

    model = None

    def __init__(self, users, values):
        rows = np.arange(len(users) + 1)
        queries = QueryRows(np.asarray(users), None, rows[:-1], rows[1:])
        self.ground_truth = GroundTruth(queries, rows, rows[:-1], one_per_row=True)
        self.values = np.float32(values)

    def measure(self, params, hyper, active=None):
        return Measured({"ndcg@10": self.values}, {"coverage@10": self.values[:, 0]}, self.values, self.values[:, 0])


@pytest.fixture(params=["directory", "memory"])
def stored(request, tmp_path):
    """Store the values of four trials, and of one that belongs to another search."""
    found = UserValues(tmp_path if request.param == "directory" else None)
    for number, values in enumerate(VALUES):
        found.write(number, np.stack([values, np.ones(30, np.float32)]))
    return found


def study(*trials, direction="maximize"):
    """Return a study of complete trials, each with changes to a trial with the mean of its `VALUES`."""
    made = optuna.create_study(direction=direction)
    for number, more in enumerate(trials):
        made.add_trial(create_trial(**{"value": float(VALUES[number % 4].mean()), **more}))
    return made


def corrected(*numbers, larger_is_better=True):
    return best_corrected(VALUES[list(numbers)], np.ones((len(numbers), 30)), larger_is_better=larger_is_better)


def test_each_members_best_values_are_kept_by_user():
    """Two members in slots of three; the second improves twice, and a value of its third user is not defined."""
    table = Table([7, 3, 7, 5], [[1, 2, 3, 4], [0, 0, 0, 0], [5, 6, 7, 8]])
    observed, (first, second) = ObservedEvaluator(table, "ndcg@10"), (Member(0, Hyper(), 1) for _ in range(2))
    assert observed.means(None, Hyper(), None)["ndcg@10"].tolist() == [2.5, 0, 6.5]
    observed.keep({first: 0, second: 2})
    table.values = np.float32([[9, 9, 9, 9], [0, 0, 0, 0], [1, 2, 3, np.nan]])
    observed.means(None, Hyper(), None)
    observed.keep({second: 2})
    assert sorted(observed.best[first].T.tolist()) == [[2, 1], [4, 1], [4, 2]]  # sums and numbers of users 3, 5, 7
    assert sorted(observed.best[second].T.tolist()) == [[0, 0], [2, 1], [4, 2]]
    third = observed.best[first][0].tolist().index(2)  # the position of user 3 is the same for all members
    assert observed.best[second][:, third].tolist() == [2, 1]
    assert observed.latest([0]) == {}  # it no longer refers to device arrays
    of_all_lists = ObservedEvaluator(table, "coverage@10")
    of_all_lists.means(None, Hyper(), None)
    of_all_lists.keep({first: 0})
    assert first not in of_all_lists.best


def test_the_best_is_compared_with_all_trials_that_could_have_been_best(stored):
    best_first = np.argsort(-VALUES.mean(axis=1))
    found, missing = stored.corrected(study({}, {}, {}, {}))
    assert missing == 0
    assert found == pytest.approx(corrected(*best_first), abs=1e-6)
    assert found.optimism > 0
    lowest, _ = stored.corrected(study({}, {}, {}, {}, direction="minimize"))
    assert lowest == pytest.approx(corrected(*best_first[::-1], larger_is_better=False), abs=1e-6)
    assert lowest.optimism < 0


def test_trials_that_could_not_be_the_best_do_not_count(stored):
    """Trials that repeat another, violate more constraints, or were pruned above the best or without values here."""
    repeating, infeasible = {"user_attrs": {"same_as": 0}}, {"constraints": {"size <= 1": 1.0}}
    pruned = [{"state": TrialState.PRUNED} | more for more in ({}, {"value": None}, {"value": 0.9}, {"value": 0.1})]
    first, second, third = np.argsort(-VALUES.mean(axis=1))[:3]
    trials = [{}] * 4
    trials[first], trials[third] = infeasible, pruned[0]
    found, missing = stored.corrected(study(*trials, repeating, *pruned[1:]))
    assert missing == 0
    assert found == pytest.approx(corrected(second, third, np.argmin(VALUES.mean(axis=1))), abs=1e-6)
    trials = [{}] * 4
    trials[first] = pruned[0]  # above the best one
    found, _ = stored.corrected(study(*trials))
    assert found == pytest.approx(corrected(*np.argsort(-VALUES.mean(axis=1))[1:]), abs=1e-6)
    found, _ = stored.corrected(study(infeasible, infeasible, {"constraints": {"a": 1.0, "b": 1.0}}))
    assert found.n == 2  # if all violate constraints, those with the fewest violations


def test_values_of_other_searches_are_missing(stored):
    found, missing = stored.corrected(study({}, {"value": 0.123}, {}, {}, {}))
    assert found is None
    assert missing == 2  # trial 1 has another mean here, and trial 4 was validated elsewhere


def test_a_damaged_file_is_missing(tmp_path):
    stored = UserValues(tmp_path)
    for number, values in enumerate(VALUES[:2]):
        stored.write(number, np.stack([values, np.ones_like(values)]))
    assert stored.corrected(study({}, {}))[0].n == 2
    file = tmp_path / FOLDER / "1.npy"
    for content in (b"", file.read_bytes()[:-8], b"pickled"):
        file.write_bytes(content)
        assert stored.corrected(study({}, {})) == (None, 1)
