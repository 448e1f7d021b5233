"""Choice of the source of each user's recommendations: the model, the model with fold-in, or popularity.

Evaluation, recommendations, the pipeline, the server and exports follow the same rule. The model is the source if it
has data about the user that it can use; all other users get the most popular items:

    model reads histories       an item of the used part of the history is in train, or the model reads features and
                                the user has some
    model reads user ids        the user is in train; a new user with a history is folded in if the model supports it
                                (see `models/fold_in.py`)
    model reads features only   the user has features
    model reads no user data    always
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from jaxrec.data.features import Encoded
from jaxrec.data.histories import UserHistories
from jaxrec.data.interactions import Interactions
from jaxrec.data.large_columns import offsets_of
from jaxrec.models.model import Model, Params
from jaxrec.query import Query

Mask = TypeVar("Mask", np.ndarray, Array)  # of rows, on the host or the device


class TrainingSummary(NamedTuple):
    """Summary of a model's training data.

    Attributes:
        popular: float32 [I], weighted number of interactions of each item, the scores of the baseline `Popularity`
        users: bool [U], whether each user has training interactions
        items: bool [I], whether each item has training interactions
    """

    popular: np.ndarray
    users: np.ndarray
    items: np.ndarray


def training_summary(train: Interactions) -> TrainingSummary:
    """Summarize training interactions."""
    users, items = (
        np.diff(offsets_of(ids, n)) for ids, n in ((train.user, train.n_users), (train.item, train.n_items))
    )
    popular = items if train.weight is None else np.bincount(train.item, train.weight, minlength=train.n_items)
    return TrainingSummary(popular.astype(np.float32), users > 0, items > 0)


class Fallback(NamedTuple):
    """Data for fallback recommendations.

    Attributes:
        trained: summary of the training data
        folds: fold-in model with the same parameters; None if the model does not support fold-in
    """

    trained: TrainingSummary
    folds: Model | None = None


def fold_in_model(model: Model, length: int) -> Model | None:
    """The fold-in model for histories of up to `length` items; None if the model itself scores them or cannot."""
    folds = model.by_history(length)
    return None if folds is model else folds


def source_masks(
    model: Model, trained: Mask, in_history: Mask, has_features: Mask | None, folds: bool
) -> tuple[Mask, Mask]:
    """Masks of rows scored by the model, and of rows scored by the model with fold-in; others get popularity.

    Args:
        model: any model.
        trained: mask of rows whose user is in train, a numpy or jax array.
        in_history: mask of rows with an item of train in the part of the history that the model reads.
        has_features: mask of rows whose user has features; None for a model that reads none.
        folds: whether the model supports fold-in.
    """
    none = trained & False
    if model.history_length:
        return in_history if has_features is None else in_history | has_features, none
    if model.reads_ids:
        return trained, ~trained & in_history if folds else none
    return ~none if has_features is None else has_features, none


def blend(
    scores: Float[Array, "B N"],
    by_model: Bool[Array, "B"],
    by_fold_in: Bool[Array, "B"],
    popular: Float[Array, "*B N"],
    fold: Callable[[], Array] | None,
) -> Float[Array, "B N"]:
    """Scores of each row from its source; fold-in is skipped for blocks without rows that need it.

    Args:
        scores: scores of the model.
        by_model: mask of rows scored by the model.
        by_fold_in: mask of rows scored with fold-in.
        popular: scores by popularity.
        fold: computes the scores with fold-in; None if no row needs it.
    """
    if fold is not None:
        scores = jax.lax.cond(by_fold_in.any(), lambda: jnp.where(by_fold_in[:, None], fold(), scores), lambda: scores)
    return jnp.where((by_model | by_fold_in)[:, None], scores, popular if popular.ndim == 2 else popular[None, :])


class FoldIn(NamedTuple):
    """A model that folds users in: the length of history it reads, and its scores of a query."""

    history_length: int
    score: Callable[[Query], Float[Array, "B N"]]

    @classmethod
    def pairs(cls, model: Model, params: Params, items: Int[Array, "B N"]) -> "FoldIn":
        """Scores of each row's own candidates."""
        return cls(model.history_length, lambda query: model.bind(params)(query, items))


class Sources(NamedTuple):
    """Source of the scores of each row, on the device; see `source_masks`."""

    by_model: Bool[Array, "R"]
    by_fold_in: Bool[Array, "R"]
    popular: Float[Array, "I"]

    def blended(
        self,
        rows: Int[Array, "B"],
        scores: Float[Array, "B N"],
        items: Int[Array, "*B N"] | None,
        query: Callable[[Int[Array, "B"], int], Query],
        fold_in: FoldIn | None,
    ) -> Float[Array, "B N"]:
        """Scores of these rows by the model, by fold-in, or by popularity.

        Args:
            rows: indices of rows.
            scores: scores of the model.
            items: scored items, one list for all rows or one per row; None: the whole catalog.
            query: makes the query of rows with histories of a given length.
            fold_in: None if no row needs it.
        """
        popular = self.popular if items is None else self.popular[items]
        fold = None if fold_in is None else partial(fold_in.score, query(rows, fold_in.history_length))
        return blend(scores, self.by_model[rows], self.by_fold_in[rows], popular, fold)


def row_sources(
    model: Model,
    fallback: Fallback,
    rows: tuple[np.ndarray, np.ndarray, np.ndarray],
    known: UserHistories,
    features: np.ndarray | None,
) -> tuple[np.ndarray, np.ndarray]:
    """`source_masks` for rows given as (users, start, end), with the bounds of their histories.

    Args:
        model: any model.
        fallback: training data summary and fold-in model.
        rows: users, start and end of the history of each row.
        known: histories of all users.
        features: whether each user has features [U]; None for a model that reads none.
    """
    trained, folds = fallback
    users, start, end = rows
    length = model.history_length or (folds.history_length if folds else 0)
    before = np.concatenate([[0], np.cumsum(trained.items[known.items])])
    in_history = before[end] > before[np.maximum(start, end - length)]
    return source_masks(
        model, trained.users[users], in_history, None if features is None else features[users], folds is not None
    )


def sources(
    model: Model,
    fallback: Fallback | None,
    rows: tuple[np.ndarray, np.ndarray, np.ndarray],
    known: UserHistories,
    encoded: Encoded | None,
) -> tuple[Sources | None, Model | None]:
    """Sources of the scores of rows, and the fold-in model if needed; None if the model scores all rows."""
    if fallback is None:
        return None, None
    by_model, by_fold_in = row_sources(model, fallback, rows, known, users_with_features(model, encoded))
    if by_model.all():
        return None, None
    of_rows = Sources(*(jnp.asarray(part) for part in (by_model, by_fold_in, fallback.trained.popular)))
    return of_rows, fallback.folds if by_fold_in.any() else None


def users_with_features(model: Model, encoded: Encoded | None) -> np.ndarray | None:
    """Whether each user has features [U]; None for a model that reads none."""
    table = None if encoded is None else encoded.of_users
    if table is None or "user_table" not in model.tables_read:
        return None
    parts = (np.asarray(part) != 0 for part in (table.categories, table.bags, table.numbers))
    known = [part.any(axis=tuple(range(1, part.ndim))) for part in parts]
    return known[0] | known[1] | known[2]
