"""Hyperparameter tuning of a run: batches of trials are trained as populations, and the winner is tested."""

from collections.abc import Callable, Iterator, Sequence
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
from jaxrec.data.splits.split import Split
from jaxrec.errors import InputError
from jaxrec.experiment import Result, Selected
from jaxrec.fitting.population import Population
from jaxrec.metric_names import larger_is_better
from jaxrec.settings import Tree
from jaxrec.sweep.effects import check_effects
from jaxrec.sweep.search import Outcome, search
from jaxrec.sweep.space import Space
from jaxrec.sweep.trials import best
from jaxrec.sweep.verdict import verdict

Select = Callable[[Tree, Split, Population], Selected]  # fits a population and shows its progress


@dataclass(frozen=True)
class Search:
    """Settings of conf/sweep; the keys are documented there."""

    n_trials: PositiveInt
    population: PositiveInt
    sampler: Literal["tpe", "random", "cmaes", "qmc", "nsga2", "grid"]
    seed: NonNegativeInt
    refit: bool
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
        own = {key for key in leaves if key.startswith("sweep.") or key == "overwrite" or key in self.space}
        return {key: value for key, value in leaves.items() if key not in own}

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
    split: Split,
    *,
    name: str,
    storage: BaseStorage,
    directory: Path,
    select: Select,
    overrides: Sequence[str] = (),
    on_tell: Callable[[FrozenTrial], None] | None = None,
    on_batch: Callable[[int, int], None] | None = None,
) -> Study:
    """Run the trials; see `search` for the arguments."""
    monitor = tuning.tree["eval"]["monitor"]

    def evaluate(batch: list[dict[str, Any]]) -> Iterator[Outcome]:
        trees = [tuning.tree_of(params) for params in batch]
        outcomes: dict[int, Outcome] = {}
        for positions, shared, population in settings.populations(trees):
            selected = select(shared, split, population)
            if selected.fit.interrupted:
                raise KeyboardInterrupt
            for member, position in enumerate(positions):
                outcomes[position] = _outcome(selected, member, monitor)
        return iter([outcomes[position] for position in range(len(batch))])

    return search(
        study_name=name,
        storage=storage,
        space=tuning.space,
        evaluate=evaluate,
        n_trials=chosen.n_trials,
        population=chosen.population,
        sampler=chosen.sampler,
        seed=chosen.seed,
        metric=f"validation {monitor}",
        fixed=tuning.fixed,
        direction="maximize" if larger_is_better(monitor) else "minimize",
        directory=directory,
        overrides=overrides,
        on_tell=on_tell,
        on_batch=on_batch,
    )


def finish(tuning: Tuning, chosen: Search, study: Study, split: Split, select: Select, load_s: float = 0.0) -> Tuned:
    """Retrain the best trial and evaluate it on the test split."""
    winner = best(study)
    tree = tuning.tree_of(winner.params) | {"refit": tuning.tree["refit"] or chosen.refit}
    ((_, shared, population),) = settings.populations([tree])
    (result,) = experiment.finish(shared, split, select(shared, split, population), load_s)
    baseline = experiment.popularity_on_validation(tuning.tree, split.selection)
    notes = verdict(study, tuning.space, baseline, settings.get(tree, "trainer.epochs"))
    return Tuned(study, winner, tree, result, notes)


def _outcome(selected: Selected, member: int, monitor: str) -> Outcome:
    if failure := experiment.failure(selected, member):
        return Outcome(None, "failed", {"error": failure})
    assert selected.validation is not None  # `Tuning.check_data` requires it
    means = selected.validation.means(member)
    seconds = (selected.fit.compile_s + selected.fit.train_s) / selected.population.size
    attributes = {**means, "best_epoch": selected.fit.best_epoch[member], "seconds": round(seconds, 3)}
    return Outcome(means[monitor], attributes=attributes)
