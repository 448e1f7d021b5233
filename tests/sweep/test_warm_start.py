"""Warm start: trials of an earlier study in a new one."""

import optuna
import pytest

from jaxrec.errors import InputError
from jaxrec.sweep.outcome import Outcome
from jaxrec.sweep.plan import Plan
from jaxrec.sweep.space import Choice, Interval
from jaxrec.sweep.warm_start import add, describe, open_source
from tests.sweep.recorder import SPACE, Recorder, n_done, quadratic, sweep

NARROW = {"x": Interval(-1.0, 0.5), "width": Choice((16, 32))}


@pytest.fixture
def source(tmp_path):
    points = [(-0.5, 16), (0.25, 32), (0.75, 16), (0.0, 64), (0.25, 32), (0.5, 16)]
    outcomes = iter([Outcome(0.75), Outcome(0.9375), Outcome(0.4), Outcome(1.0), Outcome(0.1, "pruned")])
    study = sweep(
        tmp_path / "earlier", lambda batch: [next(outcomes)], n_trials=1, population=1, study_name="earlier",
        space={"x": Interval(-1.0, 1.0), "width": Choice((16, 32, 64))}, first={"x": -0.5, "width": 16},
        fixed={"lr": 0.01, "trainer.epochs": 5},
    )  # fmt: skip
    for x, width in points[1:]:
        study.enqueue_trial({"x": x, "width": width})
    return sweep(
        tmp_path / "earlier", lambda batch: [next(outcomes)], n_trials=6, population=1, study_name="earlier",
        space={"x": Interval(-1.0, 1.0), "width": Choice((16, 32, 64))}, fixed={"lr": 0.01, "trainer.epochs": 5},
    )  # fmt: skip


def test_complete_trials_in_the_space_are_added_and_do_not_count(source, tmp_path):
    evaluate = Recorder()
    changes = {"space": NARROW, "source": source, "n_trials": 4, "first": {"x": 0.125, "width": 16}}
    study = sweep(tmp_path, evaluate, **changes)
    added = study.trials[:2]  # 2 and 3 are outside, 4 repeats 1, 5 was pruned
    assert [trial.user_attrs for trial in added] == [{"warm_start": "earlier:0"}, {"warm_start": "earlier:1"}]
    assert [trial.value for trial in added] == [0.75, 0.9375]
    assert [trial.params for trial in added] == [{"x": -0.5, "width": 16}, {"x": 0.25, "width": 32}]
    assert len(evaluate.seen) == 4
    assert evaluate.seen[0] == {"x": 0.125, "width": 16}
    assert n_done(study) == 6
    assert sweep(tmp_path, evaluate, **changes).trials == study.trials
    assert len(evaluate.seen) == 4


def test_a_setting_may_be_fixed_in_one_study_and_searched_in_the_other(source, tmp_path):
    plan = {"n_trials": 1, "population": 1, "source": source}
    searched = sweep(tmp_path / "1", space=SPACE, fixed={}, **plan)
    assert searched.trials[3].params == {"x": 0.0, "width": 64, "lr": 0.01}
    fixed = sweep(tmp_path / "2", space={"x": Interval(-1.0, 1.0)}, fixed={"width": 16}, **plan)
    assert [trial.params for trial in fixed.trials if trial.user_attrs.get("warm_start")] == [{"x": -0.5}, {"x": 0.75}]


def test_the_sampler_learns_from_added_trials(tmp_path):
    earlier = sweep(tmp_path / "earlier", n_trials=40, sampler="random")
    for sign in (1, -1):
        sweep(tmp_path / str(sign), evaluate := Recorder(), source=earlier, study_name="new")
        near = [abs(params["x"]) for params in evaluate.seen]
    assert sum(near) / 8 < 0.35  # 0.5 on average without knowledge
    assert all(quadratic(trial.params) == trial.value for trial in earlier.trials)


def test_an_added_trial_is_trained_when_it_is_proposed_and_a_grid_is_complete(source, tmp_path):
    evaluate = Recorder()
    space = {"x": Choice((-0.5, 0.25)), "width": Choice((16, 32))}
    study = sweep(tmp_path, evaluate, space=space, sampler="grid", source=source)
    assert len(evaluate.seen) == 4
    assert len(study.trials) == 6


def test_studies_that_cannot_be_a_start_are_refused(source, tmp_path):
    with pytest.raises(InputError, match=r"its metric is ndcg@10, this search is for recall@5: set the same eval"):
        open_source(source, None, "recall@5")
    assert open_source(str(tmp_path / "earlier"), None, "ndcg@10").study_name == "earlier"
    with pytest.raises(InputError, match=r"sweep.warm_start=nothing: no study called nothing .* The path of a"):
        open_source("nothing", None, "ndcg@10")
    with pytest.raises(InputError, match="none of its 5 complete trials lies in the search space"):
        describe(source, {"x": Interval(2.0, 3.0)}, {})
    sweep(tmp_path / "old")
    with pytest.raises(InputError, match=r"was started without sweep.warm_start=earlier, which adds trials to new"):
        sweep(tmp_path / "old", source=source)


def test_other_settings_are_named(source):
    plan = Plan(
        space=NARROW, n_trials=8, population=2, metric="ndcg@10", source=source, fixed={"lr": 0.1, "trainer.epochs": 5}
    )
    assert plan.remarks == ["warm start: 2 of 5 complete trials of earlier are added, trained with another lr"]


def test_trials_are_added_once(source):
    """A process that is killed while it adds trials leaves the others to the next one."""
    study = optuna.create_study(direction="maximize")
    for _ in range(2):
        add(study, source, NARROW, {})
        assert [trial.user_attrs["warm_start"] for trial in study.trials] == ["earlier:0", "earlier:1"]
