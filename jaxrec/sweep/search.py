"""The search: Optuna asks for a population of trials, one call evaluates them all, and each is told its outcome.

What a sweep promises, whoever is killed whenever and however many processes share it:

- It ends with exactly `n_trials` trials that are complete or pruned, where parameters that failed twice stand for one.
- A trial whose process died is asked again with the same parameters; none is lost, none counted twice.
- Only what `evaluate` returns is told, and settings that trials have in common never change within a study.

Processes of one study share its sweep directory, where they take turns at asking (`ask.lock`); `workers.py` tells which
of them are alive.
"""

import json
import math
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import optuna
from optuna.storages import BaseStorage
from optuna.study import Study
from optuna.trial import FrozenTrial, Trial, TrialState

from jaxrec.errors import InputError
from jaxrec.sweep.space import Dimension, distributions, grid, space_to_plain
from jaxrec.sweep.storage import FileLock
from jaxrec.sweep.trials import failures_by_key, key_of, params_of, progress, write_trials
from jaxrec.sweep.workers import adopt_orphans, any_alive, at_work

SAMPLERS = ("tpe", "random", "cmaes", "qmc", "nsga2", "grid")
POLL_SECONDS = 0.5


@dataclass(frozen=True)
class Outcome:
    """What became of one trial.

    Args:
        value: the validation metric; None where there is none, as in a failed trial.
        state: whether the trial ran to its end, was stopped early as hopeless, or failed.
        attributes: what else to keep of it, json-able: other metrics, best epoch, seconds; "error" says why it failed.
    """

    value: float | None
    state: Literal["complete", "pruned", "failed"] = "complete"
    attributes: Mapping[str, Any] = field(default_factory=dict)

    @property
    def failure(self) -> str | None:
        """Why this counts as a failure; None where it does not."""
        if self.state == "failed":
            return str(self.attributes.get("error", "no reason given"))
        if self.value is None:
            return None if self.state == "pruned" else "a complete trial without a value"
        return None if math.isfinite(self.value) else f"the value is {self.value}"


def search(
    *,
    study_name: str,
    storage: BaseStorage,
    space: Mapping[str, Dimension],
    evaluate: Callable[[list[dict[str, Any]]], Iterable[Outcome]],
    n_trials: int,
    population: int,
    metric: str,
    fixed: Mapping[str, Any],
    directory: Path,
    sampler: str = "tpe",
    seed: int = 0,
    direction: str = "maximize",
    overrides: Sequence[str] = (),
    on_tell: Callable[[FrozenTrial], None] | None = None,
    on_batch: Callable[[int, int], None] | None = None,
) -> Study:
    """Searches `space` until the study has `n_trials` trials; a study of this name is continued.

    Args:
        evaluate: takes the parameters of a batch of trials and gives an outcome for each, in their order. What it
            yields one by one is told one by one. Its exceptions mark the rest of the batch as failed, and propagate.
        n_trials: how many trials the study is to have; the grid sampler has as many as there are combinations.
        population: how many trials to ask at once.
        metric: the name of what `Outcome.value` holds.
        fixed: the settings that all trials share. A study is only continued with the same settings, metric and space;
            the sampler, `n_trials` and `population` may change.
        directory: the sweep directory, one for all processes of a study; `trials.csv` is written here.
        overrides: `fixed` as it was typed, kept for whoever wants to repeat a trial.
        on_tell: called with each trial once it is told.
        on_batch: called before a batch is evaluated, with how many trials are finished and how many there will be.

    Returns:
        The study. Where other processes hold the last trials, it returns after those have ended.

    Raises:
        InputError: a study made with other settings; or failures only, a population in a row (at least three).
    """
    for name, number in (("sweep.n_trials", n_trials), ("sweep.population", population)):
        if number < 1:
            raise InputError(f"{name} must be at least 1, got {number}")
    if direction not in ("maximize", "minimize"):
        raise InputError(f"sweep.direction must be maximize or minimize, got {direction}")
    make_sampler(sampler, seed)  # an unknown name is said before anything is written
    dimensions = distributions(space)
    combinations = {key_of(params): params for params in grid(space)} if sampler == "grid" else None

    failures: list[str] = []  # in a row
    with _quiet_optuna(), at_work(directory) as worker:
        with FileLock(directory / "ask.lock"):
            study = _open_study(study_name, storage, direction)
            _settle(study, overrides=list(overrides), space=space_to_plain(space), metric=metric, fixed=dict(fixed))
            worker.register(study)
        while True:
            with FileLock(directory / "ask.lock"):
                adopt_orphans(study, storage, directory, list(dimensions))
                trials = study.get_trials(deepcopy=False)
                finished, running = progress(trials, combinations)
                n_missing = (n_trials if combinations is None else len(combinations)) - finished
                n_free = min(population, n_missing - running)
                # Rebuilt for every batch with a seed of its own, so that a sweep that was killed and resumed neither
                # repeats a draw nor differs from one that ran through.
                study.sampler = make_sampler(sampler, seed, len(trials))
                if combinations is not None:
                    _enqueue_combinations(study, trials, combinations, n_free)
                batch = [worker.ask(study, dimensions) for _ in range(n_free)]
            if batch:
                if on_batch is not None:
                    on_batch(finished, finished + n_missing)
                try:
                    for failure in _evaluate(study, batch, evaluate, on_tell):
                        failures = [*failures, failure] if failure else []
                finally:
                    write_trials(study, directory)
                if len(failures) >= max(population, 3):
                    raise InputError(f"{len(failures)} trials in a row failed, the first of them: {failures[0]}")
            elif n_missing > 0 and any_alive(study, directory):
                time.sleep(POLL_SECONDS)  # others hold the last trials; should they die, the trials come to us
            else:
                break
        write_trials(study, directory)
    if failures and not study.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.PRUNED)):
        raise InputError(f"all trials failed, the first of them: {failures[0]}")
    return study


def make_sampler(name: str, seed: int, n_asked: int = 0) -> optuna.samplers.BaseSampler:
    """The sampler called `name`, drawing as it would after `n_asked` trials."""
    draw = int(np.random.SeedSequence([seed, n_asked]).generate_state(1)[0])
    match name:
        case "tpe":
            # Both are needed for the members of one batch not to be near copies of one another.
            return optuna.samplers.TPESampler(seed=draw, multivariate=True, constant_liar=True)
        case "random" | "grid":  # a grid's trials are enqueued, so nothing is left to draw
            return optuna.samplers.RandomSampler(seed=draw)
        case "cmaes":
            # Choices and the first trials are drawn at random, as intended, hence no warning for each.
            return optuna.samplers.CmaEsSampler(seed=draw, warn_independent_sampling=False)
        case "qmc":
            # One seed throughout: the study itself remembers how far along the sequence it is.
            random = optuna.samplers.RandomSampler(seed=draw)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
                return optuna.samplers.QMCSampler(
                    scramble=True, seed=seed, independent_sampler=random, warn_independent_sampling=False
                )
        case "nsga2":
            return optuna.samplers.NSGAIISampler(seed=draw)
    raise InputError(f"sweep.sampler={name} is unknown; choose one of {', '.join(SAMPLERS)}")


def _open_study(study_name: str, storage: BaseStorage, direction: str) -> Study:
    to = optuna.study.StudyDirection[direction.upper()]
    study = optuna.create_study(study_name=study_name, storage=storage, direction=to, load_if_exists=True)
    if (stored := study.direction.name.lower()) != direction:
        raise InputError(
            f"study {study_name} was made to {stored}, this sweep is to {direction}: choose another sweep.study_name"
        )
    return study


def _settle(study: Study, *, overrides: list[str], space: Any, metric: str, fixed: dict[str, Any]) -> None:
    """Stores the settings in a new study; an older one must have been made with the same."""
    settings = {"space": space, "metric": metric, "fixed": fixed}
    settings = json.loads(json.dumps(settings))  # as they come back from the storage: tuples are lists
    stored = study.user_attrs
    if "fixed" not in stored and not study.get_trials(deepcopy=False):
        # `fixed` is the last of them: a process killed halfway through leaves a study that still counts as new.
        for name, value in {"overrides": overrides, **settings}.items():
            study.set_user_attr(name, value)
        return
    old, new = (_flat({name: source.get(name) for name in settings}) for source in (stored, settings))
    if changed := [key for key in dict.fromkeys([*old, *new]) if old.get(key, _ABSENT) != new.get(key, _ABSENT)]:
        lines = [f"  {key}: was {old.get(key, _ABSENT)}, now {new.get(key, _ABSENT)}" for key in changed]
        raise InputError(
            f"study {study.study_name} has trials made with other settings; choose another sweep.study_name to start "
            "a new study, or go back to:\n" + "\n".join(lines)
        )


_ABSENT = "absent"


def _flat(settings: Mapping[str, Any]) -> dict[str, Any]:
    space = {f"sweep.space {key}": value for key, value in (settings["space"] or {}).items()}
    return {"sweep.metric": settings["metric"], **space, **(settings["fixed"] or {})}


def _enqueue_combinations(
    study: Study, trials: Sequence[FrozenTrial], combinations: Mapping[str, dict[str, Any]], n_free: int
) -> None:
    """Queues combinations that no trial has or had, in their order, until `n_free` wait."""
    taken = {key_of(params_of(trial)) for trial in trials if trial.state != TrialState.FAIL}
    taken |= {key for key, n in failures_by_key(trials).items() if n >= 2}
    n_waiting = sum(trial.state == TrialState.WAITING for trial in trials)
    for key in [key for key in combinations if key not in taken][: max(0, n_free - n_waiting)]:
        study.enqueue_trial(combinations[key])


def _evaluate(
    study: Study,
    batch: list[Trial],
    evaluate: Callable[[list[dict[str, Any]]], Iterable[Outcome]],
    on_tell: Callable[[FrozenTrial], None] | None,
) -> list[str | None]:
    """Evaluates and tells a batch; why each trial failed, None where it did not."""
    failures: list[str | None] = []
    try:
        for trial, outcome in zip(batch, evaluate([trial.params for trial in batch]), strict=True):
            told = _tell(study, trial, outcome)
            failures.append(outcome.failure)
            if on_tell is not None:
                on_tell(told)
    except Exception as error:
        # Not so for KeyboardInterrupt: those trials stay as they are, and are asked again when the sweep goes on.
        for trial in batch[len(failures) :]:
            _tell(study, trial, Outcome(None, "failed", {"error": f"{type(error).__name__}: {error}"}))
        raise
    return failures


def _tell(study: Study, trial: Trial, outcome: Outcome) -> FrozenTrial:
    attributes = {**outcome.attributes, "error": outcome.failure} if outcome.failure else outcome.attributes
    for name, value in attributes.items():
        trial.set_user_attr(name, value)
    if outcome.failure:
        told = study.tell(trial, state=TrialState.FAIL)
        if (
            failures_by_key(study.get_trials(deepcopy=False))[key_of(told.params)] % 2
        ):  # once more; after that they count
            study.enqueue_trial(told.params, user_attrs={"retry_of": told.number})
        return told
    if outcome.state == "pruned":
        if outcome.value is not None:
            trial.report(outcome.value, step=0)  # the only way to give a pruned trial a value, which TPE learns from
        return study.tell(trial, state=TrialState.PRUNED)
    return study.tell(trial, outcome.value)


@contextmanager
def _quiet_optuna() -> Iterator[None]:
    """Without a line for every study opened or created."""
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        yield
    finally:
        optuna.logging.set_verbosity(before)
