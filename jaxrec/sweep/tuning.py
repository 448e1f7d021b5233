"""Hyperparameter tuning of a run: trials are trained side by side in slots, and the winner is tested."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any, Literal

from optuna.storages import BaseStorage
from optuna.study import Study
from optuna.trial import FrozenTrial
from pydantic import NonNegativeInt, PositiveInt

from jaxrec import experiment, settings
from jaxrec.command_line import override
from jaxrec.data.splits.split import Selection, Split
from jaxrec.errors import InputError
from jaxrec.experiment import Result
from jaxrec.fitting.saved_slots import SavedSlots
from jaxrec.metric_names import larger_is_better
from jaxrec.settings import Tree
from jaxrec.sweep.effects import check_effects
from jaxrec.sweep.pruning import Pruning
from jaxrec.sweep.runner import SlotRunner
from jaxrec.sweep.search import Plan, search
from jaxrec.sweep.space import Space
from jaxrec.sweep.trials import best
from jaxrec.sweep.verdict import verdict


@dataclass(frozen=True)
class Search:
    """Settings of conf/sweep; the keys are documented there."""

    n_trials: PositiveInt
    population: PositiveInt
    sampler: Literal["tpe", "random", "cmaes", "qmc", "nsga2", "grid"]
    seed: NonNegativeInt
    refit: bool
    pruner: Literal["none", "median", "percentile", "halving", "hyperband", "wilcoxon"]
    space: dict[str, Any]
    tunes: dict[str, Any] = field(default_factory=dict)
    study_name: str | None = None
    storage: str | None = None


@dataclass(frozen=True, eq=False)
class Tuning:
    """Settings shared by all trials, and the search space.

    Args:
        tree: a composed configuration.
        space: dimensions by config key, or by config group (e.g. `model`), for which the configuration is recomposed.
        compose: composes the configuration with additional overrides.
    """

    tree: Tree
    space: Space
    compose: Callable[[Sequence[str]], Tree]

    @property
    def fixed(self) -> dict[str, Any]:
        """Settings shared by all trials, by key."""
        leaves = settings.flat(self.tree)
        own = {key for key in leaves if key.startswith("sweep.") or key in self.space or key == "trainer.save_minutes"}
        return {key: value for key, value in leaves.items() if key not in own}

    @property
    def monitor(self) -> str:
        """The validation metric to optimize."""
        return str(self.tree["eval"]["monitor"])

    @property
    def extremes(self) -> dict[str, list[Any]]:
        """Bounds or choices of every dimension."""
        return {key: dimension.extremes() for key, dimension in self.space.items()}

    def runner(self, selection: Selection, n_slots: int, directory: Path | None = None) -> SlotRunner:
        """Return a runner of trials, which saves its training states in a sweep directory, if given."""
        minutes = settings.get(self.tree, "trainer.save_minutes")
        saved = None if directory is None else SavedSlots(directory / "training", minutes)
        return SlotRunner(self.tree_of, self.extremes, selection, n_slots, saved)

    @property
    def default(self) -> dict[str, Any] | None:
        """The configured values of all dimensions, tried first; None if one is not in its dimension."""
        leaves = settings.flat(self.tree)
        inside = all(key in leaves and dimension.contains(leaves[key]) for key, dimension in self.space.items())
        return {key: leaves[key] for key in self.space} if inside else None

    def pruning(self, pruner: str) -> Pruning:
        """When trials are ended early; never for models without epochs."""
        epochs = settings.get(self.tree, "trainer.epochs")
        return Pruning(pruner, epochs, settings.get(self.tree, "trainer.validate_every", 1)) if epochs else Pruning()

    def tree_of(self, params: dict[str, Any]) -> Tree:
        """Return the configuration of a trial."""
        leaves = settings.flat(self.tree)
        if all(key in leaves for key in params):
            return settings.put(self.tree, params)
        return self.compose([override(key, value) for key, value in params.items()])

    def check(self) -> None:
        """Raise an InputError if a bound of the space is out of range or a key has no effect."""
        for corner in self._corners():
            composed = self.tree_of(corner)
            settings.check(composed)
            for key in self.space:
                check_effects(composed, key)

    def check_data(self, split: Split) -> None:
        """Raise an InputError if a trial at a bound of the space would fail on this data."""
        for corner in self._corners():
            experiment.check(self.tree_of(corner), split.selection)
        if split.selection.validation is None:
            raise InputError("a search needs validation data: set split.validation_fraction or data.validation")

    def _corners(self) -> list[dict[str, Any]]:
        """Return the bounds of every dimension, combined with every choice of config groups such as `model`."""
        space, leaves = self.space, settings.flat(self.tree)
        groups = [key for key in space if key not in leaves and "." not in key]
        choices = [dict(zip(groups, values, strict=True)) for values in product(*(space[g].extremes() for g in groups))]
        others = {key: dimension for key, dimension in space.items() if key not in groups}
        return [
            choice | extra
            for choice in choices
            for extra in ([{key: value} for key, d in others.items() for value in d.extremes()] or [{}])
        ]


@dataclass(frozen=True, eq=False)
class Tuned:
    """Result of a finished search.

    Attributes:
        study: all trials.
        winner: the best trial by validation.
        tree: configuration of the winner.
        result: run of the winner, including test metrics.
        notes: reasons to doubt the winner; see `verdict`.
    """

    study: Study
    winner: FrozenTrial
    tree: Tree
    result: Result
    notes: list[str]


def tune(
    tuning: Tuning,
    chosen: Search,
    runner: SlotRunner,
    *,
    name: str,
    storage: BaseStorage,
    directory: Path,
    overrides: Sequence[str] = (),
    on_tell: Callable[[FrozenTrial], None] = lambda trial: None,
    on_round: Callable[[int, int, int], None] = lambda finished, running, total: None,
) -> Study:
    """Train the trials; see `search` for the arguments."""
    plan = Plan(
        space=tuning.space,
        n_trials=chosen.n_trials,
        population=chosen.population,
        metric=f"validation {tuning.monitor}",
        fixed=tuning.fixed,
        sampler=chosen.sampler,
        seed=chosen.seed,
        direction="maximize" if larger_is_better(tuning.monitor) else "minimize",
        first=tuning.default,
        pruning=tuning.pruning(chosen.pruner),
        overrides=overrides,
    )
    return search(
        plan, runner, study_name=name, storage=storage, directory=directory, on_tell=on_tell, on_round=on_round
    )


def finish(
    tuning: Tuning, chosen: Search, runner: SlotRunner, study: Study, split: Split, load_s: float = 0.0
) -> Tuned:
    """Evaluate the best trial on the test split; it is trained again only if another process trained it."""
    winner = best(study)
    tree = tuning.tree_of(winner.params) | {"refit": tuning.tree["refit"] or chosen.refit}
    if runner.kept is not None and runner.kept.number == winner.number:
        selected, shared = runner.kept.selected, runner.kept.tree | {"refit": tree["refit"]}
    else:  # by the same program, so that the numbers are the same
        _, shared, population = settings.program_of(tree, tuning.extremes)
        selected = experiment.select(shared, split.selection, population)
    (result,) = experiment.finish(shared, split, selected, load_s)
    baseline = experiment.popularity_on_validation(tuning.tree, split.selection)
    notes = verdict(study, tuning.space, baseline, settings.get(tree, "trainer.epochs"))
    return Tuned(study, winner, tree, result, notes)
