"""An experiment: split → model → fit → exact ranking → results, for one run or a population of them.

What selects (`select`) takes a `Selection`, which has no test split in it; `finish` is the only reader of that.
"""

import math
import time
from collections.abc import Callable
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
from jaxrec.evaluation.candidates import CandidateEvaluation
from jaxrec.evaluation.evaluation import Evaluation, RankedLists
from jaxrec.evaluation.full_catalog import FullCatalog
from jaxrec.evaluation.groups import by_group
from jaxrec.fallback import Fallback, Trained, folding, trained_on
from jaxrec.features import sizes, wanted
from jaxrec.fitting.closed_form import ClosedForm
from jaxrec.fitting.epochs import Fit
from jaxrec.fitting.gradient import GradientFit
from jaxrec.fitting.population import Population
from jaxrec.hyper import Hyper
from jaxrec.models.model import Model, Params
from jaxrec.models.popularity import Popularity
from jaxrec.settings import TRACED, Tree, build

DIVERGED = "training diverged; choose a smaller optimizer.learning_rate"

UNDEFINED = "the metric that validation is judged by (eval.monitor) is not defined here, though training went well"

OnEpoch = Callable[[int, list[dict[str, float]]], None]


def quiet(epoch: int, rows: list[dict[str, float]]) -> None:
    """Says nothing."""


@dataclass
class Selected:
    """A fitted population and its validation metrics; nothing in here has seen the test split."""

    model: Model
    population: Population
    fit: Fit
    validation: Evaluation | None
    evaluate_s: float = 0.0


@dataclass
class Result:
    """What one member came to; see the run directory in the README for the units."""

    metrics: dict[str, Any]
    per_user: pd.DataFrame
    history: pd.DataFrame
    model: Model
    params: Params
    hyper: Hyper
    known: Interactions = field(repr=False)
    lists: RankedLists | None = field(default=None, repr=False)
    trained: Trained | None = field(default=None, repr=False)


def prepare(tree: Tree) -> tuple[Split, float]:
    """Reads the data and splits it; the seconds that took."""
    started = time.perf_counter()
    return build(tree["split"], interactions=build(tree["data"])), time.perf_counter() - started


def select(tree: Tree, selection: Selection, population: Population, on_epoch: OnEpoch = quiet) -> Selected:
    """Fits every member on train, with early stopping on validation where there is one."""
    train, validation = selection.train, selection.validation
    evaluation: FullCatalog | CandidateEvaluation = build(tree["eval"])
    known = train if validation is None else validation.context()
    model = _model(tree, known)
    _check_features(model, train.encoded)
    asked = _asked(model, selection, known)
    fallback = Fallback(trained_on(train), folding(asked, _longest(known)))
    evaluator = evaluation.evaluator(asked, validation, fallback) if validation is not None else None
    if evaluator is not None and (why := evaluator.undefined.get(evaluation.monitor)):
        raise InputError(f"validation {evaluation.monitor} is not defined: {why}")

    def validate(params: Params, hyper: Hyper) -> list[dict[str, float]]:
        assert evaluator is not None
        evaluated = evaluator(params, hyper)
        return [evaluated.means(member) for member in range(population.size)]

    fitter = trainer(tree)
    _check_positions(fitter, train)
    fit = fitter(model, train, population, validate if evaluator else None, on_epoch)
    started = time.perf_counter()
    evaluated = evaluator(fit.params, population.hyper) if evaluator else None
    return Selected(model, population, fit, evaluated, time.perf_counter() - started)


def failure(selected: Selected, member: int) -> str | None:
    """Why a member has no result: it diverged, or the metric that decides is not defined; None where it has one."""
    monitor = next((row for row in selected.fit.history[member] if math.isfinite(row["loss"])), None)
    if selected.fit.diverged[member]:
        return DIVERGED if monitor is None or not _only_monitor_missing(monitor) else UNDEFINED
    if selected.validation is not None and not selected.validation.finite[member]:
        return DIVERGED
    return None


def members_of(selected: Selected, members: list[int]) -> Selected:
    """Some members of a population alone."""
    if members == list(range(selected.population.size)):
        return selected
    fit, validation, at = selected.fit, selected.validation, np.array(members)

    def of(tree: PyTree) -> PyTree:
        return jax.tree.map(lambda x: x[at], tree)

    kept = replace(
        fit,
        params=of(fit.params),
        history=[fit.history[m] for m in members],
        best_epoch=[int(fit.best_epoch[m]) for m in members],
        diverged=[bool(fit.diverged[m]) for m in members],
    )
    if validation is not None:
        names = ("per_user", "overall", "lists", "finite")
        validation = replace(validation, **{name: of(getattr(validation, name)) for name in names})
    population = Population(selected.population.seeds[at], of(selected.population.hyper))
    return replace(selected, population=population, fit=kept, validation=validation)


def check(tree: Tree, selection: Selection) -> None:
    """Builds everything that a fit needs, without fitting; raises an InputError for what does not fit this data."""
    train, validation = selection.train, selection.validation
    build(tree["eval"])
    model = _model(tree, train if validation is None else validation.context())
    _check_features(model, train.encoded)
    _asked(model, selection, train)
    _check_positions(trainer(tree), train)


def popularity_on_validation(tree: Tree, selection: Selection) -> dict[str, float]:
    """Validation metrics of the most popular items of train; empty without validation data."""
    if selection.validation is None:
        return {}
    return _popularity(build(tree["eval"]), selection.train, selection.validation).means(0)


def finish(tree: Tree, split: Split, selected: Selected, load_s: float = 0.0) -> list[Result]:
    """Reads the test split: the test metrics of every member, with popularity's beside them.

    With `refit` every member is first trained again, on train and validation together, for its best number of epochs.
    """
    selection, fit = split.selection, selected.fit
    if any(fit.diverged):
        raise InputError(f"{type(selected.model).__name__}: {DIVERGED}")
    fitted_on = selection.train
    if tree["refit"] and selection.validation is not None and not fit.interrupted:
        fitted_on = selection.joined()
        fit = trainer(tree)(_model(tree, fitted_on), fitted_on, selected.population, epochs=fit.best_epoch)
    known = split.test.known
    evaluation: FullCatalog | CandidateEvaluation = build(tree["eval"])
    started = time.perf_counter()
    context = split.test.context()
    asked = _asked(_model(tree, context), selection, context)
    trained = trained_on(fitted_on)
    evaluator = evaluation.evaluator(asked, split.test, Fallback(trained, folding(asked, _longest(context))))
    test = evaluator(fit.params, selected.population.hyper)
    if not test.finite.all():
        raise InputError(f"{type(selected.model).__name__} gave scores that are not finite: {DIVERGED}")
    evaluate_s = selected.evaluate_s + selected.fit.validate_s + time.perf_counter() - started
    popular = _popularity(evaluation, fitted_on, split.test)
    length = evaluation.monitor.partition("@")[2] or evaluation.k[0]  # errors are of no list
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
                "validation": selected.validation.means(member) if selected.validation else {},
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
            hyper=jax.tree.map(lambda x: x[member], selected.population.hyper),  # noqa: B023
            known=known,
            lists=test.shown(member),
            trained=trained,
        )
        for member in range(selected.population.size)
    ]


def finish_each(tree: Tree, split: Split, selected: Selected, load_s: float = 0.0) -> list[Result | str]:
    """The result of every member, or why it has none: one that diverged does not take the others with it."""
    outcomes: list[Result | str] = [failure(selected, m) or "" for m in range(selected.population.size)]
    good = [member for member, failure in enumerate(outcomes) if not failure]
    try:
        results = finish(tree, split, members_of(selected, good), load_s) if good else []
    except InputError as error:
        if len(good) == 1:
            outcomes[good[0]] = str(error)
            return outcomes
        alone = [finish_each(tree, split, members_of(selected, [m]), load_s)[0] for m in good]
    else:
        alone = [*results]
    for member, outcome in zip(good, alone, strict=True):
        outcomes[member] = outcome
    return outcomes


def facts(split: Split) -> dict[str, Any]:
    """How much data there is, what is worth knowing about how it was split, and what was repaired in reading it."""
    train, validation = split.selection.train, split.selection.validation
    held_out = 0 if validation is None else len(validation.target)
    sizes = {"train": len(train), "validation": held_out, "test": len(split.test.target)}
    counts = {"users": train.n_users, "items": train.n_items, "interactions": sum(sizes.values()), **sizes}
    return {**counts, **split.notes, "reading": dict(train.notes)}


def environment(placement: str) -> dict[str, Any]:
    """Where the numbers were had."""
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


def _only_monitor_missing(row: dict[str, Any]) -> bool:
    metrics = [value for key, value in row.items() if key not in ("epoch", "loss", "seconds")]
    return any(map(math.isnan, metrics)) and any(map(math.isfinite, metrics))


def _model(tree: Tree, known: Interactions) -> Model:
    """For a catalog of this size; a model that states no length of its own gets every history whole."""
    given: dict[str, Any] = {"n_users": known.n_users, "n_items": known.n_items, "history_length": _longest(known)}
    if wanted(locate(tree["model"]["_target_"])):
        given |= sizes(known.encoded)
    return build(tree["model"], **{name: value for name, value in given.items() if name not in tree["model"]})


def _check_features(model: Model, encoded: Encoded | None) -> None:
    """Raises an InputError for a model that lives on features where there are none."""
    if not model.needs_features:
        return
    parts = [part for part in (encoded.of_users, encoded.of_items) if part is not None] if encoded else []
    if any(part.schema.categories or part.schema.bags or part.schema.numbers for part in parts):
        return
    left_out = {column: why for part in parts for column, why in part.schema.left_out.items()}
    said = (
        f"none of the columns can be used ({'; '.join(f'{c}: {w}' for c, w in left_out.items())})" if left_out else ""
    )
    raise InputError(
        f"{type(model).__name__} learns from features of users and items, and {said or 'this data has none'}: name "
        "files of them in data.user_features and data.item_features, or choose a model without, such as model=mf"
    )


def _check_positions(fitter: Any, train: Interactions) -> None:
    """Raises an InputError where the data says at which ranks rows were shown, and nothing would learn from it."""
    learns = isinstance(fitter, GradientFit) and fitter.objective.reads_positions
    if train.position is not None and not learns:
        raise InputError(
            "data.position_column: of where rows were shown only loss=click and loss=mse learn; with other losses name "
            "data.label_column too, and clicks weigh the inverse of how likely their position is looked at"
        )


def _asked(model: Model, selection: Selection, known: Interactions) -> Model:
    """The model as it is asked: about users it was not trained on by what they are known to have done.

    Raises an InputError for a model that could say nothing of them.
    """
    if not selection.new_users:
        return model
    if not model.reads_ids:
        return model
    asked = model.by_history(_longest(known))
    if asked is None:
        raise InputError(
            f"every user who is asked about is new, in no row that is trained on, and {type(model).__name__} knows "
            "users only by their id: choose a model that reads histories or folds new users in, such as model=ease or "
            "model=ials, or model=popularity, or a split that trains on every user, such as split=holdout"
        )
    return asked


def _longest(known: Interactions) -> int:
    """Interactions of the user who has most."""
    return int(np.bincount(known.user).max(initial=1))


def trainer(tree: Tree) -> Any:
    """The fit that these settings describe: `GradientFit` or `ClosedForm`."""
    runtime: dict[str, Any] = {"monitor": tree["eval"]["monitor"]}
    if "_target_" in tree["loss"]:
        negatives = build(tree["negatives"]) if "_target_" in tree["negatives"] else None
        runtime |= {"objective": build(tree["loss"], negatives=negatives)}
        own = TRACED.values()  # given to each member inside the program
        runtime |= {"optimizer": build({k: v for k, v in tree["optimizer"].items() if f"optimizer.{k}" not in own})}
    return build(tree["trainer"], **runtime)


def _popularity(evaluation: FullCatalog | CandidateEvaluation, train: Interactions, test: HeldOut) -> Evaluation:
    one = Population(np.zeros(1, np.int32), Hyper(*np.zeros((5, 1), np.float32)))
    model = Popularity(n_items=train.n_items)
    return evaluation.ranking.evaluator(model, test)(ClosedForm()(model, train, one).params, one.hyper)
