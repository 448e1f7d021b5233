"""Comparison of models in Python: metrics on the same held-out interactions, over users and seeds."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from pydantic import PositiveInt, TypeAdapter

from jaxrec.api.recipe import Metrics, metric_names
from jaxrec.api.trained_model import TrainedModel
from jaxrec.arguments import check_value
from jaxrec.data.interactions import targets
from jaxrec.data.splits.split import HeldOut
from jaxrec.errors import InputError
from jaxrec.evaluation.full_catalog import FullCatalog
from jaxrec.models.model import Solved
from jaxrec.recommend.recommender import Recommender
from jaxrec.settings import differing
from jaxrec.statistics import compared, over_seeds

_LENGTHS = TypeAdapter(tuple[PositiveInt, ...])
Models = Recommender | Sequence[Recommender | None]


def evaluate(
    models: Models | Mapping[str, Models],
    held: HeldOut,
    *,
    k: Sequence[int] = (5, 10, 20),
    metrics: Metrics | None = None,
    filter_seen: bool = True,
) -> pd.DataFrame:
    """Evaluate models by full-catalog ranking for every user of a held-out part.

    Args:
        models: models by name; the first is the reference of the differences. A list holds the same settings trained
            with several seeds, as `fit` returns it for `overrides={"seed": [1, 2, 3]}`; None in it is left out.
        held: `split.test` or `split.selection.validation`.
        k: list lengths.
        metrics: as for `fit`; the first is a metric of a list.
        filter_seen: exclude items in the user's known history.

    Returns:
        One row per model and metric: model, metric, and the columns of `jaxrec.statistics.compared`: seeds, value with
        low and high (95% interval over users and seeds), sd over seeds, and, except for the first model, difference,
        difference_low, difference_high (paired by user), p and p_wilcoxon (with Holm's correction). The sd of a single
        seed is NaN: differences between seeds are then not included in intervals and p. Metrics of all lists together,
        such as coverage, have no differences.

    Raises:
        InputError: a model was trained on other data or on another split of it; models of a list differ in more than
            their seed; or k exceeds the catalog size.

    Example:
        >>> mf = jaxrec.fit(split, "mf", overrides={"seed": [1, 2, 3]})
        >>> jaxrec.evaluate({"ease": jaxrec.fit(split, "ease"), "mf": mf}, split.test, k=(5, 10))
    """
    if not isinstance(held, HeldOut):
        raise InputError(f"held={type(held).__name__}: pass a held-out part, split.test or split.selection.validation")
    named = {
        name: _members(name, each)
        for name, each in (models if isinstance(models, Mapping) else {"model": models}).items()
    }
    if not named:
        raise InputError("models={} has no model: pass models by name")
    lengths = _lengths(k)
    names = metric_names(metrics)
    monitor = f"{names[0] if names else 'ndcg'}@{lengths[0]}"
    evaluation = FullCatalog(k=lengths, monitor=monitor, exclude_known=filter_seen, metrics=names)
    for name, members in named.items():
        for model in members:
            tables = ((model.user_ids, held.target.user_ids), (model.item_ids, held.target.item_ids))
            if not all(np.array_equal(own, other) for own, other in tables):
                raise InputError(
                    f"model {name} was trained on other data: its users and items differ from those of the split"
                )
            _check_split(name, model, held)
    evaluated = {name: [model.evaluated(evaluation, held) for model in members] for name, members in named.items()}
    without_seed = [name for name, members in named.items() if isinstance(members[0].model, Solved)]
    first = evaluated[next(iter(named))][0]
    units = first.users if first.ground_truth.one_per_row else None
    frames: list[pd.DataFrame] = []
    for key in first.per_user:
        values = {name: np.stack([each.per_user[key][0] for each in seeds]) for name, seeds in evaluated.items()}
        frames.append(compared(values, units, without_seed).rename(columns={"run": "model"}).assign(metric=key))
    for key in first.overall:
        for name, seeds in evaluated.items():
            frames.append(_overall(name, key, np.array([each.overall[key][0] for each in seeds], np.float64)))
    table = pd.concat(frames, ignore_index=True)
    order = table["model"].map({name: place for place, name in enumerate(named)})
    table = table.iloc[np.argsort(order.to_numpy(), kind="stable")].reset_index(drop=True)
    return table[["model", "metric", *(c for c in table if c not in ("model", "metric"))]]


def _check_split(name: str, model: Recommender, held: HeldOut) -> None:
    """Raise an InputError if held-out pairs are in the model's data, unless they are the validation of its split."""
    if held.order is not None:  # at steps of sessions items repeat
        return
    known, n_items = model.known, len(model.item_ids)
    owners = np.repeat(np.arange(len(known.offsets) - 1), np.diff(known.offsets))
    own = owners * n_items + known.items
    before, to_find = (
        rows.user.astype(np.int64) * n_items + rows.item for rows in (targets(held.known), targets(held.target))
    )
    is_own = np.isin(to_find, own if known.target is None else own[known.target])
    if is_own.any() and not (is_own.all() and np.isin(before, own).all()):
        raise InputError(
            f"model {name} was trained on another split: {is_own.sum():,} of {len(is_own):,} held-out interactions are "
            "in its train or validation data; evaluate it on the split that it was trained on"
        )


def _lengths(k: Sequence[int]) -> tuple[int, ...]:
    """Return the list lengths in order."""
    lengths = np.asarray(k).tolist()
    lengths = tuple(lengths) if isinstance(lengths, list) else lengths
    check_value(_LENGTHS, lengths, "k")
    if not lengths:
        raise InputError("k=() has no list length: add one, e.g. k=(10,)")
    return tuple(sorted(lengths))


def _members(name: str, models: Models) -> list[Recommender]:
    """Return the seeds of one setting."""
    several: Sequence[object] = models if isinstance(models, list | tuple) else [models]
    members = [model for model in several if isinstance(model, Recommender)]
    if wrong := [model for model in several if model is not None and not isinstance(model, Recommender)]:
        raise InputError(f"models: {name} has {wrong[0]!r}, which is not a model of jaxrec.fit or jaxrec.load")
    if not members:
        raise InputError(f"models has no model for {name}: pass a model, or a list of its seeds")
    settings = [model.config if isinstance(model, TrainedModel) else {} for model in members]
    for other in settings[1:]:
        keys = differing(settings[0], other)
        for key in [key for key in keys if key != "seed"][:1]:
            raise InputError(
                f"the models of {name} differ in {key}: a list holds the same settings with several seeds, "
                "so give other settings a name of their own"
            )
        if not keys and settings[0]:
            raise InputError(f"the models of {name} have the same seed {other['seed']}: train each with another seed")
    return members


def _overall(name: str, key: str, values: np.ndarray) -> pd.DataFrame:
    """Return the row of a metric of all lists together."""
    own = over_seeds(values)
    low, high = own.interval()
    sd = float(values.std(ddof=1)) if len(values) > 1 else np.nan
    row = {"model": name, "metric": key, "seeds": len(values), "value": own.value, "sd": sd, "low": low, "high": high}
    return pd.DataFrame([row])
