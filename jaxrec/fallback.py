"""Who answers for a user: the model, the model folding the user in, or popularity.

One rule for evaluation, recommendations, the pipeline, the server and exports. A model answers where something is
known that it can use; every other user gets the most popular items:

    reads histories          one of the items it looks at was trained on, or it reads features and has some of the user
    reads ids of users       the user was trained on; a user who was not, but has a history, is folded in where the
                             model can (see `models/fold_in.py`)
    reads features alone     there are features of the user
    reads nothing of users   always
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
from jaxrec.features import wanted
from jaxrec.models.model import Model, Params
from jaxrec.query import Query

Mask = TypeVar("Mask", np.ndarray, Array)  # of rows, on the host or the device


class Trained(NamedTuple):
    """What a model was trained on.

    popular: float32 [I], how often each item was chosen, by weight: what the baseline `Popularity` scores by
    users:   bool [U], whether each user has a row
    items:   bool [I], whether each item has a row
    """

    popular: np.ndarray
    users: np.ndarray
    items: np.ndarray


def trained_on(train: Interactions) -> Trained:
    """Of the rows that a model is fitted to."""
    popular = np.bincount(train.item, train.weight, minlength=train.n_items).astype(np.float32)
    users, items = (
        np.bincount(ids, minlength=n) > 0 for ids, n in ((train.user, train.n_users), (train.item, train.n_items))
    )
    return Trained(popular, users, items)


class Fallback(NamedTuple):
    """What the model was trained on, and the model that folds users in, with the same parameters; None: it cannot."""

    trained: Trained
    folds: Model | None = None


def folding(model: Model, length: int) -> Model | None:
    """The model that folds users in by up to `length` items; None where the model answers as it is, or cannot fold."""
    folds = model.by_history(length)
    return None if folds is model else folds


def answering(model: Model, trained: Mask, told: Mask, featured: Mask | None, folds: bool) -> tuple[Mask, Mask]:
    """Masks of rows: the model answers; the model answers by folding in. Popularity answers the others.

    Args:
        model: any model.
        trained: mask of rows whose user was trained on, of numpy or jax.
        told: mask of rows whose history holds an item that was trained on, among those that are looked at.
        featured: mask of rows with features of the user; None for a model without.
        folds: whether the model can fold in.
    """
    nobody = trained & False
    if model.history_length:
        return told if featured is None else told | featured, nobody
    if model.reads_ids:
        return trained, ~trained & told if folds else nobody
    return ~nobody if featured is None else featured, nobody


def blend(
    scores: Float[Array, "B N"],
    own: Bool[Array, "B"],
    folded: Bool[Array, "B"],
    popular: Float[Array, "*B N"],
    fold: Callable[[], Array] | None,
) -> Float[Array, "B N"]:
    """The scores of each row by whoever answers; nothing is folded in for a block without such a row."""
    if fold is not None:
        scores = jax.lax.cond(folded.any(), lambda: jnp.where(folded[:, None], fold(), scores), lambda: scores)
    return jnp.where((own | folded)[:, None], scores, popular if popular.ndim == 2 else popular[None, :])


class FoldIn(NamedTuple):
    """A model that folds users in: the length of history it reads, and its scores of a query."""

    history_length: int
    score: Callable[[Query], Float[Array, "B N"]]

    @classmethod
    def pairs(cls, model: Model, params: Params, items: Int[Array, "B N"]) -> "FoldIn":
        """Scores of each row's own candidates."""
        return cls(model.history_length, lambda query: model.bind(params)(query, items))


class Sources(NamedTuple):
    """Who answers for rows that the model itself does not all answer, see `answering`; on the device."""

    own: Bool[Array, "R"]
    folded: Bool[Array, "R"]
    popular: Float[Array, "I"]

    def blended(
        self,
        rows: Int[Array, "B"],
        scores: Float[Array, "B N"],
        items: Int[Array, "*B N"] | None,
        query: Callable[[Int[Array, "B"], int], Query],
        fold_in: FoldIn | None,
    ) -> Float[Array, "B N"]:
        """Scores of these rows by the model, by folding in, or by popularity.

        Args:
            rows: positions of a block's rows.
            scores: the model's own.
            items: the items that are scored, one list or one a row; None: the catalog.
            query: makes the query of rows with histories of a given length.
            fold_in: None where no row is folded in.
        """
        popular = self.popular if items is None else self.popular[items]
        fold = None if fold_in is None else partial(fold_in.score, query(rows, fold_in.history_length))
        return blend(scores, self.own[rows], self.folded[rows], popular, fold)


def who(
    model: Model,
    fallback: Fallback,
    rows: tuple[np.ndarray, np.ndarray, np.ndarray],
    known: UserHistories,
    features: np.ndarray | None,
) -> tuple[np.ndarray, np.ndarray]:
    """`answering` for rows given as users and the bounds of their histories.

    features: whether there are features of each user [U]; None for a model that reads none
    """
    trained, folds = fallback
    users, start, end = rows
    length = model.history_length or (folds.history_length if folds else 0)
    before = np.concatenate([[0], np.cumsum(trained.items[known.items])])
    told = before[end] > before[np.maximum(start, end - length)]
    return answering(
        model, trained.users[users], told, None if features is None else features[users], folds is not None
    )


def sources(
    model: Model,
    fallback: Fallback | None,
    rows: tuple[np.ndarray, np.ndarray, np.ndarray],
    known: UserHistories,
    encoded: Encoded | None,
) -> tuple[Sources | None, Model | None]:
    """Who answers for rows, and what folds in where that is needed; None where the model itself answers for all."""
    if fallback is None:
        return None, None
    own, folded = who(model, fallback, rows, known, featured(model, encoded))
    if own.all():
        return None, None
    found = Sources(*(jnp.asarray(part) for part in (own, folded, fallback.trained.popular)))
    return found, fallback.folds if folded.any() else None


def featured(model: Model, encoded: Encoded | None) -> np.ndarray | None:
    """Whether there are features of each user [U]; None for a model that reads none."""
    table = None if encoded is None else encoded.of_users
    if table is None or "user_table" not in wanted(model):
        return None
    parts = (np.asarray(part) != 0 for part in (table.categories, table.bags, table.numbers))
    known = [part.any(axis=tuple(range(1, part.ndim))) for part in parts]
    return known[0] | known[1] | known[2]
