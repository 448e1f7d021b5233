"""Training of the trials of a search, side by side in the slots of one or several compiled programs."""

import math
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Literal

import jax

from jaxrec import experiment, settings
from jaxrec.data.splits.split import Selection
from jaxrec.experiment import Selected
from jaxrec.fitting.epochs import EpochLoop
from jaxrec.fitting.member import members_of
from jaxrec.fitting.population import Population
from jaxrec.fitting.saved_slots import SavedMember, SavedSlots
from jaxrec.fitting.slots import Slots
from jaxrec.machine import single_threaded_blas
from jaxrec.metric_names import larger_is_better
from jaxrec.models.model import Model
from jaxrec.settings import Tree
from jaxrec.sweep.best_trial import BestTrial, fit_of
from jaxrec.sweep.costs import TrialCosts
from jaxrec.sweep.objectives import Goals
from jaxrec.sweep.outcome import FINAL, Outcome, Progress
from jaxrec.sweep.running_trial import Program, RunningTrial
from jaxrec.sweep.space import Value, Values
from jaxrec.sweep.time_limit import in_parts
from jaxrec.sweep.user_values import ObservedEvaluator, UserValues, observed

MAX_IDLE = 16  # programs without a trial that are kept, with the memory of their slots, for later trials


@dataclass(eq=False)
class SlotRunner:
    """Trains trials in slots, and keeps the parameters of the best one.

    Trials whose settings differ in traced numbers only share a program, whose arrays are padded to a size of the
    search space. Closed-form models have no epochs: their trials are solved together at the next round.

    Args:
        tree_of: settings of a trial, from its parameters.
        extremes: bounds or choices of every dimension of the search space, by key.
        selection: training and validation data.
        n_slots: slots of each program.
        saved: training states of a process that ended, which are continued and written; None: nothing is written.
        goals: further objectives and constraints, whose costs are measured.
        user_values: where the validation values of the users in each trial are stored.
    """

    tree_of: Callable[[Values], Tree]
    extremes: Mapping[str, Sequence[Value]]
    selection: Selection
    n_slots: int
    saved: SavedSlots | None = None
    goals: Goals = field(default_factory=Goals)
    user_values: UserValues = field(default_factory=UserValues)
    best: BestTrial | None = None
    _programs: dict[str, Program] = field(default_factory=dict)
    _running: dict[int, RunningTrial] = field(default_factory=dict)
    _arrived: dict[int, tuple[str, Tree, Population, int]] = field(default_factory=dict)
    _unsolved: dict[int, tuple[Tree, bool]] = field(default_factory=dict)  # whether to wait a round
    _states: dict[str, SavedMember] = field(init=False)
    _costs: TrialCosts = field(init=False)

    def __post_init__(self) -> None:
        self._states = {} if self.saved is None else self.saved.found
        self._costs = TrialCosts(self.goals, self.selection)

    def add(self, number: int, params: Values, trained: int = 0) -> None:
        """Start a trial; see `outcome.Runner`."""
        tree = self.tree_of(params)
        self._costs.start(number, tree)
        if trained > 0 and self.saved is not None and str(number) not in self._states:
            self._states |= self.saved.read()  # of a worker that died after this one had started
        if not isinstance(experiment.trainer(tree), EpochLoop):
            self._unsolved[number] = tree, trained < 0
            return
        self._arrived[number] = (*settings.program_of(tree, self.extremes), trained)

    @property
    def in_training(self) -> list[Progress]:
        """Trials in training, as they are between two rounds."""
        trained = [Progress(n, r.member.epoch, self._value(r)) for n, r in sorted(self._running.items())]
        return trained + [Progress(number) for number in (*self._arrived, *self._unsolved)]

    def advance(self, seconds: float = math.inf) -> Iterator[Progress]:
        """Train one epoch of every trial; see `outcome.Runner`."""
        yield from self._solve(seconds)
        self._place()
        while behind := [r for r in self._running.values() if r.member.epoch < r.trained and not r.member.ended]:
            self._train(behind)
        self._train([r for r in self._running.values() if not r.waits and not r.member.ended])
        for number, running in sorted(self._running.items()):
            member = running.member
            if running.waits:
                running.waits -= 1
                continue
            value, outcome = self._value(running), self._outcome(running, "complete") if member.ended else None
            if outcome is not None:
                self._keep(number, running)
                self._drop(number)
            yield Progress(number, member.epoch, value, outcome)

    @staticmethod
    def _value(running: RunningTrial) -> float | None:
        """Best validation so far; None before the first."""
        member = running.member
        return running.program.slots.rules.sign * member.score if member.best_epoch else None

    def prune(self, number: int) -> Outcome:
        """End a trial early; see `outcome.Runner`."""
        outcome = self._outcome(self._running[number], "pruned")
        self._drop(number)
        return outcome

    def stop(self, number: int) -> Outcome | None:
        """End a trial with its best validation so far; see `outcome.Runner`."""
        running = self._running.get(number)
        if running is None or not running.member.best_epoch:
            return None
        outcome = self._outcome(running, "complete")
        self._keep(number, running)
        self._drop(number)
        return outcome

    def save(self, is_interrupted: bool) -> bool:
        """Save the trials in training; see `outcome.Runner`."""
        if self.saved is None or self.saved.minutes is None or not (is_interrupted or self.saved.is_due):
            return False
        for program in self._programs.values():
            program.slots.complete()
        in_training = {n: r for n, r in self._running.items() if r.member.epoch and not r.member.ended}
        self.saved.save({str(number): running.saved for number, running in in_training.items()})
        return True

    def _solve(self, seconds: float) -> Iterator[Progress]:
        """Solve closed-form models, and yield their outcomes; none depends on what else is solved in a round.

        With a time limit they are solved in parts, until it is over.
        """
        until = time.monotonic() + seconds
        groups: dict[str, tuple[Tree, dict[int, Population]]] = {}
        for number, (tree, waits) in self._unsolved.items():
            if not waits:
                key, shared, population = settings.program_of(tree, self.extremes)
                groups.setdefault(key, (shared, {}))[1][number] = population
        outcomes: dict[int, Outcome] = {}
        for shared, members in groups.values():
            if outcomes and time.monotonic() >= until:
                break
            model, evaluator = observed(shared, self.selection)
            for part in in_parts(list(members), jax.device_count(), until):
                outcomes |= self._solved(shared, {number: members[number] for number in part}, model, evaluator)
        solved = [number for number in self._unsolved if number in outcomes]
        self._unsolved = {number: (tree, False) for number, (tree, _) in self._unsolved.items() if number not in solved}
        for number in solved:
            yield Progress(number, outcome=outcomes[number])

    def _solved(
        self, shared: Tree, members: Mapping[int, Population], model: Model, evaluator: ObservedEvaluator
    ) -> dict[int, Outcome]:
        """Outcomes of closed-form models that share a program, by number of the trial."""
        population = Population.joined([*members.values()])
        monitor = str(settings.get(shared, "eval.monitor"))
        selected = experiment.train(shared, self.selection, population, model, evaluator)
        values = evaluator.latest(range(population.size))
        outcomes: dict[int, Outcome] = {}
        for member, number in enumerate(members):
            metrics = selected.validation[member]
            if failure := experiment.failure(selected, member):
                outcomes[number] = Outcome(None, "failed", {"error": failure, FINAL: True})
                continue
            attributes: Values = {**metrics, "seconds": round(selected.fit.train_s / population.size, 3)}
            params, hyper = (
                jax.tree.map(lambda x: x[member], tree)  # noqa: B023
                for tree in (selected.fit.params, population.hyper)
            )
            attributes |= self._costs.measure(number, shared, selected.model, params, hyper)
            self.user_values.write(number, values.get(member))
            outcomes[number] = Outcome(metrics[monitor], attributes=attributes)
            value = metrics[monitor] * (1 if larger_is_better(monitor) else -1)
            score = (-self.goals.n_violated(attributes), value)
            if self._is_best(number, score):
                self.best = BestTrial(number, score, shared, experiment.members_of(selected, [member]))
        return outcomes

    def _place(self) -> None:
        """Put the trials that have arrived into slots; programs they need are compiled, all at once."""
        if not self._arrived:
            return
        new = {key: (shared, population) for key, shared, population, *_ in self._arrived.values()}
        new = {key: parts for key, parts in new.items() if key not in self._programs}
        with ThreadPoolExecutor(os.cpu_count()) as threads:
            compiled = threads.map(lambda parts: self._program(*parts), new.values())
            self._programs |= zip(new, compiled, strict=True)
        arrived = {key for key, *_ in self._arrived.values()}
        idle = [key for key, program in self._programs.items() if key not in arrived and not program.slots.members]
        for key in idle[:-MAX_IDLE]:
            del self._programs[key]
        for number, (key, shared, population, trained) in self._arrived.items():
            program = self._programs[key]
            (member,) = members_of(population, [settings.get(shared, "trainer.epochs")])
            saved = self._states.pop(str(number), None)
            program.slots.put(member, self._loads(), saved)
            if member.epoch and saved is not None and saved.validation is not None:
                program.evaluator.best[member] = saved.validation
            # A saved member may be ahead of the last round that is known to have ended.
            waits = max(0, member.epoch - trained)
            self._running[number] = RunningTrial(program, member, population, max(trained, 0), waits, number)
        self._arrived = {}

    def _program(self, shared: Tree, population: Population) -> Program:
        model, evaluator = observed(shared, self.selection)
        trainer = experiment.trainer(shared)
        assert isinstance(trainer, EpochLoop)  # others are in `_unsolved`
        program, placement = trainer.program(model, self.selection.train, population.hyper, self.n_slots)
        hyper = members_of(population, [0])[0].hyper
        slots = Slots(program, placement, trainer.rules, evaluator.means, hyper, evaluator.keep)
        return Program(shared, model, slots, evaluator)

    def _loads(self) -> list[int]:
        """Members on each device, over all programs."""
        loads = [0] * jax.device_count()
        for program in self._programs.values():
            for device, n in enumerate(program.slots.loads):
                loads[device] += n
        return loads

    def _train(self, trials: list[RunningTrial]) -> None:
        """Train one epoch of these trials; all programs are started before the first result is waited for."""
        started = [program for program in self._programs.values() if any(r.program is program for r in trials)]
        with single_threaded_blas():
            for program in started:
                program.slots.dispatch([r.member for r in trials if r.program is program])
            for program in started:
                program.slots.collect()

    def _outcome(self, running: RunningTrial, state: Literal["complete", "pruned"]) -> Outcome:
        member, program, slots = running.member, running.program, running.program.slots
        if not member.best_epoch:
            return Outcome(None, "failed", {"error": experiment.failure_of(member.history), FINAL: True})
        attributes = {**member.metrics, "best_epoch": member.best_epoch, "epochs": member.epoch}
        attributes["seconds"] = round(member.seconds, 3)
        if self.goals.costs:
            params = slots.take(member)
            attributes |= self._costs.measure(running.number, program.tree, program.model, params, member.hyper)
        self.user_values.write(running.number, program.evaluator.best.get(member))
        running.attributes = attributes
        return Outcome(slots.rules.sign * member.score, state, attributes)

    def _keep(self, number: int, running: RunningTrial) -> None:
        """Keep the parameters of the best trial."""
        member, slots = running.member, running.program.slots
        score = (-self.goals.n_violated(running.attributes), member.score)
        if not member.best_epoch or not self._is_best(number, score):
            return
        params = slots.take(member)
        fit = fit_of(params, member, slots, member.history)
        selected = Selected(running.program.model, running.population, fit, [member.metrics])
        saved = SavedMember(member.record, params, None)
        self.best = BestTrial(number, score, running.program.tree, selected, saved)

    def _is_best(self, number: int, score: tuple[int, float]) -> bool:
        """Whether a trial is the best so far; of equal ones, the first."""
        best = self.best
        return best is None or score > best.score or (score == best.score and number < best.number)

    def _drop(self, number: int) -> None:
        running = self._running.pop(number)
        running.program.slots.release(running.member)
