"""Search loop: Optuna proposes a batch of trials, one call evaluates them all, and every outcome is stored.

Guarantees, for any number of processes and if any worker is killed at any time:

- A sweep ends with exactly `n_trials` complete or pruned trials; parameters that failed twice count as one trial.
- A trial whose process died is queued again with the same parameters; no trial is lost or counted twice.
- Only outcomes returned by `evaluate` are stored, and the settings shared by all trials never change within a study.

The processes of one study share its sweep directory and take turns to request trials (`ask.lock`); `workers.py` detects
which of them are alive.
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
    """Outcome of one trial.

    Args:
        value: the validation metric; None if there is none, e.g. for a failed trial.
        state: whether the trial finished, was stopped early (pruned), or failed.
        attributes: further JSON values to store: other metrics, best epoch, seconds; "error" is the failure message.
    """

    value: float | None
    state: Literal["complete", "pruned", "failed"] = "complete"
    attributes: Mapping[str, Any] = field(default_factory=dict)

    @property
    def failure(self) -> str | None:
        """Reason this counts as a failure; None if it does not."""
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
    """Search `space` until the study has `n_trials` trials; an existing study of this name is resumed.

    Args:
        evaluate: maps the parameters of a batch of trials to one outcome per trial, in the same order. Outcomes it
            yields are stored one by one. An exception marks the rest of the batch as failed and propagates.
        n_trials: target number of trials in the study; the grid sampler uses the number of combinations instead.
        population: number of trials to request at once.
        metric: name of the metric in `Outcome.value`.
        fixed: settings shared by all trials. A study is resumed only with the same settings, metric and space; the
            sampler, `n_trials` and `population` may change.
        directory: the sweep directory, shared by all processes of a study; `trials.csv` is written here.
        overrides: the command-line overrides behind `fixed`, stored so that a trial can be repeated.
        on_tell: called with each trial after its outcome is stored.
        on_batch: called before a batch is evaluated, with the number of finished trials and the total.

    Returns:
        The study. If other processes run the last trials, it returns after those have ended.

    Raises:
        InputError: the study has other settings, or a whole population in a row (at least three trials) failed.
    """
    for name, number in (("sweep.n_trials", n_trials), ("sweep.population", population)):
        if number < 1:
            raise InputError(f"{name} must be at least 1, got {number}")
    if direction not in ("maximize", "minimize"):
        raise InputError(f"sweep.direction must be maximize or minimize, got {direction}")
    make_sampler(sampler, seed)  # reject an unknown name before anything is written
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
                # Rebuilt for every batch with its own seed, so that a sweep that was killed and resumed does not repeat
                # draws and equals an uninterrupted one.
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
                    raise InputError(f"{len(failures)} trials in a row failed; first failure: {failures[0]}")
            elif n_missing > 0 and any_alive(study, directory):
                time.sleep(POLL_SECONDS)  # others run the last trials; if they die, their trials are queued again
            else:
                break
        write_trials(study, directory)
    if failures and not study.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.PRUNED)):
        raise InputError(f"all trials failed; first failure: {failures[0]}")
    return study


def make_sampler(name: str, seed: int, n_asked: int = 0) -> optuna.samplers.BaseSampler:
    """Return the Optuna sampler called `name`, seeded for the state after `n_asked` trials."""
    draw = int(np.random.SeedSequence([seed, n_asked]).generate_state(1)[0])
    match name:
        case "tpe":
            # Without both options the members of one batch are almost identical.
            return optuna.samplers.TPESampler(seed=draw, multivariate=True, constant_liar=True)
        case "random" | "grid":  # a grid's trials are enqueued, so nothing is left to draw
            return optuna.samplers.RandomSampler(seed=draw)
        case "cmaes":
            # Choices and the first trials are drawn at random by design, so no warning for each.
            return optuna.samplers.CmaEsSampler(seed=draw, warn_independent_sampling=False)
        case "qmc":
            # One seed for all batches: the study itself stores the position in the sequence.
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
            f"study {study_name} was created to {stored}, this sweep is to {direction}: set another sweep.study_name"
        )
    return study


def _settle(study: Study, *, overrides: list[str], space: Any, metric: str, fixed: dict[str, Any]) -> None:
    """Store the settings in a new study; an existing study must have the same settings."""
    settings = {"space": space, "metric": metric, "fixed": fixed}
    settings = json.loads(json.dumps(settings))  # as the storage returns them: tuples become lists
    stored = study.user_attrs
    if "fixed" not in stored and not study.get_trials(deepcopy=False):
        # `fixed` is written last: a process killed halfway leaves a study that still counts as new.
        for name, value in {"overrides": overrides, **settings}.items():
            study.set_user_attr(name, value)
        return
    old, new = (_flat({name: source.get(name) for name in settings}) for source in (stored, settings))
    if changed := [key for key in dict.fromkeys([*old, *new]) if old.get(key, _ABSENT) != new.get(key, _ABSENT)]:
        lines = [f"  {key}: was {old.get(key, _ABSENT)}, now {new.get(key, _ABSENT)}" for key in changed]
        raise InputError(
            f"study {study.study_name} has trials with other settings; set another sweep.study_name to start a new "
            "study, or restore:\n" + "\n".join(lines)
        )


_ABSENT = "absent"


def _flat(settings: Mapping[str, Any]) -> dict[str, Any]:
    space = {f"sweep.space {key}": value for key, value in (settings["space"] or {}).items()}
    return {"sweep.metric": settings["metric"], **space, **(settings["fixed"] or {})}


def _enqueue_combinations(
    study: Study, trials: Sequence[FrozenTrial], combinations: Mapping[str, dict[str, Any]], n_free: int
) -> None:
    """Queue combinations without a trial, in order, until `n_free` are waiting."""
    used = {key_of(params_of(trial)) for trial in trials if trial.state != TrialState.FAIL}
    used |= {key for key, n in failures_by_key(trials).items() if n >= 2}
    n_waiting = sum(trial.state == TrialState.WAITING for trial in trials)
    for key in [key for key in combinations if key not in used][: max(0, n_free - n_waiting)]:
        study.enqueue_trial(combinations[key])


def _evaluate(
    study: Study,
    batch: list[Trial],
    evaluate: Callable[[list[dict[str, Any]]], Iterable[Outcome]],
    on_tell: Callable[[FrozenTrial], None] | None,
) -> list[str | None]:
    """Evaluate a batch and store its outcomes; return the failure message of each trial, None for success."""
    failures: list[str | None] = []
    try:
        for trial, outcome in zip(batch, evaluate([trial.params for trial in batch]), strict=True):
            finished_trial = _tell(study, trial, outcome)
            failures.append(outcome.failure)
            if on_tell is not None:
                on_tell(finished_trial)
    except Exception as error:
        # KeyboardInterrupt is not caught: its trials keep running state and are queued again on resume.
        for trial in batch[len(failures) :]:
            _tell(study, trial, Outcome(None, "failed", {"error": f"{type(error).__name__}: {error}"}))
        raise
    return failures


def _tell(study: Study, trial: Trial, outcome: Outcome) -> FrozenTrial:
    attributes = {**outcome.attributes, "error": outcome.failure} if outcome.failure else outcome.attributes
    for name, value in attributes.items():
        trial.set_user_attr(name, value)
    if outcome.failure:
        finished_trial = study.tell(trial, state=TrialState.FAIL)
        # Retried once; after a second failure the parameters count as a finished trial.
        if failures_by_key(study.get_trials(deepcopy=False))[key_of(finished_trial.params)] % 2:
            study.enqueue_trial(finished_trial.params, user_attrs={"retry_of": finished_trial.number})
        return finished_trial
    if outcome.state == "pruned":
        if outcome.value is not None:
            trial.report(outcome.value, step=0)  # the only way to store the value of a pruned trial, which TPE uses
        return study.tell(trial, state=TrialState.PRUNED)
    return study.tell(trial, outcome.value)


@contextmanager
def _quiet_optuna() -> Iterator[None]:
    """Silence Optuna's log line for every study opened or created."""
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        yield
    finally:
        optuna.logging.set_verbosity(before)
