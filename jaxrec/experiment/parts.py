"""Objects that the settings of a run describe: data and split, model, trainer and evaluator."""

import time
from contextlib import AbstractContextManager

import numpy as np

from jaxrec.data.features import Encoded, Sizes
from jaxrec.data.interactions import Interactions
from jaxrec.data.large_columns import offsets_of
from jaxrec.data.splits.split import Selection, Split
from jaxrec.errors import InputError
from jaxrec.evaluation import cost
from jaxrec.evaluation.evaluation import EvaluationSettings, Evaluator
from jaxrec.fallback import Fallback, fold_in_model, training_summary
from jaxrec.features import sizes
from jaxrec.fitting.epochs import Trainer
from jaxrec.fitting.gradient import GradientFit
from jaxrec.mesh import rows_over
from jaxrec.models.model import Model
from jaxrec.settings import Tree, build, get


def prepare(tree: Tree) -> tuple[Split, float]:
    """Read the data and split it; return the split and the duration in seconds."""
    started = time.perf_counter()
    return build(tree["split"], interactions=build(tree["data"])), time.perf_counter() - started


def model_and_evaluator(tree: Tree, selection: Selection) -> tuple[Model, Evaluator | None]:
    """Build the model for this data, and the evaluator of its validation part if there is one.

    Raises:
        InputError: the settings do not fit the data.
    """
    train, validation = selection.train, selection.validation
    evaluation, model, evaluated_model, known = _parts(tree, selection)
    if validation is None:
        return model, None
    fallback = Fallback(training_summary(train), fold_in_model(evaluated_model, longest_history(known)))
    with tables_split(tree):
        evaluator = evaluation.evaluator(evaluated_model, validation, fallback)
    if why := evaluator.undefined.get(evaluation.monitor):
        raise InputError(f"validation {evaluation.monitor} is undefined: {why}")
    return model, evaluator


def check(tree: Tree, selection: Selection) -> None:
    """Raise an InputError for settings that do not fit the data."""
    _parts(tree, selection)


def trainer(tree: Tree) -> Trainer:
    """Build the trainer of these settings, e.g. `GradientFit` or `ClosedForm`."""
    runtime: Tree = {"monitor": tree["eval"]["monitor"]}
    if "_target_" in tree["loss"]:
        negatives = build(tree["negatives"]) if "_target_" in tree["negatives"] else None
        runtime |= {"objective": build(tree["loss"], negatives=negatives)}
        runtime |= {"optimizer": build(tree["optimizer"])}
    built: Trainer = build(tree["trainer"], **runtime)
    return built


def _parts(tree: Tree, selection: Selection) -> tuple[EvaluationSettings, Model, Model, Interactions]:
    """Build the evaluation, the model, and the model that is evaluated; return them with the known interactions."""
    train, validation = selection.train, selection.validation
    evaluation: EvaluationSettings = build(tree["eval"])
    evaluation.check_data(train)
    known = train if validation is None else validation.context()
    model = model_of(tree, known)
    _check_features(model, train.encoded)
    model.check_data(train)
    evaluated_model = evaluated_model_of(model, selection, known)
    _check_positions(trainer(tree), train)
    return evaluation, model, evaluated_model, known


def model_of(tree: Tree, known: Interactions) -> Model:
    """Build the model for this data; without its own history_length it gets full histories."""
    runtime: Tree = {
        "n_users": known.n_users,
        "n_items": known.n_items,
        "history_length": longest_history(known),
        "density": known.n_targets / max(1, known.n_users * known.n_items),
        "n_events": len(known.event_names),
    }
    model: Model = build(tree["model"], **{name: n for name, n in runtime.items() if name not in tree["model"]})
    found = {name: value for name, value in sizes(model, known.encoded).items() if name not in tree["model"]}
    return model.clone(**found) if found else model  # type: ignore[arg-type]


def evaluated_model_of(model: Model, selection: Selection, known: Interactions) -> Model:
    """Return the model for evaluation; users without training data are described by their history.

    Raises:
        InputError: the model cannot score new users.
    """
    if not (selection.new_users and model.reads_ids):
        return model
    evaluated_model = model.by_history(longest_history(known))
    if evaluated_model is None:
        by_features = "model.ids=false, which knows them by their features, " if model.has_field("ids") else ""
        raise InputError(
            f"all evaluated users are new, without training data, and {type(model).__name__} knows users only by their "
            f"id: choose {by_features}a model that reads histories or folds in new users, e.g. model=ease or "
            "model=ials, model=popularity, or a split that trains on every user, e.g. split=holdout"
        )
    return evaluated_model


def longest_history(known: Interactions) -> int:
    """Return the length of the longest history."""
    return int(np.diff(offsets_of(known.user, known.n_users)).max(initial=1))


def tables_split(tree: Tree) -> AbstractContextManager[None]:
    """Rank on the devices over which training splits tables."""
    return rows_over(get(tree, "trainer.mesh.row", 1))


def _check_features(model: Model, encoded: Encoded | None) -> None:
    """Raise an InputError if the model needs features and the data has none."""
    if not model.needs_features:
        return
    parts = [part for part in (encoded.of_users, encoded.of_items) if part is not None] if encoded else []
    if any(part.sizes != Sizes() for part in parts):
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


def n_parameters(tree: Tree, selection: Selection) -> int:
    """Return the number of parameters of the model with these settings."""
    train = selection.train
    return cost.n_parameters(model_of(tree, train), train.encoded)


def latency(model: Model, selection: Selection) -> cost.Latency:
    """Return a measurement of the time to rank with a model; see `Latency`."""
    known = selection.train if selection.validation is None else selection.validation.context()
    return cost.Latency(evaluated_model_of(model, selection, known), known)
