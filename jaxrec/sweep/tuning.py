"""Hyperparameter tuning of a run: trials are trained side by side in slots, and the winner is tested."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from optuna.study import Study
from optuna.trial import FrozenTrial
from pydantic import NonNegativeInt, PositiveFloat, PositiveInt

from jaxrec import experiment, settings
from jaxrec.command_line import override
from jaxrec.data.splits.split import Selection, Split
from jaxrec.errors import InputError
from jaxrec.experiment import Result, Selected
from jaxrec.fitting.capacity import ON_CPU, largest_population
from jaxrec.fitting.epochs import OnEpoch
from jaxrec.fitting.gradient import GradientFit
from jaxrec.fitting.saved_slots import STATES, SavedSlots
from jaxrec.metric_names import larger_is_better
from jaxrec.metrics import METRICS
from jaxrec.settings import Tree
from jaxrec.sweep.effects import check_effects
from jaxrec.sweep.finalists import Finalists, confirm
from jaxrec.sweep.objectives import Goals, goals, value_of, violated
from jaxrec.sweep.pbt import LINEAGE, Segment, ancestry_of, schedule
from jaxrec.sweep.plan import Plan
from jaxrec.sweep.pruning import Pruning
from jaxrec.sweep.runner import SlotRunner
from jaxrec.sweep.space import Space, Values, grid, is_searched, reaching
from jaxrec.sweep.trials import best, ranked
from jaxrec.sweep.verdict import verdict
from jaxrec.sweep.warm_start import ADDED, open_source
from jaxrec.sweep.workers import own_states

UNLIMITED = 1_000_000  # trials of a search that only its timeout ends


@dataclass(frozen=True)
class Search:
    """Settings of conf/sweep; the keys are documented there."""

    n_trials: PositiveInt | None  # None: as many as fit into the timeout
    population: PositiveInt  # "auto" is replaced by `jaxrec.launch`
    sampler: Literal["auto", "tpe", "random", "cmaes", "qmc", "nsga2", "gp", "grid"]
    seed: NonNegativeInt
    refit: bool
    pruner: Literal["none", "median", "percentile", "halving", "hyperband", "wilcoxon"]
    space: Values
    tunes: Values = field(default_factory=dict)
    study_name: str | None = None
    storage: str | None = None
    timeout: PositiveFloat | None = None
    warm_start: str | None = None
    workers: PositiveInt = 1
    models: tuple[str, ...] = ()
    finalists: PositiveInt = 1
    finalist_seeds: PositiveInt = 3
    strategy: Literal["search", "pbt"] = "search"
    interval: PositiveInt | None = None
    objectives: tuple[str, ...] = ()
    constraints: tuple[str, ...] = ()
    keep: Literal["best", "front"] = "best"

    def measuring(self, tree: Tree) -> Tree:
        """Return a configuration that reports the objectives and constraints, too: they are added to eval.metrics."""
        reported = settings.get(tree, "eval.metrics")
        named = [*self.objectives, *(re.split("[<>]=", text)[0].strip() for text in self.constraints)]
        lists = [name.rpartition("@")[0] for name in named if name not in settings.build(tree["eval"]).measured]
        missing = [name for name in dict.fromkeys(lists) if name in METRICS and name not in (reported or ())]
        return settings.put(tree, {"eval.metrics": (*reported, *missing)}) if reported and missing else tree

    def goals(self, tree: Tree) -> Goals:
        """Return further objectives and constraints of a search with this configuration."""
        if self.keep == "front" and len(self.objectives) < 2:
            raise InputError("sweep.keep=front needs several objectives: set sweep.objectives, or sweep.keep=best")
        evaluation = settings.build(tree["eval"])
        return goals(self.objectives, self.constraints, evaluation.monitor, evaluation.measured)


@dataclass(frozen=True, eq=False)
class Tuning:
    """Settings shared by all trials, and the search space.

    Args:
        tree: a composed configuration.
        space: dimensions by config key, or by config group (e.g. `model`), for which the configuration is recomposed.
        compose: composes the configuration with additional overrides.
        goals: further objectives, and constraints.
    """

    tree: Tree
    space: Space
    compose: Callable[[Sequence[str]], Tree]
    goals: Goals = field(default_factory=Goals)

    @property
    def fixed(self) -> Values:
        """Settings shared by all trials, by key."""
        leaves = settings.flat(self.tree)
        own = {key for key in leaves if key.startswith("sweep.") or key in self.space}
        own |= {"trainer.save_minutes", settings.SCHEDULE}
        return {key: value for key, value in leaves.items() if key not in own}

    @property
    def monitor(self) -> str:
        """The validation metric to optimize."""
        return str(self.tree["eval"]["monitor"])

    @property
    def extremes(self) -> dict[str, list[Any]]:
        """Bounds or choices of every dimension."""
        return {key: dimension.extremes() for key, dimension in self.space.items()}

    def largest_population(self, selection: Selection) -> int:
        """Return the largest number of trials that fits into a device and still gains; see `fitting.capacity`."""
        _, shared, population = settings.program_of(self.tree, self.extremes)
        model, _ = experiment.prepared(shared, selection)
        trainer: Any = experiment.trainer(shared)
        if not isinstance(trainer, GradientFit):
            return ON_CPU
        program = lambda n: trainer.program(model, selection.train, population.hyper, n)  # noqa: E731
        return largest_population(program, population.hyper_of(0))

    def runner(self, selection: Selection, n_slots: int, directory: Path | None = None) -> SlotRunner:
        """Return a runner of trials, which saves its training states in a sweep directory, if given."""
        minutes = settings.get(self.tree, "trainer.save_minutes")
        saved = None
        if directory is not None:
            folder = directory / STATES / "0" if minutes is None else own_states(directory)
            saved = SavedSlots(folder, minutes, is_shared=True)
        return SlotRunner(self.tree_of, self.extremes, selection, n_slots, saved, self.goals)

    @property
    def default(self) -> Values | None:
        """The configured values of all dimensions, tried first; None if one is not in its dimension."""
        leaves, params = settings.flat(self.tree), Values()
        for key, dimension in self.space.items():
            if is_searched(dimension, params):
                if key not in leaves or not dimension.contains(leaves[key]):
                    return None
                params[key] = leaves[key]
        return params

    def pruning(self, pruner: str) -> Pruning:
        """When trials are ended early; never for models without epochs."""
        epochs = settings.get(self.tree, "trainer.epochs")
        return Pruning(pruner, epochs, settings.get(self.tree, "trainer.validate_every", 1)) if epochs else Pruning()

    def plan(self, chosen: Search, overrides: Sequence[str] = (), warm_start: str | Path | Study | None = None) -> Plan:
        """Return what to search for.

        Args:
            chosen: settings of the search.
            overrides: command-line overrides to store in the study.
            warm_start: name, sweep directory or study to start from.
        """
        metric = f"validation {self.monitor}"
        if chosen.n_trials is None and chosen.timeout is None:
            raise InputError("sweep.n_trials=null needs a time limit: set sweep.timeout in minutes, or sweep.n_trials")
        return Plan(
            space=self.space,
            n_trials=chosen.n_trials or UNLIMITED,
            population=chosen.population,
            metric=metric,
            fixed=self.fixed,
            sampler=chosen.sampler,
            seed=chosen.seed,
            direction="maximize" if larger_is_better(self.monitor) else "minimize",
            first=self.default,
            pruning=Pruning() if self.goals.objectives else self.pruning(chosen.pruner),
            goals=self.goals,
            timeout=chosen.timeout,
            source=None if warm_start is None else open_source(warm_start, chosen.storage, metric),
            overrides=overrides,
        )

    def tree_of(self, params: Values) -> Tree:
        """Return the configuration of a trial."""
        leaves = settings.flat(self.tree)
        if all(key in leaves for key in params):
            return settings.put(self.tree, params)
        return self.compose([override(key, value) for key, value in params.items()])

    def scheduled(self, segments: Sequence[Segment], epochs: int, slots: int) -> Tree:
        """Return the configuration that trains the ancestry of a member of a population from scratch."""
        content = settings.tuples(schedule(segments, epochs, self.extremes, slots))
        changes = {settings.SCHEDULE: content, "trainer.epochs": epochs, "trainer.patience": None}
        return settings.put(self.tree_of(segments[-1].params), changes)

    def winner_tree(self, study: Study, winner: FrozenTrial, refit: bool = False) -> Tree:
        """Return the configuration of the best trial; of a population, with the schedule of its settings."""
        if LINEAGE not in winner.user_attrs:
            tree = self.tree_of(winner.params)
        else:
            slots = study.user_attrs["fixed"]["sweep.population"]
            tree = self.scheduled(ancestry_of(study, winner), winner.user_attrs["best_epoch"], slots)
        return tree | {"refit": self.tree["refit"] or refit}

    def check(self) -> None:
        """Raise an InputError if a bound of the space is out of range or a key has no effect."""
        if settings.get(self.tree, settings.SCHEDULE):
            raise InputError(f"{settings.SCHEDULE} sets the settings of a run: it cannot be combined with a search")
        for corner in self._corners():
            composed = self.tree_of(corner)
            settings.check(composed)
            for key, dimension in self.space.items():
                if not dimension.when or key in corner:
                    check_effects(composed, key)

    def check_data(self, split: Split) -> None:
        """Raise an InputError if a trial at a bound of the space would fail on this data."""
        for corner in self._corners():
            experiment.check(self.tree_of(corner), split.selection)
        if split.selection.validation is None:
            raise InputError("a search needs validation data: set split.validation_fraction or data.validation")

    def _corners(self) -> list[Values]:
        """Return the bounds of every dimension, combined with every choice of config groups such as `model`."""
        leaves = settings.flat(self.tree)
        groups = {key: d for key, d in self.space.items() if key not in leaves and "." not in key}
        corners = []
        for choice in grid(groups) if groups else [{}]:
            bounds = [
                reaching(self.space, key) | choice | {key: value}
                for key, dimension in self.space.items()
                if key not in groups
                for value in dimension.extremes()
            ]
            searched = [params for params in bounds if all(is_searched(self.space[key], params) for key in params)]
            corners += searched or [choice]
        return corners


@dataclass(frozen=True, eq=False)
class Tuned:
    """Result of a finished search.

    Attributes:
        study: all trials.
        winner: the best trial by validation.
        tree: configuration of the winner.
        result: run of the winner, including test metrics.
        notes: reasons to doubt the winner; see `verdict`.
        finalists: comparison of the best trials over new seeds, which chose the winner; None: the best value won.
    """

    study: Study
    winner: FrozenTrial
    tree: Tree
    result: Result
    notes: list[str]
    finalists: Finalists | None = None


def trained(
    tuning: Tuning, tree: Tree, selection: Selection, n_slots: int, saved: SavedSlots | None = None
) -> tuple[Tree, Selected]:
    """Train a trial again, by the same program; return the settings of the program and the trained model.

    Args:
        tuning: the search.
        tree: settings of the trial.
        selection: training and validation data.
        n_slots: number of slots of the search; a sequence model in fewer slots than devices splits its batches.
        saved: its parameters, if another process has handed them over: then nothing is trained.
    """
    _, shared, population = settings.program_of(tree, tuning.extremes)
    return shared, experiment.select(shared, selection, population, saved=saved, n_slots=n_slots)


def finish(
    tuning: Tuning,
    chosen: Search,
    plan: Plan,
    runner: SlotRunner,
    study: Study,
    split: Split,
    load_s: float = 0.0,
    on_epoch: OnEpoch = experiment.quiet,
) -> Tuned:
    """Evaluate the best trial on the test split; it is trained again only if another process trained it and
    did not hand it over.

    With several finalists, the best trial is the one with the best mean over new seeds; see `finalists`.

    The training states of a search whose trials have all ended are removed.

    Raises:
        KeyboardInterrupt: it was interrupted while it was trained again.
    """
    winner, finalists = best(study), None
    equal = [trial for trial in ranked(study) if len(violated(trial)) == len(violated(winner))]
    trials = {trial.number: trial for trial in equal[: chosen.finalists]}
    if len(trials) > 1 and settings.is_random(tuning.tree):
        finalists = confirm(
            [*trials.values()],
            chosen.finalist_seeds,
            lambda trial: tuning.winner_tree(study, trial),
            lambda tree: settings.program_of(tree, tuning.extremes),
            split.selection,
            on_epoch,
        )
        winner = trials[finalists.winner]
    tree = tuning.winner_tree(study, winner, chosen.refit)
    if runner.kept is not None and runner.kept.number == winner.number:
        selected, shared = runner.kept.selected, runner.kept.tree | {"refit": tree["refit"]}
    else:  # by the same program, so that the numbers are the same
        shared, selected = trained(tuning, tree, split.selection, chosen.population, runner.handed_over(winner.number))
    (result,) = experiment.finish(shared, split, selected, load_s)
    if result.metrics["interrupted"]:
        raise KeyboardInterrupt
    if broken := violated(winner):
        result.metrics["violated_constraints"] = broken
    baseline = experiment.popularity_on_validation(tuning.tree, split.selection)
    if LINEAGE in winner.user_attrs:  # its parameters were not those of all epochs
        notes = verdict(study, {}, baseline, settings.get(tuning.tree, "trainer.epochs"), winner)
    else:
        notes = verdict(study, tuning.space, baseline, settings.get(tree, "trainer.epochs"), winner)
    if (n_ended := plan.counts(study)[0]) < plan.total < UNLIMITED:
        notes.append(f"{n_ended} of {plan.total} trials have ended: start the same search again to continue it")
    elif runner.saved is not None and n_ended >= plan.total:
        runner.saved.remove()
    value = selected.validation[0][tuning.monitor]
    if (origin := winner.user_attrs.get(ADDED)) and value != value_of(winner):
        notes.append(
            f"the best trial is {origin} of sweep.warm_start; trained with the settings of this search, its "
            f"validation {tuning.monitor} is {value:.4g} instead of {value_of(winner):.4g}"
        )
    if finalists is not None:
        notes.append(finalists.sentence)
    return Tuned(study, winner, tree, result, notes, finalists)
