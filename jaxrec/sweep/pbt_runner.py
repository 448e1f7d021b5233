"""Training of a population in slots: all members train the same number of epochs, and copy each other in between."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import jax
from optuna.trial import FrozenTrial, TrialState

from jaxrec import experiment, settings
from jaxrec.data.splits.split import Selection
from jaxrec.errors import InputError
from jaxrec.experiment import Selected
from jaxrec.fitting.member import Member, metrics_at
from jaxrec.fitting.saved_slots import EpochRow
from jaxrec.hyper import Hyper
from jaxrec.metric_names import larger_is_better
from jaxrec.sweep.best_trial import BestTrial, fit_of
from jaxrec.sweep.outcome import Outcome, Progress
from jaxrec.sweep.pbt import LINEAGE, Copied, Segment, ancestry, exploit, explore, params_at
from jaxrec.sweep.pbt_plan import interval_of, model_sizes, program_of
from jaxrec.sweep.runner import SlotRunner
from jaxrec.sweep.running_trial import RunningTrial
from jaxrec.sweep.search_task import SearchTask
from jaxrec.sweep.space import Values
from jaxrec.sweep.tuning import Tuning

OnCopies = Callable[[int, float, Mapping[int, int]], None]
PATIENCE_INTERVALS = 2  # copies need time to show an effect


@dataclass(eq=False, kw_only=True)
class PopulationRunner(SlotRunner):
    """Trains the members of a population side by side; those with equal programs copy each other.

    A trial is one member. Its value is the best validation of its own slot, before or after it was replaced.

    Args:
        tuning: settings and search space.
        seed: seed of all decisions.
        interval: epochs between copies.
        trials: reads the trials of the study: members that ended before this process began are trained again if the
            others are not done.
        on_copies: called with the number of epochs, the best validation so far, and replaced members → copied ones.
    """

    tuning: Tuning
    seed: int
    interval: int
    trials: Callable[[], Sequence[FrozenTrial]]
    on_copies: OnCopies = lambda epoch, best, parents: None
    _params: dict[int, Values] = field(default_factory=dict)  # at the start
    _members: dict[int, Member] = field(default_factory=dict)
    _ended_before: set[int] = field(default_factory=set)

    def add(self, number: int, params: Values, trained: int = 0) -> None:
        """Start a member; see `outcome.Runner`."""
        self._params[number] = params
        self._arrived[number] = (*program_of(self.tuning, params), trained)

    def advance(self, seconds: float = math.inf) -> Iterator[Progress]:
        """Train one epoch of every member; see `outcome.Runner`."""
        for progress in super().advance(seconds):
            if progress.number not in self._ended_before:
                yield progress

    def save(self, is_interrupted: bool) -> bool:
        """Save all members, unless an interrupt left them at different epochs; see `outcome.Runner`."""
        if is_interrupted:
            for program in self._programs.values():
                program.slots.complete()
            self._settle()
            if len({running.member.epoch for running in self._running.values()}) > 1:
                return False
        return super().save(is_interrupted)

    def _place(self) -> None:
        if not self._arrived:
            return
        trained = max(trained for *_, trained in self._arrived.values())
        for trial in self.trials() if trained > 0 else ():
            is_member = LINEAGE in trial.user_attrs and "same_as" not in trial.user_attrs
            if is_member and trial.state != TrialState.RUNNING and trial.number not in self._arrived:
                self._ended_before.add(trial.number)
                self.add(trial.number, trial.params, trained)
        arrived = list(self._arrived)
        super()._place()
        for number in arrived:
            running = self._running[number]
            member, slots = running.member, running.program.slots
            self._members[number] = member
            if member.lineage:
                slots.change(member, self._hyper_of(member.lineage[-1]["params"]))
            slots.copy(member, member, member.hyper)  # compiles it

    def _train(self, trials: list[RunningTrial]) -> None:
        if trials and (epoch := trials[0].member.epoch) and epoch % self.interval == 0:
            self._exchange(epoch)
        super()._train(trials)
        self._settle()

    def _settle(self) -> None:
        """Decide which members have ended: all at once; one that diverges is replaced later."""
        members = [running.member for running in self._running.values()]
        is_over = self._is_stale(members)
        for member in members:
            member.ended = is_over or member.epoch >= member.epochs

    def _is_stale(self, members: Sequence[Member]) -> bool:
        """Whether the best of all has not improved for `trainer.patience` validations, and two intervals."""
        patience = settings.get(self.tuning.tree, "trainer.patience")
        found = [(member.score, -member.best_epoch) for member in members if member.best_epoch]
        if patience is None or not found:
            return False
        every = settings.get(self.tuning.tree, "trainer.validate_every")
        return members[0].epoch + max(found)[1] >= max(patience * every, PATIENCE_INTERVALS * self.interval)

    def _exchange(self, epoch: int) -> None:
        """Replace the worst members of each program by changed copies of its best ones."""
        parents: dict[int, int] = {}
        for program in self._programs.values():
            own = {n: running.member for n, running in self._running.items() if running.program is program}
            rules = program.slots.rules
            scores = {n: rules.sign * member.history[-1][rules.monitor] for n, member in own.items()}
            if len(own) > 1:
                parents |= exploit(scores, self.seed, epoch)
        if not any(member.best_epoch for member in self._members.values()):
            raise InputError(f"all members: {experiment.failure_of(next(iter(self._members.values())).history)}")
        for number, parent in parents.items():
            self._copy(number, parent, epoch)
        trained = min(running.trained for running in self._running.values())
        if parents and epoch >= trained:
            best = max(member.score for member in self._members.values())
            self.on_copies(epoch, best if larger_is_better(self.tuning.monitor) else -best, parents)

    def _copy(self, number: int, parent: int, epoch: int) -> None:
        """Replace a member; if that was done before an interrupt, do nothing."""
        running = self._running[number]
        member, source = running.member, self._members[parent]
        if member.lineage and member.lineage[-1]["epoch"] == epoch:
            return
        (program,) = (key for key, each in self._programs.items() if each is running.program)
        before = params_at(self._params[parent], source.lineage, epoch)
        sizes = model_sizes(self.tuning, before)
        params = explore(
            before,
            {key: dimension for key, dimension in self.tuning.space.items() if key not in sizes},
            (self.seed, epoch, number),
            lambda params: program_of(self.tuning, params)[0] == program,
        )
        running.program.slots.copy(member, source, self._hyper_of(params))
        member.lineage.append(Copied(epoch=epoch, parent=parent, params=params))

    def _hyper_of(self, params: Values) -> Hyper:
        return jax.tree.map(lambda x: x[0], program_of(self.tuning, params)[2].hyper)

    def _outcome(self, running: RunningTrial, state: Literal["complete", "pruned"]) -> Outcome:
        outcome = super()._outcome(running, state)
        attributes = {**outcome.attributes, LINEAGE: running.member.lineage}
        # A member that never had a finite validation is not to be trained once more.
        return Outcome(outcome.value, "pruned" if outcome.value is None else state, attributes)

    def _keep(self, number: int, running: RunningTrial) -> None:
        """Keep the parameters of the best member, with the record of its ancestry."""
        member, slots = running.member, running.program.slots
        score = (0, member.score)
        if not member.best_epoch or not self._is_best(number, score):
            return
        segments = ancestry(self._params, self._lineages(), number, member.best_epoch)
        tree = self.tuning.scheduled(segments, member.best_epoch, self.n_slots)
        _, shared, population = settings.program_of(tree, {})
        history = self._history(segments, member.best_epoch)
        fit = fit_of(slots.take(member), member, slots, history)
        selected = Selected(running.program.model, population, fit, [metrics_at(history, member.best_epoch)])
        self.best = BestTrial(number, score, shared, selected)

    def _lineages(self) -> dict[int, list[Copied]]:
        return {number: member.lineage for number, member in self._members.items()}

    def _history(self, segments: Sequence[Segment], epochs: int) -> list[EpochRow]:
        ends = [segment.from_epoch for segment in segments[1:]] + [epochs + 1]
        return [
            row
            for segment, end in zip(segments, ends, strict=True)
            for row in self._members[segment.trial].history[segment.from_epoch - 1 : end - 1]
        ]

    def _is_best(self, number: int, score: tuple[int, float]) -> bool:
        """Whether a member is the best so far; of equal ones, that with the earliest epoch, then the first."""
        if self.best is None:
            return True
        best = self.best.score, -self.best.selected.fit.best_epoch[0], -self.best.number
        return (score, -self._members[number].best_epoch, -number) > best


def make_runner(
    task: SearchTask,
    selection: Selection,
    directory: Path | None,
    trials: Callable[[], Sequence[FrozenTrial]],
    on_copies: OnCopies = lambda epoch, best, parents: None,
) -> SlotRunner:
    """Return the runner of a search or population.

    Args:
        task: the search.
        selection: training and validation data.
        directory: the sweep directory; None: no training states are saved.
        trials: reads the trials of the study.
        on_copies: called after each interval of a population, see `PopulationRunner`.
    """
    tuning, chosen = task.tuning, task.chosen
    runner = tuning.runner(selection, chosen.population, directory)
    if chosen.strategy == "search":
        return runner
    return PopulationRunner(
        runner.tree_of,
        runner.extremes,
        selection,
        chosen.population,
        runner.saved,
        user_values=runner.user_values,
        tuning=tuning,
        seed=chosen.seed,
        interval=interval_of(chosen, tuning),
        trials=trials,
        on_copies=on_copies,
    )
