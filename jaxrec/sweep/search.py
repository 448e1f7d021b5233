"""Search loop: Optuna proposes trials, a runner trains them side by side, and every outcome is stored.

Guarantees, for any number of processes and if any worker is killed at any time:

- A search ends with exactly `n_trials` complete or pruned trials; parameters that failed twice count as one trial.
- A trial whose process died is continued by another process under its number; no trial is lost or counted twice.
- Only outcomes of the runner are stored, and the settings shared by all trials never change within a study.
- Decisions depend on validations and never on clocks. Each trial records the round in which it started and ended, so a
  search with one worker that is killed and started again proposes and prunes the same trials as an uninterrupted one.

A round trains one epoch of every running trial, then ends trials, then proposes new ones. The processes of one study
share its sweep directory and take turns to request trials (`ask.lock`); `workers.py` detects which of them are alive.
"""

import json
import logging
import math
import time
import warnings
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol

import numpy as np
import optuna
from optuna.storages import BaseStorage
from optuna.study import Study
from optuna.trial import FrozenTrial, Trial, TrialState

from jaxrec.errors import InputError
from jaxrec.sweep.pruning import Pruning
from jaxrec.sweep.space import Dimension, distributions, grid, space_to_plain
from jaxrec.sweep.storage import FileLock
from jaxrec.sweep.trials import failures_by_key, key_of, params_of, progress, write_trials
from jaxrec.sweep.workers import Worker, any_alive, at_work, last_round, orphans

SAMPLERS = ("tpe", "random", "cmaes", "qmc", "nsga2", "grid")
POLL_SECONDS = 0.5
SECONDS_BETWEEN_TABLES = 10.0

log = logging.getLogger(__name__)


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


class Progress(NamedTuple):
    """State of a trial after a round.

    Attributes:
        number: number of the trial
        epoch: epochs trained
        value: best validation so far; None before the first
        outcome: outcome of a trial that has ended, else None
    """

    number: int
    epoch: int = 0
    value: float | None = None
    outcome: Outcome | None = None


class Runner(Protocol):
    """Trains trials side by side, see `sweep.runner.SlotRunner`."""

    def add(self, number: int, params: dict[str, Any], trained: int = 0) -> None:
        """Start a trial.

        Args:
            number: number of the trial.
            params: its parameters.
            trained: epochs trained by a process that ended; they are repeated at the next `advance` without being
                reported. -1: the trial starts one round later.
        """

    def advance(self) -> Iterable[Progress]:
        """Train one epoch of every trial; yield the progress of each, in order of numbers."""

    def prune(self, number: int) -> Outcome:
        """End a trial early and return its outcome."""

    def save(self, is_interrupted: bool) -> bool:
        """Save the trials in training between two rounds, if it is time or if interrupted; return whether it did."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What to search for.

    Attributes:
        space: dimensions by key
        n_trials: target number of trials in the study; the grid sampler uses the number of combinations instead
        population: number of trials in training at once
        metric: name of the metric in `Outcome.value`
        fixed: settings shared by all trials. A study is continued only with the same settings, metric and space; the
            sampler, `n_trials` and `population` may change
        sampler: one of `SAMPLERS`
        seed: seed of the sampler
        direction: "maximize" or "minimize"
        first: parameters of the first trial of a new study; None: the sampler's
        pruning: when trials are ended early
        overrides: the command-line overrides behind `fixed`, stored so that a trial can be repeated
    """

    space: Mapping[str, Dimension]
    n_trials: int
    population: int
    metric: str
    fixed: Mapping[str, Any]
    sampler: str = "tpe"
    seed: int = 0
    direction: str = "maximize"
    first: Mapping[str, Any] | None = None
    pruning: Pruning = field(default_factory=Pruning)
    overrides: Sequence[str] = ()

    def __post_init__(self) -> None:
        for name, number in (("sweep.n_trials", self.n_trials), ("sweep.population", self.population)):
            if number < 1:
                raise InputError(f"{name} must be at least 1, got {number}")
        if self.direction not in ("maximize", "minimize"):
            raise InputError(f"sweep.direction must be maximize or minimize, got {self.direction}")
        make_sampler(self.sampler, self.seed)
        distributions(self.space)


def search(
    plan: Plan,
    runner: Runner,
    *,
    study_name: str,
    storage: BaseStorage,
    directory: Path,
    on_tell: Callable[[FrozenTrial], None] = lambda trial: None,
    on_round: Callable[[int, int, int], None] = lambda finished, running, total: None,
) -> Study:
    """Train trials until the study has enough of them; an existing study of this name is continued.

    Args:
        plan: what to search for.
        runner: trains the trials. An exception marks its running trials as failed and propagates; Ctrl-C leaves them
            for the next process.
        study_name: name of the study.
        storage: storage of the study.
        directory: the sweep directory, shared by all processes of a study; `trials.csv` is written here.
        on_tell: called with each trial after its outcome is stored.
        on_round: called before each round with the numbers of finished trials, of trials running here, and of all.

    Returns:
        The study. If other processes run the last trials, it returns after those have ended.

    Raises:
        InputError: the study has other settings, or a whole population in a row (at least three trials) failed.
    """
    with _quiet_optuna(), at_work(directory) as worker:
        with FileLock(directory / "ask.lock"):
            study = _open_study(study_name, storage, plan.direction)
            _settle(study, plan)
            worker.register(study)
        study.pruner = plan.pruning.pruner()
        loop = _Loop(plan, runner, study, worker, directory, on_tell, on_round)
        try:
            loop.run()
        finally:
            write_trials(study, directory)
    if loop.failures and not study.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.PRUNED)):
        raise InputError(f"all trials failed; first failure: {loop.failures[0]}")
    return study


class _Loop:
    """Rounds of one worker."""

    def __init__(
        self,
        plan: Plan,
        runner: Runner,
        study: Study,
        worker: Worker,
        directory: Path,
        on_tell: Callable[[FrozenTrial], None],
        on_round: Callable[[int, int, int], None],
    ) -> None:
        self.plan, self.runner, self.study, self.worker, self.directory = plan, runner, study, worker, directory
        self.on_tell, self.on_round = on_tell, on_round
        self.dimensions = distributions(plan.space)
        combinations = grid(plan.space) if plan.sampler == "grid" else None
        self.combinations = None if combinations is None else {key_of(params): params for params in combinations}
        self.n_trials = plan.n_trials if self.combinations is None else len(self.combinations)
        self.running: dict[int, Trial] = {}
        self.followers: defaultdict[int, list[Trial]] = defaultdict(list)  # trials with the parameters of a running one
        self.failures: list[str] = []  # in a row
        self.round = self.finished = 0
        self.written = time.monotonic()

    def run(self) -> None:
        """Train until the study has enough trials."""
        while True:
            missing = self._take() if len(self.running) < self.plan.population else 1
            if self.runner.save(is_interrupted=False):
                self.worker.record_round(self.study, self.round)
            if self.running:
                self.on_round(self.finished, len(self.running), self.n_trials)
                self._advance()
            elif missing > 0 and any_alive(self.study, self.directory):
                time.sleep(POLL_SECONDS)  # others run the last trials; if they die, their trials are continued
            else:
                return

    def _take(self) -> int:
        """Continue the trials of dead workers and propose new ones; return how many are missing in the study."""
        plan, study = self.plan, self.study
        with FileLock(self.directory / "ask.lock"):
            if continued := orphans(study, self.directory):
                self._continue(continued)
            trials = study.get_trials(deepcopy=False)
            if not self.round and not continued:
                self.round = max((trial.user_attrs.get("ended_round", 0) for trial in trials), default=0)
            self.finished, running = progress(trials, self.combinations)
            missing = self.n_trials - self.finished
            # New trials were proposed after the round that is repeated for the continued ones.
            n_free = 0 if continued else min(plan.population - len(self.running), missing - running)
            if self.combinations is not None:
                _enqueue_combinations(study, trials, self.combinations, n_free)
            for _ in range(n_free):
                # Seeded for each trial, so that a search that was killed proposes the same trials as an uninterrupted
                # one.
                study.sampler = make_sampler(plan.sampler, plan.seed, len(study.get_trials(deepcopy=False)))
                trial = study.ask(self.dimensions)
                trial.set_user_attr("started_round", self.round)
                trial.set_user_attr("worker", self.worker.id)  # last: without it, the trial counts as incomplete
                self._start(trial)
        return missing

    def _continue(self, trials: Sequence[FrozenTrial]) -> None:
        """Take over trials whose process died, with their numbers."""
        last = {trial.number: last_round(self.study, trial) for trial in trials}
        # The last round may not have been completed, so it is repeated.
        self.round = max([number - 1 for number in last.values()] + [self.round] * (self.round > 0))
        for frozen in trials:
            self.study.sampler = make_sampler(self.plan.sampler, self.plan.seed, frozen.number)
            trial = Trial(self.study, frozen._trial_id)
            for name, distribution in self.dimensions.items():  # its process may have died while it was proposed
                trial._suggest(name, distribution)
            lag = last[frozen.number] - 1 - frozen.user_attrs.get("started_round", last[frozen.number])
            trial.set_user_attr("started_round", self.round - lag)
            trial.set_user_attr("worker", self.worker.id)
            log.warning("trial %d was running in a process that ended: it is continued", frozen.number)
            self._start(trial, lag)
        self.worker.record_round(self.study, self.round)

    def _start(self, trial: Trial, trained: int = 0) -> None:
        """Start training a trial, unless its parameters are known or in training."""
        key = key_of(trial.params)
        leader = next((n for n, other in self.running.items() if key_of(other.params) == key), None)
        if leader is not None:
            self.followers[leader].append(trial)
            return
        self.running[trial.number] = trial
        self.runner.add(trial.number, dict(trial.params), trained)

    def _advance(self) -> None:
        """Train one epoch of every trial, and store what has ended."""
        self.round += 1
        try:
            for step in self.runner.advance():
                trial = self.running[step.number]
                outcome = step.outcome or self._pruned(trial, step)
                if outcome is not None:
                    self._end(trial, outcome)
        except KeyboardInterrupt:  # its trials keep running state and are continued later
            self.runner.save(is_interrupted=True)
            raise
        except Exception as error:
            for trial in list(self.running.values()):
                self._end(trial, Outcome(None, "failed", {"error": f"{type(error).__name__}: {error}"}))
            raise
        if len(self.failures) >= max(self.plan.population, 3):
            raise InputError(f"{len(self.failures)} trials in a row failed; first failure: {self.failures[0]}")
        if time.monotonic() - self.written > SECONDS_BETWEEN_TABLES:
            write_trials(self.study, self.directory)
            self.written = time.monotonic()

    def _pruned(self, trial: Trial, step: Progress) -> Outcome | None:
        """Report a validation; return the outcome of a trial that is to be pruned."""
        if step.value is None or not self.plan.pruning.is_reported(step.epoch) or not math.isfinite(step.value):
            return None
        reported = self.study._storage.get_trial(trial._trial_id).intermediate_values
        if step.epoch in reported:  # decided before the process ended
            return None
        trial.report(step.value, step.epoch)
        return self.runner.prune(trial.number) if trial.should_prune() else None

    def _end(self, trial: Trial, outcome: Outcome) -> None:
        del self.running[trial.number]
        followers = self.followers.pop(trial.number, [])
        self._tell(trial, outcome)
        for follower in followers:
            if outcome.failure:
                self._start(follower)
            else:
                same = {**outcome.attributes, "same_as": trial.number}
                self._tell(follower, Outcome(outcome.value, outcome.state, same))

    def _tell(self, trial: Trial, outcome: Outcome) -> None:
        trial.set_user_attr("ended_round", self.round)
        self.failures = [*self.failures, outcome.failure] if outcome.failure else []
        self.on_tell(_tell(self.study, trial, outcome))


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


def _settle(study: Study, plan: Plan) -> None:
    """Store the settings in a new study; an existing study must have the same settings."""
    settings = {"space": space_to_plain(plan.space), "metric": plan.metric, "fixed": dict(plan.fixed)}
    settings = json.loads(json.dumps(settings))  # as the storage returns them: tuples become lists
    stored = study.user_attrs
    if "fixed" not in stored:
        # `fixed` is written last: a process killed halfway leaves a study that still counts as new.
        if plan.first is not None and not study.get_trials(deepcopy=False):
            study.enqueue_trial(dict(plan.first))
        for name, value in {"overrides": list(plan.overrides), **settings}.items():
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
        if outcome.value is not None and not study._storage.get_trial(trial._trial_id).intermediate_values:
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
