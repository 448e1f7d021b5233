"""One compiled program that answers every request of a server: users and their histories in, lists of items out."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from jaxrec.errors import InputError
from jaxrec.features import Tables, with_tables
from jaxrec.history import History
from jaxrec.models.fold_in import by_history
from jaxrec.pairs import held_floats
from jaxrec.query import Query
from jaxrec.ranking import item_side, score_all, top_k
from jaxrec.streaming import BLOCK_ENTRIES

NEW = -1  # the user of a row that is known by its history alone


class Answers:
    """The k best items for rows of one shape: up to `batch` rows, histories of up to `length` items.

    Compiled at the first call, once. Of a row the model reads what it was trained to read: the id, or the latest of
    the history. A row of user `NEW` is known by its history alone: models of user ids fold it in, see `by_history`;
    where they cannot, and for an empty history, the list is that of the most popular items (see `is_model`), its
    scores how often they were chosen.

    Memory: scores of a block of rows, as in `Ranker`; what depends on items alone is computed once and kept.
    """

    def __init__(
        self,
        model: nn.Module,
        given: Tables,
        params: Any,
        popular: Float[np.ndarray, "I"],
        *,
        k: int,
        batch: int,
        length: int,
    ) -> None:
        self.model, self.k, self.batch, self.length = model, k, batch, length
        self.n_items: int = len(popular)
        self.reads = getattr(model, "history_length", 0)
        self.folds = by_history(model, length)
        side = jax.jit(lambda given, params: item_side(with_tables(model, given), params))(given, params)
        self.shared = given, params, side, jnp.asarray(popular)
        self._program = jax.jit(self._rank)

    def __call__(
        self,
        users: Int[np.ndarray, "B"],
        histories: Int[np.ndarray, "B T"],
        exclude: bool = True,
        hidden: Int[np.ndarray, "B T"] | None = None,
    ) -> tuple[Int[np.ndarray, "B K"], Float[np.ndarray, "B K"]]:
        """Items and scores, best first, -1 behind the last.

        users:     positions in the user table, or `NEW`
        histories: positions in the item table, oldest first, padded on the left by -1; see `windows`
        exclude:   leave out what is hidden
        hidden:    positions in the item table, padded by -1; None: what is in the history

        Raises InputError where a score is not finite.
        """
        n = len(users)
        hidden = histories if hidden is None else hidden
        if n > self.batch or not histories.shape == hidden.shape == (n, self.length):
            raise ValueError(f"{n} rows of {histories.shape[1:]}, where up to {self.batch} of {self.length} are taken")
        padding = self.batch - n
        users = np.pad(users.astype(np.int32), (0, padding), constant_values=NEW)
        hidden = hidden if exclude else np.full_like(hidden, -1)
        histories, hidden = (
            np.pad(items.astype(np.int32), ((0, padding), (0, 0)), constant_values=-1) for items in (histories, hidden)
        )
        items, scores, finite = self._program(self.shared, users, histories, hidden)
        if not finite:
            raise InputError(f"{type(self.model).__name__} gives scores that are not finite; train it again")
        return np.asarray(items)[:n], np.asarray(scores)[:n]

    def is_model(self, users: np.ndarray, histories: np.ndarray) -> np.ndarray:
        """Whether each row's list is the model's [B]; else it is popularity's."""
        return (users >= 0) | ((histories >= 0).any(axis=1) & (self.folds is not None))

    def _rank(self, shared: Any, users: Array, histories: Array, hidden: Array) -> tuple[Array, Array, Array]:
        floats = held_floats(self.model)
        block = min(self.batch, max(1, 8 // floats, BLOCK_ENTRIES // (self.n_items * floats)))
        n_blocks = -(-self.batch // block)
        row = jnp.minimum(jnp.arange(n_blocks * block), self.batch - 1).reshape(n_blocks, block)

        def rank(rows: Array) -> tuple[Array, Array, Array]:
            scores = self.scores(shared, users[rows], histories[rows])
            finite = jnp.isfinite(scores).all()
            out = jnp.where(hidden[rows] < 0, self.n_items, hidden[rows])
            scores = scores.at[jnp.arange(block)[:, None], out].set(-jnp.inf, mode="drop")
            values, items = top_k(scores, self.k)
            return jnp.where(values > -jnp.inf, items, -1), values, finite

        items, scores, finite = jax.lax.map(rank, row)
        flat = lambda x: x.reshape(n_blocks * block, -1)[: self.batch]  # noqa: E731
        return flat(items), flat(scores), finite.all()

    def scores(self, shared: Any, users: Int[Array, "B"], histories: Int[Array, "B T"]) -> Float[Array, "B I"]:
        """Scores of every item; a pure function of arrays. `shared` is what `self.shared` holds."""
        given, params, side, popular = shared
        model = with_tables(self.model, given)
        own = score_all(model, params, side, Query(users, self._window(histories, self.reads)))
        popular = jnp.broadcast_to(popular[None, :], own.shape)
        known, told = users[:, None] >= 0, (histories >= 0).any(axis=1, keepdims=True)
        folds = self.folds
        if folds is None or folds is self.model:
            new = popular if folds is None else own
            return jnp.where(known, own, jnp.where(told, new, popular))

        def fold() -> Array:
            return score_all(folds, params, side, Query(users, self._window(histories, self.length)))

        # Nothing is solved for a batch of known users.
        new = jax.lax.cond((told & ~known).any(), fold, lambda: popular)
        return jnp.where(known, own, jnp.where(told, new, popular))

    def _window(self, histories: Int[Array, "B T"], length: int) -> History | None:
        """The latest `length` items."""
        if not length:
            return None
        missing = max(0, length - self.length)
        padded = jnp.pad(histories, ((0, 0), (missing, 0)), constant_values=-1)
        return History(padded[:, padded.shape[1] - length :])


def windows(start: np.ndarray, end: np.ndarray, items: np.ndarray, length: int) -> Int[np.ndarray, "B T"]:
    """The latest `length` items of each stretch `start .. end`, padded on the left by -1: what `Answers` takes."""
    at = end[:, None] - np.arange(length, 0, -1)[None, :]
    inside = at >= start[:, None]
    return (
        np.where(inside, items[np.where(inside, at, 0)], -1).astype(np.int32) if len(items) else np.full(at.shape, -1)
    )
