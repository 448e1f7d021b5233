"""Settings that the trials of a search share, and the dimensions in which they differ."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from optuna.study import Study
from optuna.trial import FrozenTrial

from jaxrec import experiment, settings
from jaxrec.command_line import override
from jaxrec.data.splits.split import Selection, Split
from jaxrec.errors import InputError
from jaxrec.fitting.capacity import ON_CPU, largest_population
from jaxrec.fitting.gradient import GradientFit
from jaxrec.fitting.saved_slots import STATES, SavedSlots
from jaxrec.metric_names import larger_is_better
from jaxrec.settings import Tree
from jaxrec.sweep.effects import check_effects
from jaxrec.sweep.objectives import Goals
from jaxrec.sweep.outcome import STOPPED
from jaxrec.sweep.pbt import LINEAGE, Segment, ancestry_of, schedule
from jaxrec.sweep.plan import UNLIMITED, Plan
from jaxrec.sweep.pruning import Pruning
from jaxrec.sweep.runner import SlotRunner
from jaxrec.sweep.search_settings import Search
from jaxrec.sweep.space import Interval, Space, Value, Values, grid, is_searched, reaching
from jaxrec.sweep.trials import epochs_to_repeat
from jaxrec.sweep.user_values import UserValues
from jaxrec.sweep.warm_start import open_source
from jaxrec.sweep.workers import own_states


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
        """Settings shared by all trials, and on which they depend, by key."""
        leaves = settings.flat(self.tree)
        own = {key for key in leaves if key.startswith("sweep.") or key in self.space}
        own |= {"trainer.save_minutes", "eval.test_metrics", settings.SCHEDULE}
        return {key: value for key, value in leaves.items() if key not in own}

    @property
    def monitor(self) -> str:
        """The validation metric to optimize."""
        return str(self.tree["eval"]["monitor"])

    @property
    def extremes(self) -> dict[str, list[Value]]:
        """Bounds or choices of every dimension."""
        return {key: dimension.extremes() for key, dimension in self.space.items()}

    def largest_population(self, selection: Selection) -> int:
        """Return the largest number of trials that fits into a device and still gains; see `fitting.capacity`."""
        _, shared, population = settings.program_of(self.tree, self.extremes)
        model, _ = experiment.model_and_evaluator(shared, selection)
        trainer = experiment.trainer(shared)
        if not isinstance(trainer, GradientFit):
            return ON_CPU
        program = lambda n: trainer.program(model, selection.train, population.hyper, n)  # noqa: E731
        return largest_population(program, population.hyper_of(0))

    def runner(self, selection: Selection, n_slots: int, directory: Path | None = None) -> SlotRunner:
        """Return a runner of trials, which saves their states and values of users in a sweep directory, if given."""
        minutes = settings.get(self.tree, "trainer.save_minutes")
        saved = None
        if directory is not None:
            folder = directory / STATES / "0" if minutes is None else own_states(directory)
            saved = SavedSlots(folder, minutes, is_shared=True)
        return SlotRunner(self.tree_of, self.extremes, selection, n_slots, saved, self.goals, UserValues(directory))

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
        """Return the pruning of trials; none for models without epochs."""
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

    def tree_of_trial(self, trial: FrozenTrial) -> Tree:
        """Return the configuration of an ended trial; of one that was stopped, with the epochs it was trained for."""
        tree = self.tree_of(trial.params)
        if STOPPED not in trial.user_attrs:
            return tree
        epochs = epochs_to_repeat(trial, settings.get(tree, "trainer.validate_every"))
        return settings.put(tree, {"trainer.epochs": epochs})

    def scheduled(self, segments: Sequence[Segment], epochs: int, slots: int) -> Tree:
        """Return the configuration that trains the ancestry of a member of a population from scratch."""
        content = settings.tuples(schedule(segments, epochs, self.extremes, slots))
        changes = {settings.SCHEDULE: content, "trainer.epochs": epochs, "trainer.patience": None}
        return settings.put(self.tree_of(segments[-1].params), changes)

    def winner_tree(self, study: Study, winner: FrozenTrial, refit: bool = False) -> Tree:
        """Return the configuration of the best trial; of a population, with the schedule of its settings."""
        if LINEAGE not in winner.user_attrs:
            tree = self.tree_of_trial(winner)
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
            try:
                settings.check(composed)
            except InputError as error:
                raise self._with_hint(error) from error
            for key, dimension in self.space.items():
                if not dimension.when or key in corner:
                    check_effects(composed, key)

    def _with_hint(self, error: InputError) -> InputError:
        """Return an error, with advice if a dimension of floats is one of a setting of integers."""
        dimension = self.space.get(str(error).partition("=")[0])
        if "must be a valid integer" in str(error) and isinstance(dimension, Interval) and not dimension.integer:
            return InputError(f"{error}; integers are 'KEY=int(interval(LOW,HIGH))', or in a file integer: true")
        return error

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
