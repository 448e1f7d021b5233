"""Rounds of one worker of a search; see `sweep.search` for what they guarantee.

A round trains one epoch of every running trial, then ends trials, then proposes new ones. The processes of one study
take turns to propose trials; `workers.py` gives turns and detects which processes are alive. A process that was taken
for dead while it was suspended leaves its trials to the process that continues them.
"""

import logging
import math
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from optuna.exceptions import UpdateFinishedTrialError
from optuna.study import Study
from optuna.trial import FrozenTrial, Trial, TrialState

from jaxrec.errors import InputError
from jaxrec.sweep.ask_and_tell import ask, enqueue_combinations, set_attributes, suggest, tell
from jaxrec.sweep.interrupts import Interrupts
from jaxrec.sweep.leases import LeaseLostError
from jaxrec.sweep.outcome import STOPPED, Outcome, Progress, Runner
from jaxrec.sweep.plan import Plan
from jaxrec.sweep.pruning import report
from jaxrec.sweep.repeats import EndedTrials, outcome_of_repeat
from jaxrec.sweep.servers import StorageLostError
from jaxrec.sweep.trials import key_of, progress, write_trials
from jaxrec.sweep.warm_start import without_added
from jaxrec.sweep.workers import Worker, any_alive, last_round, orphans, record_round

POLL_SECONDS = 0.5
SECONDS_BETWEEN_TABLES = 10.0

log = logging.getLogger(__name__)


class WorkerLoop:
    """Rounds of one worker; `run` trains until the search ends.

    Args:
        plan: what to search for.
        runner: trains the trials.
        study: the study, with its settings.
        worker: this process as a worker of the study.
        directory: the sweep directory.
        on_tell, on_round: see `search`.

    Attributes:
        failures: messages of the latest failures in a row.
    """

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
        self.running: dict[int, Trial] = {}
        self.followers: defaultdict[int, list[Trial]] = defaultdict(list)  # trials with the parameters of a running one
        self.ended = EndedTrials()
        self.failures: list[str] = []  # in a row
        self.round = self.finished = 0
        self.written = time.monotonic()
        self.deadline = math.inf if plan.timeout is None else self.written + 60 * plan.timeout

    def run(self, interrupts: Interrupts) -> None:
        """Train until the study has enough trials, or until the time is over.

        Raises:
            KeyboardInterrupt: after the round in which an interrupt was requested.
        """
        is_over = False
        while True:
            is_over |= interrupts.is_requested
            n_continued = self._take() if len(self.running) < self.plan.population and not is_over else 0
            is_over = time.monotonic() > self.deadline
            if self.runner.save(interrupts.is_requested):
                record_round(self.study, self.worker, self.round)
            if interrupts.is_requested:
                raise KeyboardInterrupt
            if is_over and self._stop():
                return
            if self.running or n_continued:
                self.on_round(self.finished, len(self.running), self.plan.total)
                self._advance()
                is_over = time.monotonic() > self.deadline
            elif self.finished < self.plan.total and not is_over and any_alive(self.study, self.worker):
                time.sleep(POLL_SECONDS)  # others run the last trials; if they die, their trials are continued
            else:
                return

    def _take(self) -> int:
        """Continue the trials of dead workers, or else propose new ones; return how many were continued."""
        while self._can_take():
            try:
                with self.worker.turn():
                    return self._take_in_turn()
            except LeaseLostError:
                log.warning("this process was suspended or disconnected for a while: others may continue its trials")
                time.sleep(POLL_SECONDS)
        return 0

    def _can_take(self) -> bool:
        """Return whether there seems to be a trial to propose or to continue."""
        trials = without_added(self.study.get_trials(deepcopy=False))
        self.finished, running = progress(trials, self.plan.combinations)
        return self.finished + running < self.plan.total or bool(orphans(self.study, self.worker))

    def _take_in_turn(self) -> int:
        plan, study = self.plan, self.study
        trials = without_added(study.get_trials(deepcopy=False))
        self._remember(trials)
        if orphaned := self._fitting(orphans(study, self.worker)):
            self.finished, _ = progress(trials, plan.combinations)
            self._continue(orphaned)  # their round is repeated before anything new is proposed
            return len(orphaned)
        if self.round == 0:  # a study that goes on
            self.round = last_round(study, None)
        self.finished, running = progress(trials, plan.combinations)
        n_new = plan.total - self.finished - running
        if plan.combinations is not None:
            n_free = min(plan.population - len(self.running), n_new)
            self.worker.check()
            enqueue_combinations(study, trials, plan.combinations, n_free)
        while n_new > 0 and len(self.running) < plan.population:
            study.sampler = plan.sampler_of(len(study.get_trials(deepcopy=False)))
            trial = ask(study, self.worker)
            suggest(study, plan, trial)
            # The worker is last: without it, the trial counts as incomplete.
            set_attributes(study, trial, {"started_round": self.round, "worker": self.worker.id})
            self._start(trial, ended_round=self.round)
            n_new -= 1
        return 0

    def _fitting(self, trials: Sequence[FrozenTrial]) -> list[FrozenTrial]:
        """Return the trials that find room here; several workers may have died, and left more than one can train.

        Trials whose parameters are known or in training need no room.
        """
        keys = {key_of(trial.params) for trial in self.running.values()}
        n_free = self.plan.population - len(self.running)
        fitting: list[FrozenTrial] = []
        for trial in trials:
            if (key := key_of(trial.params)) not in keys and key not in self.ended:
                if n_free == 0:
                    continue
                n_free -= 1
                if "worker" in trial.user_attrs:  # otherwise its parameters are not proposed to the end
                    keys.add(key)
            fitting.append(trial)
        return fitting

    def _continue(self, trials: Sequence[FrozenTrial]) -> None:
        """Take over trials whose process died, with their numbers."""
        last = {trial.number: last_round(self.study, trial) for trial in trials}
        if self.round == 0:  # the last round may not have been completed, so it is repeated
            self.round = max(last.values()) - 1
            record_round(self.study, self.worker, self.round + 1)
        for frozen in trials:
            self.worker.check()
            if "worker" in frozen.user_attrs:
                trial = Trial(self.study, frozen._trial_id)
                before = last[frozen.number] - 1
                lag = before - frozen.user_attrs.get("started_round", before + 1)
            else:  # not proposed to the end
                lag = -1
                self.study.sampler = self.plan.sampler_of(frozen.number)
                trial = Trial(self.study, frozen._trial_id)
                suggest(self.study, self.plan, trial)
            done, ended_round = self.ended.done(trial.params), self.round - lag
            if done is not None and done.user_attrs.get("worker") == frozen.user_attrs.get("worker"):
                ended_round = max(ended_round, done.user_attrs["ended_round"])  # it had waited for the other to end
            set_attributes(self.study, trial, {"started_round": self.round - lag, "worker": self.worker.id})
            log.warning("trial %d was running in a process that ended: it is continued", frozen.number)
            self._start(trial, lag, ended_round=ended_round)

    def _remember(self, trials: Sequence[FrozenTrial]) -> None:
        """Remember ended trials, so that none is repeated; a grid repeats none."""
        if self.plan.combinations is None:
            self.ended.add(trials)

    def _start(self, trial: Trial, trained: int = 0, *, ended_round: int) -> None:
        """Start training a trial, unless its parameters are known or in training."""
        if trial.number in self.running:  # taken over by another process that then died
            return
        if (outcome := self.ended.outcome(trial.params)) is not None:
            self._tell(trial, outcome, ended_round)
            return
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
            for step in self.runner.advance(self.deadline - time.monotonic()):
                trial = self.running[step.number]
                outcome = step.outcome or self._pruned(trial, step)
                if outcome is not None:
                    self._end(trial, self.plan.checked(outcome))
        except (KeyboardInterrupt, StorageLostError):  # its trials keep running state and are continued later
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

    def _stop(self) -> bool:
        """End the trials in training with their values so far; return whether the search has a result.

        Trials without a value keep running state and are continued later, as after an interrupt.
        """
        for number, trial in list(self.running.items()):
            if (outcome := self.runner.stop(number)) is not None:
                outcome = replace(outcome, attributes={**outcome.attributes, STOPPED: "timeout"})
                self._end(trial, self.plan.checked(outcome))
        if not without_added(self.study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))):
            return False
        if self.runner.save(is_interrupted=True):
            record_round(self.study, self.worker, self.round)
        return True

    def _pruned(self, trial: Trial, step: Progress) -> Outcome | None:
        """Report a validation; return the outcome of a trial that is to be pruned."""
        if self.plan.goals.objectives:  # Optuna has no pruning then
            return None
        if step.value is None or not self.plan.pruning.is_reported(step.epoch) or not math.isfinite(step.value):
            return None
        stored = self.study._storage.get_trial(trial._trial_id)
        if self._is_own(stored) and not report(self.study, trial, stored, step.epoch, step.value):
            return None
        return self.runner.prune(trial.number)

    def _end(self, trial: Trial, outcome: Outcome) -> None:
        del self.running[trial.number]
        followers = self.followers.pop(trial.number, [])
        ended = self._tell(trial, outcome, self.round)
        for follower in followers:
            if outcome.failure or ended is None:
                self._start(follower, ended_round=self.round)
            else:
                self._tell(follower, outcome_of_repeat(ended), self.round)

    def _is_own(self, trial: FrozenTrial) -> bool:
        return not trial.state.is_finished() and trial.user_attrs.get("worker") == self.worker.id

    def _tell(self, trial: Trial, outcome: Outcome, ended_round: int) -> FrozenTrial | None:
        """Store an outcome; None: another process has taken over the trial."""
        try:
            if not self._is_own(self.study._storage.get_trial(trial._trial_id)):
                raise UpdateFinishedTrialError
            outcome = replace(outcome, attributes={"ended_round": ended_round, **outcome.attributes})
            ended = tell(self.study, trial, outcome, self.plan.goals)
        except (UpdateFinishedTrialError, ValueError):  # the first outcome counts
            if self._is_own(self.study._storage.get_trial(trial._trial_id)):
                raise
            log.warning("trial %d was continued by another process, which took this one for dead", trial.number)
            return None
        self.failures = [*self.failures, outcome.failure] if outcome.failure else []
        if not outcome.failure:
            self.finished += 1
        self._remember([ended])
        self.on_tell(ended)
        return ended
