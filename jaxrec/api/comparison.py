"""Model comparison in Python: metrics on the same held-out interactions, with paired differences."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from jaxrec.api.training import Metrics, metric_names
from jaxrec.data.splits.split import HeldOut
from jaxrec.errors import InputError
from jaxrec.evaluation.evaluation import Evaluation
from jaxrec.evaluation.full_catalog import FullCatalog
from jaxrec.metrics import paired_summary
from jaxrec.recommend.recommender import Recommender


def evaluate(
    models: Recommender | Mapping[str, Recommender],
    held: HeldOut,
    *,
    k: Sequence[int] = (5, 10, 20),
    metrics: Metrics | None = None,
    filter_seen: bool = True,
) -> pd.DataFrame:
    """Evaluate models by full-catalog ranking for every user of a held-out part.

    Args:
        models: models by name; the first is the baseline of the differences.
        held: `split.test` or `split.selection.validation`.
        k: list lengths.
        metrics: as for `fit`; the first is a metric of a list.
        filter_seen: exclude items in the user's known history.

    Returns:
        One row per model and metric: model, metric, value, low, high (95 % bootstrap interval over users), and, except
        for the first model, difference, difference_low, difference_high: the mean paired difference to the first
        model over users.

    Raises:
        InputError: a model was trained on other data, or k exceeds the catalog size.

    Example:
        >>> jaxrec.evaluate({"mf": mf, "ease": ease}, split.test, k=(5, 10))
    """
    named = {"model": models} if isinstance(models, Recommender) else dict(models)
    lengths = tuple(sorted(k))
    names = metric_names(metrics)
    monitor = f"{names[0] if names else 'ndcg'}@{lengths[0]}"
    evaluation = FullCatalog(k=lengths, monitor=monitor, exclude_known=filter_seen, metrics=names)
    for name, model in named.items():
        tables = ((model.user_ids, held.target.user_ids), (model.item_ids, held.target.item_ids))
        if not all(np.array_equal(own, other) for own, other in tables):
            raise InputError(
                f"model {name} was trained on other data: its users and items differ from those of the split"
            )
    evaluated = {name: model.evaluated(evaluation, held) for name, model in named.items()}
    first = next(iter(named))
    return pd.DataFrame([row for name in named for row in _rows(name, evaluated[name], evaluated[first])])


def _rows(name: str, own: Evaluation, first: Evaluation) -> list[dict[str, Any]]:
    units = own.users if own.ground_truth.singly else None
    rows: list[dict[str, Any]] = []
    for key, values in own.per_user.items():
        reference = None if own is first else first.per_user[key][0]
        rows.append({"model": name, "metric": key, **paired_summary(values[0], reference, units)})
    return rows + [{"model": name, "metric": key, "value": float(values[0])} for key, values in own.overall.items()]
