"""Population-based training of small models: copies, resume, and the schedule of the winner."""

import json
import math

import jax
import numpy as np
import pandas as pd
import pytest
import yaml

from jaxrec import experiment, launch
from jaxrec.errors import InputError
from jaxrec.settings import build
from jaxrec.sweep.pbt_plan import model_sizes, population_plan
from jaxrec.sweep.pbt_runner import PopulationRunner, make_runner
from jaxrec.sweep.search import search
from jaxrec.sweep.search_settings import Search
from jaxrec.sweep.search_task import SearchTask
from jaxrec.sweep.space import Choice, Interval, space_to_plain
from jaxrec.sweep.storage import open_storage
from jaxrec.sweep.trials import best
from jaxrec.sweep.tuning import Tuning
from tests.planted import PLANTED
from tests.slow import some_slow
from tests.sweep.kills import Killed, Mortal, records

pytestmark = pytest.mark.whole

SPACE = {
    "optimizer.learning_rate": Interval(1e-3, 0.1, log=True),
    "model.embedding_dim": Choice((2, 4, 8)),
    "negatives.ratio": Interval(1, 2, integer=True),
}
SETTINGS = (
    *("trainer.epochs=9", "trainer.batch_size=512", "model.embedding_dim=4", "negatives.ratio=1"),
    *("sweep.population=4", "sweep.strategy=pbt", "sweep.interval=2"),
)


@pytest.fixture(scope="module")
def trained(compose):
    """Train a population in a directory, killed at the n-th use of its runner; return the runner and the study."""
    split, _ = experiment.prepare(compose(*PLANTED))

    def run(directory, minutes=None, killed_at=math.inf, space=SPACE, *more):
        tree = compose(*PLANTED, *SETTINGS, f"trainer.save_minutes={'null' if minutes is None else minutes}", *more)
        chosen: Search = build(tree["sweep"])
        tuning = Tuning(tree, space, lambda overrides: tree)
        plan, storage, studies = population_plan(tuning.plan(chosen), chosen, tuning), open_storage(None, directory), []

        def trials():
            import optuna

            return optuna.load_study(study_name="study", storage=storage).trials

        runner = make_runner(SearchTask("study", chosen, tuning, plan, []), split.selection, directory, trials)
        mortal = Mortal(runner, killed_at)
        studies.append(search(plan, mortal, study_name="study", storage=storage, directory=directory))
        return runner, studies[0]

    return run


@pytest.fixture(scope="module")
def uninterrupted(trained, tmp_path_factory):
    return trained(tmp_path_factory.mktemp("through"))


def test_members_train_from_start_to_end_and_copy_each_other(uninterrupted):
    runner, study = uninterrupted
    assert [(trial.state.name, trial.user_attrs["epochs"]) for trial in study.trials] == [("COMPLETE", 9)] * 4
    copies = [copied for trial in study.trials for copied in trial.user_attrs["lineage"]]
    assert sorted(copied["epoch"] for copied in copies) == [2, 4, 6, 8]  # one of four, at each interval
    assert all(SPACE[key].contains(value) for copied in copies for key, value in copied["params"].items())
    winner = best(study)
    assert runner.best.number == winner.number
    assert runner.best.selected.validation[0]["ndcg@10"] == winner.value == max(trial.value for trial in study.trials)
    assert len(runner._programs) == 1


@pytest.mark.parametrize("minutes", some_slow([None, 1e-9], None))
@pytest.mark.parametrize(
    "kills", some_slow([[1], [20, 25], [46]], [1], [46])
)  # in the start, at two copies, at the end
def test_a_killed_population_ends_with_the_same_trials(minutes, kills, trained, uninterrupted, tmp_path):
    for n in kills:
        with pytest.raises(Killed):
            trained(tmp_path, minutes, n)
    runner, study = trained(tmp_path, minutes)
    assert records(study) == records(uninterrupted[1])
    ours, theirs = (r.best.selected.fit for r in (runner, uninterrupted[0]))
    jax.tree.map(np.testing.assert_array_equal, ours.params, theirs.params)
    assert ours.best_epoch == theirs.best_epoch


@pytest.mark.slow
@pytest.mark.parametrize("minutes", [None, 1e-9])
@pytest.mark.parametrize("seed", range(5))
def test_a_population_killed_at_random_times_ends_with_the_same_trials(minutes, seed, trained, uninterrupted, tmp_path):
    for n in np.random.default_rng(seed).integers(0, 50, 4):
        try:
            trained(tmp_path, minutes, n)
        except Killed:
            continue
    assert records(trained(tmp_path, minutes)[1]) == records(uninterrupted[1])


@pytest.mark.slow  # slow: it clears the cache of compiled functions, which later tests would have to fill again
def test_nothing_is_compiled_after_the_first_epoch(trained, tmp_path, monkeypatch):
    compiled, advance = [], PopulationRunner.advance
    jax.monitoring.register_event_duration_secs_listener(
        lambda event, seconds, **kwargs: compiled.append(event) if "backend_compile" in event else None
    )
    counts = []

    def counted(runner):
        counts.append(len(compiled))
        return advance(runner)

    monkeypatch.setattr(PopulationRunner, "advance", counted)
    jax.clear_caches()
    trained(tmp_path)
    assert len(counts) == 9
    assert 0 < counts[1] == counts[-1]


def of_run(directory):
    metrics = json.loads((directory / "metrics.json").read_text())
    history = pd.read_csv(directory / "history.csv").drop(columns="seconds")
    return {key: x for key, x in metrics.items() if key not in ("time", "environment")}, history


def test_the_schedule_of_the_winner_trains_it_from_scratch(compose, tmp_path, capsys):
    settings = (*PLANTED, *SETTINGS, "sweep.seed=1")  # seed and interval for which the winner is a copy
    tree = compose(*settings)
    launch.sweep(tree, space_to_plain(SPACE), lambda more: tree, settings, tmp_path / "search")
    assert "copies" in capsys.readouterr().out
    best_run = tmp_path / "search" / "best"
    schedule = yaml.safe_load((best_run / "schedule.yaml").read_text())
    assert len(schedule["steps"]) > 1
    ours, theirs = tmp_path / "ours", best_run
    again = compose(*PLANTED, *SETTINGS[:2], f"trainer.schedule={best_run / 'schedule.yaml'}")
    launch.run(again, ours)
    (found, rows), (expected, expected_rows) = of_run(ours), of_run(theirs)
    assert found == expected
    pd.testing.assert_frame_equal(rows, expected_rows)
    assert f"trainer.schedule={best_run / 'schedule.yaml'}" in (tmp_path / "search" / "best.yaml").read_text()


@pytest.mark.parametrize(
    ("more", "space", "message"),
    [
        (("sweep.sampler=cmaes",), SPACE, "sweep.sampler=cmaes has no effect"),
        (("sweep.pruner=median",), SPACE, "sweep.pruner=median has no effect"),
        (("sweep.timeout=3",), SPACE, "sweep.timeout=3.* has no effect"),
        (("sweep.workers=2",), SPACE, "sweep.workers=2 has no effect"),
        (("sweep.population=1",), SPACE, "needs 2 to 64 members"),
        (("sweep.interval=9",), SPACE, "no member would copy"),
        (("sweep.interval=3", "trainer.validate_every=2"), SPACE, "must be a multiple of trainer.validate_every=2"),
        ((), {"trainer.batch_size": Choice((256, 512))}, "trainer.batch_size cannot"),
        ((), {**SPACE, "trainer.epochs": Interval(1, 9, integer=True)}, "trainer.epochs is the same for all"),
        (("model=ease",), {"model.regularization": Interval(1.0, 9.0)}, "EASE trains without epochs"),
    ],
)
def test_invalid_settings_are_refused(more, space, message, compose):
    settings = SETTINGS if "model=ease" not in more else SETTINGS[-3:]
    tree = compose(*PLANTED, *settings, *more)
    chosen: Search = build(tree["sweep"])
    tuning = Tuning(tree, space, lambda overrides: tree)
    with pytest.raises(InputError, match=message):
        population_plan(tuning.plan(chosen), chosen, tuning)


def test_sizes_of_the_model_do_not_change(compose):
    tree = compose(*PLANTED, *SETTINGS)
    space = {"model.embedding_dim": SPACE["model.embedding_dim"]}
    tuning = Tuning(tree, space, lambda overrides: tree)
    assert model_sizes(tuning, {"model.embedding_dim": 4, "negatives.ratio": 2}) == {"model.embedding_dim"}
    chosen: Search = build(tree["sweep"])
    with pytest.raises(InputError, match=r"change in training, and model\.embedding_dim cannot"):
        population_plan(tuning.plan(chosen), chosen, tuning)
