"""Finalists: trials with new seeds have the values of single runs, and the best mean wins."""

from types import SimpleNamespace

import numpy as np
import pytest
from optuna.trial import create_trial

from jaxrec import experiment, settings
from jaxrec.evaluation.evaluation import Evaluator
from jaxrec.fitting.population import Population
from jaxrec.hyper import Hyper
from jaxrec.sweep.finalists import confirm
from tests.planted import PLANTED

pytestmark = pytest.mark.whole

SETTINGS = (*PLANTED, "trainer.epochs=2", "trainer.batch_size=512", "seed=3")
RATES = {0: 0.0001, 2: 0.03}


@pytest.fixture(scope="module")
def split(compose):
    return experiment.prepare(compose(*SETTINGS))[0]


@pytest.fixture(scope="module")
def trees(compose):
    return {n: compose(*SETTINGS, f"optimizer.learning_rate={rate}") for n, rate in RATES.items()}


def finalists(trees, selection, n_seeds):
    """Confirm trials with these configurations by number."""
    trials = []
    for number in trees:
        trials.append(create_trial(value=1.0))
        trials[-1].number = number
    extremes = {"optimizer.learning_rate": [*RATES.values()]}
    return confirm(trials, n_seeds, lambda t: trees[t.number], lambda t: settings.program_of(t, extremes), selection)


@pytest.fixture(scope="module")
def result(trees, split):
    return finalists(trees, split.selection, 2)


def test_values_are_those_of_single_runs_with_the_following_seeds(trees, split, result):
    found = result.table.set_index("trial").loc[2]
    values = []
    for seed in (4, 5):
        ((_, shared, population),) = settings.populations([{**trees[2], "seed": seed}])
        values.append(experiment.select(shared, split.selection, population).validation[0]["ndcg@10"])
    assert found["value"] == pytest.approx(np.mean(values), abs=1e-6)
    assert found["sd"] == pytest.approx(np.std(values, ddof=1), abs=1e-6)
    assert found["seeds"] == 2


def test_the_best_mean_wins(result):
    assert result.table["value"].is_monotonic_decreasing
    assert result.winner == 2
    assert result.sentence.startswith("over 2 new seeds, trial 2 has the best mean validation ndcg@10, 0.")


def test_a_finalist_that_diverges_is_left_out(trees, split, monkeypatch):
    monkeypatch.setattr(experiment, "failure", lambda selected, member: "diverged" if member == 3 else None)
    result = finalists(trees, split.selection, 2)
    assert result.failed == {2: "diverged"}
    assert result.table["trial"].tolist() == [0]


def test_a_schedule_is_validated_with_the_numbers_of_the_best_epoch(trees, split, monkeypatch):
    steps = [{"from_epoch": n, "overrides": {"model.regularization": 0.001 * n}} for n in (1, 2)]
    changes = {"trainer.schedule": {"epochs": 2, "steps": steps}, "trainer.patience": None}
    tree = settings.put(trees[2], {**changes, "optimizer.learning_rate": 0.003})
    used, evaluate = [], Evaluator.__call__

    def recorded(evaluator, params, hyper):
        used.extend(hyper.of("model")["regularization"].tolist())
        return evaluate(evaluator, params, hyper)

    monkeypatch.setattr(Evaluator, "__call__", recorded)
    finalists({2: tree}, split.selection, 2)
    assert used == pytest.approx([0.002, 0.002])


def test_the_smallest_mean_error_wins(monkeypatch):
    """Two seeds each: .85 on average, and .55."""
    errors = SimpleNamespace(users=np.arange(1), per_user={}, overall={"rmse": np.array([0.9, 0.8, 0.5, 0.6])})
    monkeypatch.setattr(experiment, "model_and_evaluator", lambda *_: (None, lambda *_: errors))
    fit = SimpleNamespace(interrupted=False, params={}, best_epoch=[1] * 4)
    monkeypatch.setattr(experiment, "train", lambda *_: SimpleNamespace(fit=fit))
    monkeypatch.setattr(experiment, "failure", lambda selected, member: None)
    monkeypatch.setattr(settings, "with_seeds", lambda tree, n: [tree] * n)
    trials = [SimpleNamespace(number=number) for number in (0, 2)]
    one, tree = Population(np.zeros(1, int), Hyper()), {"seed": 3, "eval": {"monitor": "rmse"}}
    found = confirm(trials, 2, lambda trial: tree, lambda tree: ("one program", tree, one), None)
    assert (found.winner, found.table["trial"].tolist()) == (2, [2, 0])
    assert found.table["value"].tolist() == pytest.approx([0.55, 0.85])
