"""Samplers: the algorithms that propose the parameters of trials."""

import importlib.util
import warnings
from collections.abc import Mapping

import numpy as np
import optuna

from jaxrec.errors import InputError
from jaxrec.sweep.cma_state import CmaEs
from jaxrec.sweep.space import Choice, Dimension, n_points

SAMPLERS = ("auto", "tpe", "random", "cmaes", "qmc", "nsga2", "gp", "grid")
CONSTRAINED = ("tpe", "gp", "nsga2")  # samplers that avoid trials which violate constraints
STARTUP = {"tpe": 10, "gp": 10, "cmaes": 1, "nsga2": 50}  # trials drawn at random before the sampler learns


def resolve(name: str, space: Mapping[str, Dimension], n_trials: int) -> str:
    """Return the sampler that `auto` stands for: grid if all points of the space fit into `n_trials`, else tpe."""
    if name not in SAMPLERS:
        raise InputError(f"sweep.sampler={name} is unknown; choose one of {', '.join(SAMPLERS)}")
    if name == "auto":
        return "grid" if n_points(space) <= n_trials else "tpe"
    if name == "gp" and importlib.util.find_spec("torch") is None:
        raise InputError("sweep.sampler=gp needs PyTorch: pip install 'jaxrec[gp]'")
    return name


def make_sampler(name: str, seed: int, n_asked: int = 0, is_conditional: bool = False) -> optuna.samplers.BaseSampler:
    """Return an Optuna sampler.

    Args:
        name: one of `SAMPLERS` but `auto`, see `resolve`.
        seed: seed of the search.
        n_asked: number of trials so far; the sampler is seeded for each, so that a search that was killed proposes the
            same trials as an uninterrupted one.
        is_conditional: whether some dimensions have conditions.
    """
    draw = int(np.random.SeedSequence([seed, n_asked]).generate_state(1)[0])
    random = optuna.samplers.RandomSampler(seed=draw)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        match name:
            case "tpe":
                # Without both options trials proposed side by side are almost identical. Dimensions that are searched
                # together form a group.
                return optuna.samplers.TPESampler(
                    seed=draw, multivariate=True, constant_liar=True, group=is_conditional
                )
            case "cmaes":
                # Choices, conditional dimensions and the first trials are drawn at random by design.
                return CmaEs(seed=draw, warn_independent_sampling=False)
            case "qmc":
                # One seed for all trials: the study itself stores the position in the sequence.
                return optuna.samplers.QMCSampler(
                    scramble=True, seed=seed, independent_sampler=random, warn_independent_sampling=False
                )
            case "nsga2":
                return optuna.samplers.NSGAIISampler(seed=draw)
            case "gp":
                return optuna.samplers.GPSampler(seed=draw, independent_sampler=random, warn_independent_sampling=False)
    return random  # a grid's trials are enqueued, so nothing is left to draw


def note_if_random(name: str, space: Mapping[str, Dimension], n_trials: int, population: int) -> str:
    """Return one sentence if a sampler would draw every trial at random; empty if it would not.

    Args:
        name: a sampler, see `resolve`.
        space: the search space.
        n_trials: number of trials.
        population: number of trials in training at once.
    """
    if (startup := STARTUP.get(name)) is None:
        return ""
    if name == "cmaes" and all(isinstance(dimension, Choice) for dimension in space.values()):
        why = "it models numbers, and the space has only choices: set sweep.sampler=tpe"
    elif n_trials <= startup:
        generation = " (one generation)" if name == "nsga2" else ""
        why = f"it learns after {startup} trials{generation}: set sweep.n_trials above {startup}"
        why += "" if name == "tpe" else ", or sweep.sampler=tpe"
    elif population >= n_trials:
        why = f"all are proposed before the first ends: set sweep.population below {n_trials}"
    else:
        return ""
    return f"sweep.sampler={name} draws all {n_trials} trials at random, because {why}"
