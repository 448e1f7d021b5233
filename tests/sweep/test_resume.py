"""A search that is killed and started again ends with the same trials as an uninterrupted one."""

import math

import jax
import numpy as np
import pytest

from jaxrec import experiment
from jaxrec.fitting.saved_slots import SavedMember, SavedSlots
from jaxrec.fitting.slots import Slots
from jaxrec.settings import build
from jaxrec.sweep.best_trial import hand_over
from jaxrec.sweep.pruning import Pruning
from jaxrec.sweep.search import search
from jaxrec.sweep.search_settings import Search
from jaxrec.sweep.search_task import SearchTask
from jaxrec.sweep.space import Choice, Interval
from jaxrec.sweep.storage import open_storage
from jaxrec.sweep.trials import best
from jaxrec.sweep.tuning import Tuning
from jaxrec.sweep.winner import finish
from jaxrec.sweep.workers import own_states
from tests.planted import PLANTED
from tests.slow import some_slow
from tests.sweep.kills import Killed, Mortal, killed_at_write, records
from tests.sweep.recorder import Curves, sweep

SPACE = {
    "optimizer.learning_rate": Interval(1e-3, 0.3, log=True),
    "model.embedding_dim": Choice((4, 8)),
    "negatives.ratio": Interval(1, 2, integer=True),
}
SETTINGS = (
    *("model.embedding_dim=4", "negatives.ratio=1"),  # in the space, as is the default learning rate
    *("trainer.epochs=12", "trainer.patience=4", "trainer.batch_size=512"),
    *("sweep.n_trials=9", "sweep.population=3"),
)


@pytest.fixture(scope="module")
def searched(compose, tmp_path_factory):
    """Run a search in a directory, killed at the n-th use of its runner; return the runner and the study."""
    split, _ = experiment.prepare(compose(*PLANTED))

    def run(directory, minutes=None, killed_at=math.inf):
        tree = compose(*PLANTED, *SETTINGS, f"trainer.save_minutes={'null' if minutes is None else minutes}")
        chosen: Search = build(tree["sweep"])
        tuning = Tuning(tree, SPACE, lambda overrides: tree)
        runner = tuning.runner(split.selection, chosen.population, directory)
        storage = open_storage(None, directory)
        mortal = Mortal(runner, killed_at)
        return runner, search(tuning.plan(chosen), mortal, study_name="study", storage=storage, directory=directory)

    return run


@pytest.fixture(scope="module")
def uninterrupted(searched, tmp_path_factory):
    return searched(tmp_path_factory.mktemp("through"))


def test_trials_that_fall_behind_are_pruned_and_the_best_is_kept(uninterrupted):
    runner, study = uninterrupted
    states = [trial.state.name for trial in study.trials]
    assert len(states) == 9
    assert 1 <= states.count("PRUNED") <= 6
    assert all(trial.last_step == 8 for trial in study.trials if trial.state.name == "PRUNED")
    winner = best(study)
    assert runner.best.number == winner.number
    assert runner.best.selected.validation[0]["ndcg@10"] == winner.value
    default = {"optimizer.learning_rate": 0.003, "model.embedding_dim": 4, "negatives.ratio": 1}
    assert study.trials[0].params == default


def test_values_of_users_are_those_of_the_kept_parameters(uninterrupted, compose):
    """The winner's parameters are evaluated again; all trials have values, whose means are the trials' own."""
    runner, study = uninterrupted
    kept, values = runner.best, runner.user_values
    found = [
        values.read(trial.number, trial.value or max(trial.intermediate_values.values())) for trial in study.trials
    ]
    assert all(sums is not None for sums in found)
    _, evaluator = experiment.model_and_evaluator(kept.tree, runner.selection)
    again = evaluator(kept.selected.fit.params, kept.selected.population.at(kept.selected.fit.best_epoch))
    per_user = again.per_user["ndcg@10"][0]
    np.testing.assert_array_equal(np.sort(found[kept.number][0]), np.sort(per_user))
    corrected, n_missing = values.corrected(study)
    assert (corrected.n, n_missing) == (9, 0)  # complete or pruned
    assert corrected.corrected < corrected.value == pytest.approx(best(study).value)


@pytest.mark.whole
def test_values_of_users_are_saved_with_the_training_state(compose, tmp_path):
    tree = compose(*PLANTED, *SETTINGS, "trainer.save_minutes=1")
    tuning, (split, _) = Tuning(tree, SPACE, lambda overrides: tree), experiment.prepare(tree)
    params = {"optimizer.learning_rate": 0.01, "model.embedding_dim": 4, "negatives.ratio": 1}
    first = tuning.runner(split.selection, 1, tmp_path)
    first.add(0, params)
    list(first.advance())
    assert first.save(is_interrupted=True)
    second = tuning.runner(split.selection, 1, tmp_path)
    second.add(0, params, trained=1)
    second._place()
    ours, theirs = (r._running[0].program.evaluator.best[r._running[0].member] for r in (second, first))
    np.testing.assert_array_equal(ours, theirs)


def test_another_process_tests_the_best_trial_without_training_it(uninterrupted, compose, monkeypatch):
    runner, study = uninterrupted
    winner = best(study)
    hand_over(runner.best, winner.number, runner.saved)
    tree = compose(*PLANTED, *SETTINGS, "trainer.save_minutes=null")
    tuning, chosen = Tuning(tree, SPACE, lambda overrides: tree), build(tree["sweep"])
    split, _ = experiment.prepare(tree)
    other = tuning.runner(split.selection, 1, runner.saved.directory.parent.parent)
    monkeypatch.setattr(Slots, "advance", None)
    tuned = finish(SearchTask("study", chosen, tuning, tuning.plan(chosen), []), other, study, split)
    jax.tree.map(
        np.testing.assert_array_equal,
        tuned.result.params,
        jax.tree.map(lambda x: x[0], runner.best.selected.fit.params),
    )
    assert tuned.result.metrics["validation"]["ndcg@10"] == winner.value
    assert tuned.corrected == runner.user_values.corrected(study)[0]
    assert not runner.saved.directory.parent.exists()


def test_states_of_a_worker_are_used_by_others_and_not_overwritten(tmp_path):
    def state(n_epochs):
        rows = [{"epoch": epoch + 1} for epoch in range(n_epochs)]
        record = {"history": rows, "best_epoch": 1, "score": 0.5, "stale": 0, "seconds": 1.0, "ended": False}
        return SavedMember({**record, "diverged": False}, {"p": np.zeros(2)}, [np.full(2, n_epochs)])

    folders = [own_states(tmp_path), own_states(tmp_path)]
    assert folders == [tmp_path / "training" / "0", tmp_path / "training" / "1"]
    one, two = (SavedSlots(folder, 1, is_shared=True) for folder in folders)
    one.save({"3": state(4), "5": state(9)})
    two.save({"4": state(2), "5": state(8)})
    found = SavedSlots(tmp_path / "training" / "2", 1, is_shared=True).found
    assert {name: len(member.record["history"]) for name, member in found.items()} == {"3": 4, "4": 2, "5": 9}
    two.remove()
    assert not (tmp_path / "training").exists()


@pytest.mark.whole
@pytest.mark.parametrize(
    ("minutes", "kills"),
    [
        pytest.param(None, [21, 30], marks=pytest.mark.slow),
        pytest.param(1e-9, [45, 70], marks=pytest.mark.slow),
        (1e-9, [70]),
    ],
)
def test_a_killed_search_ends_with_the_same_trials(minutes, kills, searched, uninterrupted, tmp_path):
    for n in kills:
        with pytest.raises(Killed):
            searched(tmp_path, minutes, n)
    runner, study = searched(tmp_path, minutes)
    assert records(study) == records(uninterrupted[1])
    assert runner.user_values.corrected(study) == uninterrupted[0].user_values.corrected(study)
    assert (tmp_path / "training").exists() == (minutes is not None)
    if runner.best.number == uninterrupted[0].best.number:
        ours, theirs = (r.best.selected.fit.params for r in (runner, uninterrupted[0]))
        jax.tree.map(np.testing.assert_array_equal, ours, theirs)


@pytest.mark.slow
@pytest.mark.parametrize("minutes", [None, 1e-9])
@pytest.mark.parametrize("seed", range(5))
def test_a_search_killed_at_random_times_ends_with_the_same_trials(minutes, seed, searched, uninterrupted, tmp_path):
    for n in np.random.default_rng(seed).integers(1, 120, 4):
        try:
            searched(tmp_path, minutes, n)
        except Killed:
            continue
    assert records(searched(tmp_path, minutes)[1]) == records(uninterrupted[1])


def curves(directory, space, killed_at=math.inf, pruner="halving"):
    """A search over curves, killed before a write to its journal."""
    with killed_at_write(killed_at) as writes:
        runner = Curves(lambda params: 16 - params["width"] // 16)
        study = sweep(directory, runner=runner, space=space, n_trials=10, pruning=Pruning(pruner, 14))
    return study, next(writes)


CURVES = {
    "continuous": {"x": Interval(-1.0, 1.0), "width": Choice((16, 32, 48))},
    "repeating": {"x": Choice((-0.5, 0.0, 0.25)), "width": Choice((16, 32))},
    "conditional": {"width": Choice((16, 32)), "x": Interval(-1, 1), "y": Interval(0, 1, when={"width": 16})},
}


@pytest.fixture(scope="module")
def uninterrupted_curves(tmp_path_factory):
    return {name: curves(tmp_path_factory.mktemp(name), space) for name, space in CURVES.items()}


def killed_and_continued(name, directory, killed_at):
    with pytest.raises(Killed):
        curves(directory, CURVES[name], killed_at)
    return records(curves(directory, CURVES[name])[0])


@pytest.mark.parametrize("name", CURVES)
@pytest.mark.parametrize("part", some_slow([0.1, 0.25, 0.35, 0.6, 0.85], 0.1, 0.35, 0.85))
def test_a_search_killed_at_a_write_ends_with_the_same_trials(name, part, uninterrupted_curves, tmp_path):
    study, n_writes = uninterrupted_curves[name]
    assert killed_and_continued(name, tmp_path, int(part * n_writes)) == records(study)


@pytest.mark.slow
@pytest.mark.parametrize("name", CURVES)
def test_a_search_killed_at_any_write_ends_with_the_same_trials(name, uninterrupted_curves, tmp_path):
    study, n_writes = uninterrupted_curves[name]
    for killed_at in range(6, n_writes - 1):
        assert killed_and_continued(name, tmp_path / str(killed_at), killed_at) == records(study), killed_at
