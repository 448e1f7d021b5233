"""Searches that end before their last trial."""

import json
import re
import shutil

import jax
import numpy as np
import pandas as pd
import pytest
import yaml

from jaxrec import launch
from jaxrec.errors import InputError
from jaxrec.evaluation.cost import Latency
from jaxrec.launch import winner
from jaxrec.sweep.runner import SlotRunner
from jaxrec.sweep.search_task import check_search
from tests.page import Page
from tests.planted import PLANTED

SHORT = (*PLANTED, "model=ease", "sweep.n_trials=6", "sweep.population=2")
SPACE = {"model.regularization": {"low": 1.0, "high": 1000.0, "log": True}}


@pytest.fixture
def interrupted(monkeypatch):
    """Interrupt every search in its n-th round."""

    def at(n):
        rounds, advance = iter(range(1, 1000)), SlotRunner.advance

        def advance_or_stop(runner, *limit):
            if next(rounds) == n:
                raise KeyboardInterrupt
            return advance(runner, *limit)

        monkeypatch.setattr(SlotRunner, "advance", advance_or_stop)

    return at


def test_an_interrupted_search_leaves_the_best_so_far_and_is_continued(compose, tmp_path, interrupted, capsys):
    tree = compose(*SHORT)
    interrupted(3)
    with pytest.raises(KeyboardInterrupt):
        launch.sweep(tree, SPACE, lambda more: tree, [], tmp_path)
    trials = pd.read_csv(tmp_path / "trials.csv")
    assert list(trials.state) == ["complete"] * 4 + ["running"] * 2
    metrics = json.loads((tmp_path / "best" / "metrics.json").read_text())
    assert metrics["validation"]["ndcg@10"] == trials.value.max()
    assert not metrics["interrupted"]
    best = yaml.safe_load((tmp_path / "best.yaml").read_text())
    assert best == [f"model.regularization={trials['model.regularization'][trials.value.idxmax()]}"]
    printed = " ".join(capsys.readouterr().out.split())
    assert "leaderboard" in printed
    assert "4 of 6 trials have ended" in printed
    assert "to continue, run the same command again" in printed
    interrupted(1000)
    result = launch.sweep(tree, SPACE, lambda more: tree, [], tmp_path)
    assert (pd.read_csv(tmp_path / "trials.csv").state == "complete").sum() == 6
    assert not result.metrics["interrupted"]


@pytest.fixture
def tested(monkeypatch):
    """List of the tests of winners."""
    tests, finish = [], winner.finish
    monkeypatch.setattr(winner, "finish", lambda *given: tests.append(given) or finish(*given))
    return tests


@pytest.fixture
def searched(compose, tmp_path, capsys):
    """`searched("sweep.refit=true")`: result of a search in a fixed directory, and its printed leaderboard."""

    def search(*more):
        tree = compose(*SHORT, "sweep.n_trials=2", *more)
        result = launch.sweep(tree, SPACE, lambda more: tree, [], tmp_path)
        return result, capsys.readouterr().out.partition("leaderboard")[2]

    return search


@pytest.mark.whole
def test_a_finished_search_is_shown_again_without_training_its_winner(searched, tested, tmp_path):
    first, printed = searched()
    files = {path: path.read_bytes() for path in tmp_path.rglob("best/**/*") if path.is_file()}
    again, printed_again = searched()
    assert len(tested) == 1
    assert printed_again == printed
    assert (
        by_chance := re.search(r"trial \d: validation ndcg@10 (0\.\d+, about .* by chance \(best of 2\).*)", printed)
    )
    message = Page((tmp_path / "report.html").read_text()).content
    assert f"validation NDCG@10 {by_chance[1]}." in message
    assert again.metrics["test"] == first.metrics["test"]
    assert not (tmp_path / "training").exists()
    jax.tree.map(np.testing.assert_array_equal, again.params, first.params)
    assert Latency(again.model, again.known)(again.params, again.hyper) > 0  # as measured in a comparison
    assert {path: path.read_bytes() for path in files} == files
    (tmp_path / "best" / "model" / "params.safetensors").unlink()
    shutil.rmtree(tmp_path / "validation")
    _, printed = searched()
    assert len(tested) == 2
    assert "by chance" not in printed
    assert "note: how much of the best ndcg@10 is chance is not known" in printed


@pytest.mark.slow
def test_a_finished_search_with_other_settings_tests_its_winner_again(searched, tested):
    searched()
    searched("sweep.refit=true")
    assert len(tested) == 2
    assert "trained on train + validation" in searched("sweep.refit=true")[1]
    searched("sweep.n_trials=3")
    assert len(tested) == 3


def test_an_interrupt_before_the_first_outcome_leaves_no_best_run(compose, tmp_path, interrupted, capsys):
    interrupted(1)
    tree = compose(*SHORT)
    with pytest.raises(KeyboardInterrupt):
        launch.sweep(tree, SPACE, lambda more: tree, [], tmp_path)
    assert not (tmp_path / "best").exists()
    printed = capsys.readouterr().out
    assert "interrupted before the first trial was complete; to continue, run the same command again" in printed


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:Some regimes for parameter")  # importances of few trials
def test_a_search_over_losses_with_parameters_of_their_own(compose, tmp_path):
    short = (*PLANTED, "trainer.epochs=2", "trainer.batch_size=512", "sweep.sampler=auto", "sweep.n_trials=4")
    space = {
        "negatives.ratio": {"choices": [1, 2], "when": {"loss": "bpr"}},
        "loss": {"choices": ["bpr", "softmax"]},
    }
    launch.sweep(compose(*short), space, lambda more: compose(*short, *more), [], tmp_path)
    trials = pd.read_csv(tmp_path / "trials.csv")
    assert list(trials.loss) == ["bpr", "bpr", "softmax"]
    assert list(trials["negatives.ratio"].fillna(0)) == [1, 2, 0]
    assert set(trials.state) == {"complete"}


@pytest.mark.slow
def test_a_search_starts_from_another(compose, tmp_path, capsys):
    tree = compose(*SHORT, "sweep.n_trials=2")
    launch.sweep(tree, SPACE, lambda more: tree, [], tmp_path / "first")
    best = pd.read_csv(tmp_path / "first" / "trials.csv").value.max()
    tree = compose(*SHORT, "sweep.n_trials=1", f"sweep.warm_start={tmp_path / 'first'}", "sweep.timeout=5")
    launch.sweep(tree, SPACE, lambda more: tree, [], tmp_path / "second")
    trials = pd.read_csv(tmp_path / "second" / "trials.csv")
    assert len(trials) == 3
    assert trials.value[:2].max() == best
    printed = " ".join(capsys.readouterr().out.split())
    assert "warm start: 2 of 2 complete trials" in printed
    assert "complete trials that were validated elsewhere: 2" in printed
    tree = compose(*SHORT, "eval.monitor=recall@10", f"sweep.warm_start={tmp_path / 'first'}")
    with pytest.raises(InputError, match=r"its metric is validation ndcg@10, this search is for validation recall@10"):
        launch.sweep(tree, SPACE, lambda more: tree, [], tmp_path / "third")
    assert not (tmp_path / "third").exists()


@pytest.mark.slow
def test_finalists_choose_the_trial_with_the_best_mean(compose, tmp_path, capsys):
    tree = compose(
        *(*PLANTED, "trainer.epochs=2", "trainer.batch_size=512", "optimizer.learning_rate=0.01"),
        *("sweep.n_trials=3", "sweep.population=2", "sweep.sampler=grid", "sweep.finalists=2"),
        "sweep.finalist_seeds=2",
    )
    space = {"optimizer.learning_rate": {"choices": [1e-4, 0.01, 0.03]}}
    launch.sweep(tree, space, lambda more: tree, [], tmp_path)
    trials = pd.read_csv(tmp_path / "trials.csv").set_index("number")
    finalists = pd.read_csv(tmp_path / "finalists.csv")
    assert set(finalists["trial"]) == set(trials["value"].nlargest(2).index)
    assert finalists["value"].is_monotonic_decreasing
    winner = finalists["trial"][0]
    assert (tmp_path / "best.yaml").read_text().startswith(f"# overrides of trial {winner}, ")
    metrics = json.loads((tmp_path / "best" / "metrics.json").read_text())
    assert metrics["validation"]["ndcg@10"] == trials["value"][winner]
    page = Page((tmp_path / "report.html").read_text()).content
    assert f"over 2 new seeds, trial {winner} has the best mean" in page.replace("Over", "over")
    assert f"{finalists['value'][0]:.4f}" in page
    assert "finalists, validation ndcg@10 over new seeds" in capsys.readouterr().out


@pytest.mark.slow
def test_a_search_with_several_objectives_keeps_its_front(compose, tmp_path, capsys):
    goals = ["sweep.objectives=[ndcg@10,coverage@10,n_parameters,latency_ms]", "sweep.keep=front"]
    tree = compose(*PLANTED, "model=item_knn", *goals, "sweep.n_trials=4", "sweep.population=4", "sweep.sampler=random")
    tree["sweep"]["constraints"] = ("coverage@10 >= 0.93",)
    space = {"model.k": {"low": 1, "high": 120, "integer": True}, "model.shrinkage": {"low": 1.0, "high": 100.0}}
    result = launch.sweep(tree, space, lambda more: tree, [], tmp_path)
    trials = pd.read_csv(tmp_path / "trials.csv").set_index("number")
    assert trials["n_parameters"].tolist() == (2 * 120 * trials["model.k"]).tolist()  # items and weights of neighbors
    assert (trials["latency_ms"] > 0).all()
    assert trials["is_feasible"].tolist() == (trials["coverage@10"] >= 0.93).tolist()
    winner = trials[trials["is_feasible"]]["value"].idxmax()
    assert trials["value"].idxmax() != winner  # the trial with the best value is not feasible
    assert result.metrics["validation"]["ndcg@10"] == trials["value"][winner]
    kept = {int(path.name): json.loads((path / "metrics.json").read_text()) for path in (tmp_path / "front").iterdir()}
    assert set(kept) == set(trials.index[trials["is_on_front"]])
    for number, metrics in kept.items():
        assert metrics["validation"]["coverage@10"] == pytest.approx(trials["coverage@10"][number], abs=1e-6)
    printed = capsys.readouterr().out
    assert "several objectives: no trial is ended early" in printed
    assert "sweep.sampler=random ignores sweep.constraints" in printed
    page = Page((tmp_path / "report.html").read_text())
    assert "Validation NDCG@10 and parameters" in page.content
    assert "Further objectives: validation coverage@10; parameters; latency, ms." in page.content
    assert "infeasible" in (tmp_path / "report.html").read_text()


def test_constraints_that_no_trial_satisfies_are_named(compose, tmp_path):
    tree = compose(*SHORT, "sweep.n_trials=2")
    tree["sweep"]["constraints"] = ("train_seconds <= 0",)
    result = launch.sweep(tree, SPACE, lambda more: tree, [], tmp_path)
    assert result.metrics["violated_constraints"] == ["train_seconds <= 0"]
    message = Page((tmp_path / "report.html").read_text()).content
    assert "No trial satisfies all constraints: the best trial violates train_seconds <= 0" in message


def test_runs_of_a_front_need_several_objectives(compose, tmp_path):
    tree = compose(*SHORT, "sweep.keep=front")
    with pytest.raises(InputError, match=r"sweep\.keep=front needs several objectives"):
        launch.sweep(tree, SPACE, lambda more: tree, [], tmp_path)


def test_a_value_set_beside_its_dimension_is_only_the_first_trial(compose):
    def remarks(value):
        typed = f"model.regularization={value}"
        return check_search(compose(*SHORT, typed), SPACE, lambda more: {}, [typed]).plan.remarks

    assert remarks(50)[0] == (
        "model.regularization=50 is only tried first: to have it in all trials, write 'model.regularization=choice(50)'"
    )
    with pytest.raises(InputError, match=r"model.regularization=5000 is set, but the search tries values from 1.0 to"):
        remarks(5000)


def test_population_based_training_has_one_worker(compose):
    tree = compose(*PLANTED, "model=mf", "sweep.strategy=pbt", "sweep.workers=2")
    with pytest.raises(InputError, match=r"sweep\.workers=2: sweep\.strategy=pbt has one population"):
        launch.sweep(tree, SPACE, lambda more: tree, [], None)
