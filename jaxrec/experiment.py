"""Experiment: split, model, training, full ranking and results, for one run or a population.

Model selection (`select`) takes a `Selection`, which has no test data; only `finish` reads the test split.
"""

import math
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from typing import Any

import jax
import numpy as np
import pandas as pd
from jaxtyping import PyTree

from jaxrec.arguments import locate
from jaxrec.data.features import Encoded
from jaxrec.data.interactions import Interactions
from jaxrec.data.splits.split import HeldOut, Selection, Split
from jaxrec.errors import InputError
from jaxrec.evaluation import cost
from jaxrec.evaluation.candidates import CandidateEvaluation
from jaxrec.evaluation.evaluation import Evaluation, Evaluator, RankedLists
from jaxrec.evaluation.full_catalog import FullCatalog
from jaxrec.evaluation.groups import by_group
from jaxrec.fallback import Fallback, Trained, folding, trained_on
from jaxrec.features import sizes, wanted
from jaxrec.fitting.closed_form import ClosedForm
from jaxrec.fitting.epochs import Fit, OnEpoch
from jaxrec.fitting.gradient import GradientFit
from jaxrec.fitting.member import metrics_at
from jaxrec.fitting.population import Population
from jaxrec.fitting.saved_slots import EpochRow, SavedSlots
from jaxrec.hyper import Hyper
from jaxrec.mesh import rows_over
from jaxrec.models.model import Model, Params
from jaxrec.models.popularity import Popularity
from jaxrec.settings import Tree, build, get

DIVERGED = "training diverged: decrease optimizer.learning_rate, or limit gradients by optimizer.clip_norm"

UNDEFINED = "the validation metric eval.monitor is undefined on this data: choose another eval.monitor"


def quiet(epoch: int, rows: list[dict[str, float]]) -> None:
    """Ignore progress."""


@dataclass
class Selected:
    """Trained population and the validation metrics of each member, independent of the test split."""

    model: Model
    population: Population
    fit: Fit
    validation: list[dict[str, float]]  # empty dicts without validation data
    evaluate_s: float = 0.0


@dataclass
class Result:
    """Result of one member; units are documented under run directory in the README."""

    metrics: Tree
    per_user: pd.DataFrame
    history: pd.DataFrame
    model: Model
    params: Params
    hyper: Hyper
    known: Interactions = field(repr=False)
    lists: RankedLists | None = field(default=None, repr=False)
    trained: Trained | None = field(default=None, repr=False)


def prepare(tree: Tree) -> tuple[Split, float]:
    """Read the data and split it; return the split and the duration in seconds."""
    started = time.perf_counter()
    return build(tree["split"], interactions=build(tree["data"])), time.perf_counter() - started


def select(
    tree: Tree,
    selection: Selection,
    population: Population,
    on_epoch: OnEpoch = quiet,
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
        n_slots: least number of slots of the program.
    """
    return train(tree, selection, population, *prepared(tree, selection), on_epoch, saved, n_slots)


def train(
    tree: Tree,
    selection: Selection,
    population: Population,
    model: Model,
    evaluator: Evaluator | None,
    on_epoch: OnEpoch = quiet,
    saved: SavedSlots | None = None,
    n_slots: int = 1,
) -> Selected:
    """Train every member with a model and an evaluator of `prepared`; see `select`."""
    validate = evaluator.means if evaluator else None
    fit = trainer(tree)(model, selection.train, population, validate, on_epoch, saved=saved, n_slots=n_slots)
    started = time.perf_counter()
    if evaluator is not None and not any(fit.history):  # closed forms are validated once
        evaluation = evaluator(fit.params, population.hyper)
        validation = [evaluation.means(member) for member in range(population.size)]
    else:
        validation = [metrics_at(rows, best) for rows, best in zip(fit.history, fit.best_epoch, strict=True)]
    return Selected(model, population, fit, validation, time.perf_counter() - started)


def prepared(tree: Tree, selection: Selection) -> tuple[Model, Evaluator | None]:
    """Build the model for this data, and the evaluator of its validation part if there is one.

    Raises:
        InputError: the settings do not fit the data.
    """
    train, validation = selection.train, selection.validation
    evaluation, model, evaluated_model, known = _parts(tree, selection)
    if validation is None:
        return model, None
    fallback = Fallback(trained_on(train), folding(evaluated_model, _longest(known)))
    with _tables_split(tree):
        evaluator = evaluation.evaluator(evaluated_model, validation, fallback)
    if why := evaluator.undefined.get(evaluation.monitor):
        raise InputError(f"validation {evaluation.monitor} is undefined: {why}")
    return model, evaluator


def failure(selected: Selected, member: int) -> str | None:
    """Return why a member failed: divergence or an undefined monitor metric; None if it did not."""
    history, validation = selected.fit.history[member], selected.validation[member]
    if selected.fit.diverged[member]:
        return failure_of(history) if history else "interrupted before its first epoch"
    if validation and not any(map(math.isfinite, validation.values())):
        return DIVERGED
    return None


def _numbers(population: Population, member: int) -> str:
    """Return the numbers of a member that differ from those of others, as text."""
    values = {path: np.asarray(value) for path, value in population.hyper.numbers.items()}
    own = [f"{path}={value[member]:g}" for path, value in values.items() if len(np.unique(value)) > 1]
    return f", member {member}: {', '.join(own)}" if own else ""


def failure_of(history: Sequence[EpochRow]) -> str:
    """Return why no epoch of a member had a finite loss and score."""
    row = next((row for row in history if math.isfinite(row["loss"])), None)
    if row is not None and _only_monitor_missing(row):
        return UNDEFINED
    last = history[-1]
    return f"{DIVERGED} (loss {last['loss']:g} in epoch {last['epoch']})"


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


def check(tree: Tree, selection: Selection) -> None:
    """Raise an InputError for settings that do not fit the data."""
    _parts(tree, selection)


def _parts(tree: Tree, selection: Selection) -> tuple[FullCatalog | CandidateEvaluation, Model, Model, Interactions]:
    """Build the evaluation, the model, and the model that is evaluated; return them with the known interactions."""
    train, validation = selection.train, selection.validation
    evaluation: FullCatalog | CandidateEvaluation = build(tree["eval"])
    known = train if validation is None else validation.context()
    model = _model(tree, known)
    _check_features(model, train.encoded)
    evaluated_model = _for_users(model, selection, known)
    _check_positions(trainer(tree), train)
    return evaluation, model, evaluated_model, known


def n_parameters(tree: Tree, selection: Selection) -> int:
    """Return the number of parameters of the model with these settings."""
    train = selection.train
    return cost.n_parameters(_model(tree, train), train.encoded)


def latency(model: Model, selection: Selection) -> cost.Latency:
    """Return a measurement of the time to rank with a model; see `Latency`."""
    known = selection.train if selection.validation is None else selection.validation.context()
    return cost.Latency(_for_users(model, selection, known), known)


def popularity_on_validation(tree: Tree, selection: Selection) -> dict[str, float]:
    """Return validation metrics of the popularity baseline; empty without validation data."""
    if selection.validation is None:
        return {}
    return _popularity(build(tree["eval"]), selection.train, selection.validation).means(0)


def finish(tree: Tree, split: Split, selected: Selected, load_s: float = 0.0) -> list[Result]:
    """Evaluate every member on the test split, together with the popularity baseline.

    With `refit`, every member is first retrained on train and validation for its best number of epochs.

    Args:
        tree: the settings.
        split: the data.
        selected: the trained population.
        load_s: seconds spent on reading the data.

    Returns:
        One result per member.

    Raises:
        InputError: a member diverged or returned non-finite scores.
    """
    selection, fit = split.selection, selected.fit
    if any(fit.diverged):
        first = fit.diverged.index(True)
        name = type(selected.model).__name__
        raise InputError(f"{name}: {failure(selected, first)}{_numbers(selected.population, first)}")
    fitted_on = selection.train
    if tree["refit"] and selection.validation is not None and not fit.interrupted:
        fitted_on = selection.joined()
        fit = trainer(tree)(_model(tree, fitted_on), fitted_on, selected.population, epochs=fit.best_epoch)
    known = split.test.known
    evaluation: FullCatalog | CandidateEvaluation = build(tree["eval"])
    started = time.perf_counter()
    context = split.test.context()
    evaluated_model = _for_users(_model(tree, context), selection, context)
    trained = trained_on(fitted_on)
    fallback = Fallback(trained, folding(evaluated_model, _longest(context)))
    with _tables_split(tree):
        evaluator = evaluation.evaluator(evaluated_model, split.test, fallback)
    hyper = selected.population.at(selected.fit.best_epoch)
    test = evaluator(fit.params, hyper)
    if not test.finite.all():
        raise InputError(f"{type(selected.model).__name__} returned non-finite scores: {DIVERGED}")
    evaluate_s = selected.evaluate_s + selected.fit.validate_s + time.perf_counter() - started
    popular = _popularity(evaluation, fitted_on, split.test)
    length = evaluation.monitor.partition("@")[2] or evaluation.k[0]  # prediction errors have no list length
    groups = by_group(test, fitted_on, int(length))
    (popular_groups,) = by_group(popular, fitted_on, int(length))
    seconds = {
        "load_s": load_s,
        "compile_s": selected.fit.compile_s + (fit.compile_s if fit is not selected.fit else 0.0),
        "train_s": selected.fit.train_s + (fit.train_s if fit is not selected.fit else 0.0),
        "evaluate_s": evaluate_s,
    }
    return [
        Result(
            metrics={
                "validation": selected.validation[member],
                "test": test.means(member),
                "test_interval": test.intervals(member),
                "test_groups": groups[member],
                "popularity": popular.means(0),
                "popularity_groups": popular_groups,
                "undefined": dict(evaluator.undefined),
                "best_epoch": selected.fit.best_epoch[member],
                "refit": fit is not selected.fit,
                "interrupted": selected.fit.interrupted or fit.interrupted,
                "data": facts(split),
                "time": {key: round(value, 3) for key, value in seconds.items()},
                "environment": environment(selected.fit.placement),
            },
            per_user=test.table(member, known),
            history=pd.DataFrame(selected.fit.history[member]),
            model=evaluator.model,
            params=jax.tree.map(lambda x: np.asarray(x[member]), fit.params),  # noqa: B023
            hyper=jax.tree.map(lambda x: x[member], hyper),  # noqa: B023
            known=known,
            lists=test.shown(member),
            trained=trained,
        )
        for member in range(selected.population.size)
    ]


def finish_each(tree: Tree, split: Split, selected: Selected, load_s: float = 0.0) -> list[Result | str]:
    """Return the result of every member, or its error message, so that one failure does not affect the others."""
    outcomes: list[Result | str] = [failure(selected, m) or "" for m in range(selected.population.size)]
    good = [member for member, failure in enumerate(outcomes) if not failure]
    try:
        results = finish(tree, split, members_of(selected, good), load_s) if good else []
    except InputError as error:
        if len(good) == 1:
            outcomes[good[0]] = str(error)
            return outcomes
        individual = [finish_each(tree, split, members_of(selected, [m]), load_s)[0] for m in good]
    else:
        individual = [*results]
    for member, outcome in zip(good, individual, strict=True):
        outcomes[member] = outcome
    return outcomes


def facts(split: Split) -> Tree:
    """Return dataset sizes, notes of the split, and counts of rows repaired while reading."""
    train, validation = split.selection.train, split.selection.validation
    held_out = 0 if validation is None else len(validation.target)
    sizes = {"train": len(train), "validation": held_out, "test": len(split.test.target)}
    counts = {"users": train.n_users, "items": train.n_items, "interactions": sum(sizes.values()), **sizes}
    return {**counts, **split.notes, "reading": dict(train.notes)}


def environment(placement: str) -> Tree:
    """Return versions and hardware, for reproducibility."""
    import platform

    import jaxlib

    from jaxrec import __version__

    device = jax.devices()[0]
    return {
        "jaxrec": __version__,
        "python": platform.python_version(),
        "jax": jax.__version__,
        "jaxlib": jaxlib.__version__,
        "backend": device.platform,
        "device": device.device_kind,
        "machine": platform.machine(),
        "devices": jax.device_count(),
        "placement": placement,
    }


def _tables_split(tree: Tree) -> AbstractContextManager[None]:
    """Rank on the devices over which training splits tables."""
    return rows_over(get(tree, "trainer.mesh.row", 1))


def _only_monitor_missing(row: EpochRow) -> bool:
    metrics = [value for key, value in row.items() if key not in ("epoch", "loss", "seconds")]
    return any(map(math.isnan, metrics)) and any(map(math.isfinite, metrics))


def _model(tree: Tree, known: Interactions) -> Model:
    """Build the model for this data; without its own history_length it gets full histories."""
    runtime: Tree = {
        "n_users": known.n_users,
        "n_items": known.n_items,
        "history_length": _longest(known),
        "density": known.n_targets / max(1, known.n_users * known.n_items),
    }
    if wanted(locate(tree["model"]["_target_"])):
        runtime |= sizes(known.encoded)
    return build(tree["model"], **{name: value for name, value in runtime.items() if name not in tree["model"]})


def _check_features(model: Model, encoded: Encoded | None) -> None:
    """Raise an InputError if the model needs features and the data has none."""
    if not model.needs_features:
        return
    parts = [part for part in (encoded.of_users, encoded.of_items) if part is not None] if encoded else []
    if any(part.schema.categories or part.schema.bags or part.schema.numbers for part in parts):
        return
    left_out = {column: why for part in parts for column, why in part.schema.left_out.items()}
    reason = (
        f"none of the columns can be used ({'; '.join(f'{c}: {w}' for c, w in left_out.items())})" if left_out else ""
    )
    raise InputError(
        f"{type(model).__name__} learns from features of users and items, and {reason or 'this data has none'}: set "
        "data.user_features and data.item_features to files, or choose a model without features, e.g. model=mf"
    )


def _check_positions(fitter: object, train: Interactions) -> None:
    """Raise an InputError if the data has display positions and the loss does not use them."""
    learns = isinstance(fitter, GradientFit) and fitter.objective.reads_positions
    if train.position is not None and not learns:
        raise InputError(
            "data.position_column is only used by loss=click and loss=mse; with other losses also set "
            "data.label_column, and clicks are weighted by inverse examination propensity"
        )


def _for_users(model: Model, selection: Selection, known: Interactions) -> Model:
    """Return the model for evaluation; users without training data are described by their history.

    Raises:
        InputError: the model cannot score new users.
    """
    if not selection.new_users:
        return model
    if not model.reads_ids:
        return model
    evaluated_model = model.by_history(_longest(known))
    if evaluated_model is None:
        raise InputError(
            f"all evaluated users are new, without training data, and {type(model).__name__} knows users only by their "
            "id: choose a model that reads histories or folds in new users, e.g. model=ease or model=ials, "
            "model=popularity, or a split that trains on every user, e.g. split=holdout"
        )
    return evaluated_model


def _longest(known: Interactions) -> int:
    """Return the length of the longest history."""
    return int(np.bincount(known.user).max(initial=1))


def trainer(tree: Tree) -> Any:
    """Build the trainer of these settings, e.g. `GradientFit` or `ClosedForm`."""
    runtime: Tree = {"monitor": tree["eval"]["monitor"]}
    if "_target_" in tree["loss"]:
        negatives = build(tree["negatives"]) if "_target_" in tree["negatives"] else None
        runtime |= {"objective": build(tree["loss"], negatives=negatives)}
        runtime |= {"optimizer": build(tree["optimizer"])}
    return build(tree["trainer"], **runtime)


def _popularity(evaluation: FullCatalog | CandidateEvaluation, train: Interactions, test: HeldOut) -> Evaluation:
    one = Population(np.zeros(1, np.int32), Hyper())
    model = Popularity(n_items=train.n_items)
    return evaluation.ranking.evaluator(model, test)(ClosedForm()(model, train, one).params, one.hyper)
