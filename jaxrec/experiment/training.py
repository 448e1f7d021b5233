"""Training of a population, and selection by its validation metrics; it has no access to test data."""

import time
from dataclasses import dataclass, replace

import jax
import numpy as np
from jaxtyping import PyTree

from jaxrec.data.splits.split import Selection
from jaxrec.evaluation.evaluation import Evaluator
from jaxrec.experiment.parts import model_and_evaluator, trainer
from jaxrec.fitting.epochs import Fit, OnEpoch
from jaxrec.fitting.member import metrics_at
from jaxrec.fitting.population import Population
from jaxrec.fitting.saved_slots import SavedSlots
from jaxrec.models.model import Model
from jaxrec.settings import Tree


def no_progress(epoch: int, rows: list[dict[str, float]]) -> None:
    """Ignore progress."""


@dataclass
class Selected:
    """Trained population and the validation metrics of each member, independent of the test split."""

    model: Model
    population: Population
    fit: Fit
    validation: list[dict[str, float]]  # empty dicts without validation data
    evaluate_s: float = 0.0


def select(
    tree: Tree,
    selection: Selection,
    population: Population,
    on_epoch: OnEpoch = no_progress,
    saved: SavedSlots | None = None,
    n_slots: int = 1,
) -> Selected:
    """Train every member, with early stopping if there is validation data.

    Args:
        tree: the settings.
        selection: training and validation data.
        population: seeds and hyperparameters of the members.
        on_epoch: called after each epoch.
        saved: training states of a process that ended, which are continued and written; None: nothing is written.
        n_slots: minimum number of slots of the program.
    """
    return train(tree, selection, population, *model_and_evaluator(tree, selection), on_epoch, saved, n_slots)


def train(
    tree: Tree,
    selection: Selection,
    population: Population,
    model: Model,
    evaluator: Evaluator | None,
    on_epoch: OnEpoch = no_progress,
    saved: SavedSlots | None = None,
    n_slots: int = 1,
) -> Selected:
    """Train every member with a model and an evaluator of `model_and_evaluator`; see `select`."""
    validate = evaluator.means if evaluator else None
    fit = trainer(tree)(model, selection.train, population, validate, on_epoch, saved=saved, n_slots=n_slots)
    started = time.perf_counter()
    if evaluator is not None and not any(fit.history):  # closed forms are validated once
        evaluation = evaluator(fit.params, population.hyper)
        validation = [evaluation.means(member) for member in range(population.size)]
    else:
        validation = [metrics_at(rows, best) for rows, best in zip(fit.history, fit.best_epoch, strict=True)]
    return Selected(model, population, fit, validation, time.perf_counter() - started)


def members_of(selected: Selected, members: list[int]) -> Selected:
    """Return a subset of the members of a population."""
    if members == list(range(selected.population.size)):
        return selected
    fit, at = selected.fit, np.array(members)

    def of(tree: PyTree) -> PyTree:
        return jax.tree.map(lambda x: x[at], tree)

    kept = replace(
        fit,
        params=of(fit.params),
        history=[fit.history[m] for m in members],
        best_epoch=[int(fit.best_epoch[m]) for m in members],
        diverged=[bool(fit.diverged[m]) for m in members],
    )
    validation = [selected.validation[m] for m in members]
    population = Population(selected.population.seeds[at], *of(tuple(selected.population[1:])))
    return replace(selected, population=population, fit=kept, validation=validation)
