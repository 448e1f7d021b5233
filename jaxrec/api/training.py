"""Training in Python: `fit` returns a `TrainedModel`."""

import warnings
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from typing import overload

from jaxrec import experiment, settings
from jaxrec.api.recipe import Metrics, Recipe
from jaxrec.api.trained_model import TrainedModel
from jaxrec.console import EpochProgress, say
from jaxrec.data.data_warnings import data_warnings
from jaxrec.data.splits.split import Split
from jaxrec.errors import InputError
from jaxrec.machine import use_all_cores
from jaxrec.models.model import Model

Value = str | float | bool | None  # of one setting; a list instead means several members


@overload
def fit(
    split: Split,
    model: str | type[Model] | Model = "mf",
    *,
    loss: str | Callable[..., object] | None = None,
    negatives: str | None = None,
    optimizer: str | None = None,
    metrics: Metrics | None = None,
    overrides: Mapping[str, Value] | None = None,
    verbose: bool = True,
) -> TrainedModel: ...


@overload
def fit(
    split: Split,
    model: str | type[Model] | Model = "mf",
    *,
    loss: str | Callable[..., object] | None = None,
    negatives: str | None = None,
    optimizer: str | None = None,
    metrics: Metrics | None = None,
    overrides: Mapping[str, object],
    verbose: bool = True,
) -> TrainedModel | list[TrainedModel | None]: ...


def fit(
    split: Split,
    model: str | type[Model] | Model = "mf",
    *,
    loss: str | Callable[..., object] | None = None,
    negatives: str | None = None,
    optimizer: str | None = None,
    metrics: Metrics | None = None,
    overrides: Mapping[str, object] | None = None,
    verbose: bool = True,
) -> TrainedModel | list[TrainedModel | None]:
    """Train a model and evaluate it; nothing is written to disk.

    Args:
        split: a split of `jaxrec.split`.
        model: a name of conf/model, e.g. `sasrec`; or your own `jaxrec.models.Model`, as a class or an instance.
        loss: a name of conf/loss, or your own function with the signature of those in `jaxrec.losses`; None: the
            model's default.
        negatives: a name of conf/negatives; None: the loss's default.
        optimizer: a name of conf/optimizer; None: the model's default.
        metrics: names such as `ndcg` and `rbp(p=0.8)`, or your own functions with the signature of those in
            `jaxrec.metrics`; None: the defaults of conf/eval.
        overrides: settings by command-line key, e.g. `{"model.embedding_dim": 64}`. A list means several members,
            and every combination is trained; members that differ only in numbers such as learning rates and seeds
            share one compiled program. A setting that is itself a list takes a list of lists.
        verbose: show what was left out of the data, and the training progress.

    Returns:
        A `TrainedModel`; a list of them if an override has several values, in the order of `itertools.product`, with
        None (and a warning) for members that diverged.

    Raises:
        InputError: an unknown choice or key, a value out of range, incompatible settings, or divergence.

    Example:
        >>> model = jaxrec.fit(split, "mf", loss="softmax", overrides={"model.embedding_dim": 32})
        >>> model.recommend([196, 22], k=10)
        >>> models = jaxrec.fit(split, "mf", overrides={"optimizer.learning_rate": [1e-3, 3e-3], "seed": [1, 2, 3]})
    """
    use_all_cores()
    trees, several = Recipe(split, model, loss, negatives, optimizer, metrics).members(overrides or {})
    models: list[TrainedModel | None] = [None] * len(trees)
    failed: dict[int, str] = {}
    for line in data_warnings(split) if verbose else ():
        say(line)
    for places, shared, population in settings.populations(trees):
        experiment.check(shared, split.selection)
        with EpochProgress(shared) if verbose else nullcontext(experiment.no_progress) as progress:
            selected = experiment.select(shared, split.selection, population, progress)
        for place, outcome in zip(places, experiment.finish_each(shared, split, selected), strict=True):
            if isinstance(outcome, str):
                failed[place] = outcome
            else:
                models[place] = TrainedModel.from_result(trees[place], outcome)
        if selected.fit.interrupted and several:
            raise KeyboardInterrupt
    if len(failed) == len(trees):
        raise InputError(next(iter(failed.values())))
    for place, reason in failed.items():
        warnings.warn(f"member {place} failed: {reason}", stacklevel=2)
    if several:
        return models
    (model_alone,) = models
    assert model_alone is not None  # a failure alone is raised
    return model_alone
