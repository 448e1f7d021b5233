"""Members are selected, kept and trained again with what belongs to their best epoch."""

from types import SimpleNamespace

import numpy as np
import pytest

from jaxrec.experiment import results, training
from jaxrec.fitting.epochs import Fit
from jaxrec.fitting.population import Population
from jaxrec.hyper import Hyper

BEST = [2, 1, 3]
SCORES = [[0.1, 0.5, 0.2], [0.4, 0.3, 0.2], [0.1, 0.2, 0.3]]


@pytest.fixture
def fitted(monkeypatch):
    """Calls of a trainer that returns three members with three epochs each."""
    calls = []

    def fit(model, train, population, *_, **options) -> Fit:
        calls.append((model, train, population, options))
        rows = [[{"epoch": e, "loss": 1.0, "ndcg@10": x} for e, x in enumerate(own, 1)] for own in SCORES]
        return Fit({"w": np.arange(3)}, rows, BEST, "cpu", [False, False, False])

    for module in (training, results):
        monkeypatch.setattr(module, "trainer", lambda tree: fit)
    monkeypatch.setattr(results, "model_of", lambda tree, train: f"model of {train}")
    return calls


@pytest.fixture
def selected(fitted) -> training.Selected:
    population = Population(np.array([7, 8, 9]), Hyper({"optimizer.learning_rate": np.array([0.1, 0.2, 0.3])}))
    evaluator = SimpleNamespace(means=None)
    return training.train({}, SimpleNamespace(train="train"), population, "model", evaluator)


def test_validation_metrics_are_those_of_the_best_epoch(selected):
    assert selected.validation == [{"ndcg@10": 0.5}, {"ndcg@10": 0.4}, {"ndcg@10": 0.3}]


def test_some_members_keep_all_that_is_theirs(selected):
    kept = training.members_of(selected, [0, 2])
    assert kept.validation == [{"ndcg@10": 0.5}, {"ndcg@10": 0.3}]
    assert kept.fit.best_epoch == [2, 3]
    assert (kept.fit.params["w"].tolist(), kept.population.seeds.tolist()) == ([0, 2], [7, 9])
    assert kept.population.hyper.numbers["optimizer.learning_rate"].tolist() == [0.1, 0.3]
    assert [rows[0]["ndcg@10"] for rows in kept.fit.history] == [0.1, 0.1]


@pytest.mark.parametrize(
    ("refit", "validation", "again"), [(True, "some", True), (False, "some", False), (True, None, False)]
)
def test_a_refit_trains_on_all_known_data_for_the_best_epochs(selected, fitted, refit, validation, again):
    selection = SimpleNamespace(train="train", validation=validation, joined=lambda: "train and validation")
    fit, data = results._final_fit({"refit": refit}, selection, selected)
    if not again:
        assert (fit, data) == (selected.fit, "train")
        assert len(fitted) == 1
        return
    model, trained_on, population, options = fitted[-1]
    assert (model, trained_on, data) == ("model of train and validation", data, "train and validation")
    assert population is selected.population
    assert options == {"epochs": BEST}
