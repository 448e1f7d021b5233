"""Samplers by name, and notes on samplers that cannot learn."""

import importlib.util

import optuna
import pytest

from jaxrec.errors import InputError
from jaxrec.sweep.outcome import Outcome
from jaxrec.sweep.samplers import make_sampler, note_if_random, resolve
from jaxrec.sweep.space import Choice, distributions
from tests.sweep.recorder import SPACE, Recorder, quadratic, sweep

CHOICES = {"x": Choice((-1.0, 0.0, 0.5, 1.0)), "width": Choice((16, 32, 64))}  # 12 points


def proposed(directory, sign, **changes):
    """Parameters proposed when large or when small values of x**2 are good."""
    evaluate = Recorder(lambda params: Outcome(sign * quadratic(params)))
    sweep(directory, evaluate, **changes)
    return evaluate.seen


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"sampler": "tpe", "n_trials": 10}, "it learns after 10 trials: set sweep.n_trials above 10"),
        ({"sampler": "tpe", "n_trials": 30, "population": 30}, "set sweep.population below 30"),
        (
            {"sampler": "nsga2", "n_trials": 50},
            "it learns after 50 trials (one generation): set",
        ),
        ({"sampler": "cmaes", "n_trials": 12, "space": CHOICES}, "the space has only choices: set sweep.sampler=tpe"),
        ({"sampler": "tpe", "n_trials": 30}, ""),
        pytest.param({"sampler": "nsga2", "n_trials": 110}, "", marks=pytest.mark.slow),
        ({"sampler": "cmaes", "n_trials": 30}, ""),
    ],
)
def test_a_note_on_samplers_that_cannot_learn_from_values(changes, reason, tmp_path):
    arguments = {"space": SPACE, "population": 5} | changes
    note = note_if_random(changes["sampler"], arguments["space"], arguments["n_trials"], arguments["population"])
    same = proposed(tmp_path / "1", 1, **arguments) == proposed(tmp_path / "2", -1, **arguments)
    assert same == bool(reason)
    assert reason in note
    assert bool(note) == bool(reason)


def test_samplers_without_a_model_have_no_note():
    assert [note_if_random(name, SPACE, 2, 8) for name in ("random", "qmc", "grid")] == ["", "", ""]


def test_the_seed_of_a_search_sets_its_quasi_random_sequence():
    """The first trial of a study is drawn at random, its sequence starts with the second."""

    def second(seed):
        study = optuna.create_study(sampler=make_sampler("qmc", seed))
        study.tell(study.ask(distributions(SPACE)), 0.0)
        study.sampler = make_sampler("qmc", seed, 1)
        return study.ask(distributions(SPACE)).params["x"]

    assert second(1) == second(1) != second(2)


def test_auto_is_a_grid_if_all_points_fit_else_tpe(tmp_path):
    assert resolve("auto", CHOICES, 12) == "grid"
    assert resolve("auto", CHOICES, 11) == "tpe"
    assert resolve("auto", SPACE, 10**6) == "tpe"
    evaluate = Recorder()
    sweep(tmp_path, evaluate, space=CHOICES, sampler="auto", n_trials=100)
    assert evaluate.seen == [{"x": x, "width": width} for x in (-1.0, 0.0, 0.5, 1.0) for width in (16, 32, 64)]


def test_gp_without_torch_says_what_to_install(tmp_path, monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *more: None if name == "torch" else find(name, *more))
    with pytest.raises(InputError, match=r"sweep.sampler=gp needs PyTorch: pip install 'jaxrec\[gp\]'"):
        sweep(tmp_path, sampler="gp")
    assert not list(tmp_path.iterdir())


@pytest.mark.slow  # importing PyTorch takes seconds
def test_gp_learns_and_resumes(tmp_path):
    pytest.importorskip("torch")
    evaluate, through = Recorder(), Recorder()
    for n_trials in (12, 21):
        sweep(tmp_path / "1", evaluate, sampler="gp", n_trials=n_trials)
    sweep(tmp_path / "2", through, sampler="gp", n_trials=21)
    assert evaluate.seen == through.seen
    assert sum(abs(params["x"]) for params in evaluate.seen[12:]) / 9 < 0.25  # 0.5 on average without learning
