"""Lists of items for users and histories, by programs of one shape: the same for a request alone or among others."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, PyTree

from jaxrec.errors import InputError
from jaxrec.fallback import Mask, Trained, answering, blend, folding
from jaxrec.features import FeatureTables, with_tables
from jaxrec.history import History
from jaxrec.models.model import Model, Params
from jaxrec.query import Query
from jaxrec.ranking import item_side, score_all, top_k

NEW = -1  # the user of a row that is known by its history alone
ROWS = 8  # rows of every program


class Scores:
    """Scores of the catalog for rows with histories of up to `length` items.

    Always ROWS rows at a time, by one compiled program: products of other shapes add up in another order, so that the
    last digits of a score, and with them the order of items that all but tie, would depend on who else asks.

    Of a row the model reads what it was trained to read: the id, or the latest of the history. See `jaxrec.fallback`
    for who answers where the model knows nothing; the scores of popularity are how often each item was chosen.

    featured: whether there are features of each user [U]; None for a model that reads none
    """

    def __init__(
        self,
        model: Model,
        given: FeatureTables,
        params: Params,
        trained: Trained,
        featured: Bool[np.ndarray, "U"] | None,
        length: int,
    ) -> None:
        self.model, self.length, self.n_items = model, length, len(trained.popular)
        self.reads = model.history_length
        self.folds = folding(model, length)
        self._trained, self._featured = trained, featured
        side = jax.jit(lambda given, params: item_side(with_tables(model, given), params))(given, params)
        known = jax.tree.map(jnp.asarray, (trained, featured))
        self.shared = given, params, side, known
        self._program = jax.jit(self._scored)

    def __call__(self, users: Int[np.ndarray, "ROWS"], histories: Int[np.ndarray, "ROWS T"]) -> Float[Array, "ROWS I"]:
        """Scores, on the device. Raises InputError where one is not finite."""
        scores, finite = self._program(self.shared, users, self._read(histories))
        if not finite:
            raise InputError(f"{type(self.model).__name__} gives scores that are not finite; train it again")
        return scores

    def is_answered(self, users: Int[np.ndarray, "B"], histories: Int[np.ndarray, "B T"]) -> Bool[np.ndarray, "B"]:
        """Whether each row's scores are the model's; else they are popularity's."""
        own, folded = self._who((self._trained, self._featured), users, self._read(histories))
        return np.asarray(own | folded)

    def scores(self, shared: PyTree, users: Int[Array, "B"], histories: Int[Array, "B T"]) -> Float[Array, "B I"]:
        """Scores of every item; a pure function of arrays. `shared` is what `self.shared` holds."""
        given, params, side, known = shared
        model = with_tables(self.model, given)
        own, folded = self._who(known, users, histories)
        scores = score_all(model, params, side, Query(users, self._window(histories, self.reads)))
        query = Query(users, self._window(histories, self.length))
        folds = self.folds
        fold = None if folds is None else lambda: score_all(folds, params, side, query)
        return blend(scores, own, folded, known[0].popular, fold)

    def _scored(self, shared: PyTree, users: Array, histories: Array) -> tuple[Array, Array]:
        scores = self.scores(shared, users, histories)
        return scores, jnp.isfinite(scores).all()

    def _who(self, known: PyTree, users: Mask, histories: Mask) -> tuple[Mask, Mask]:
        (_, was_trained, items), featured = known
        exists = users >= 0
        at = users.clip(0)
        window = histories[:, -(self.reads or self.length) :]
        told = (items[window.clip(0)] & (window >= 0)).any(axis=1)
        trained = was_trained[at] & exists if len(was_trained) else exists & False
        told_of = None if featured is None else featured[at] & exists
        own, folded = answering(self.model, trained, told, told_of, self.folds is not None)
        return own & (exists | told), folded  # also a model that reads nothing of users says nothing of nobody

    def _read(self, histories: Int[np.ndarray, "B T"]) -> Int[np.ndarray, "B T"]:
        """As much as the model reads, so that no program depends on how long the others' histories are."""
        length = self.reads or self.length
        missing = max(0, length - histories.shape[1])
        return np.pad(histories, ((0, 0), (missing, 0)), constant_values=-1)[:, -length:]

    def _window(self, histories: Int[Array, "B T"], length: int) -> History | None:
        """The latest `length` items."""
        if not length:
            return None
        missing = max(0, length - histories.shape[1])
        padded = jnp.pad(histories, ((0, 0), (missing, 0)), constant_values=-1)
        return History(padded[:, padded.shape[1] - length :])


class BatchRecommender:
    """The k best items by some `Scores`, for up to `batch` rows at a time.

    Of scores there are never more than those of ROWS rows in memory.
    """

    def __init__(self, scores: Scores, *, k: int, batch: int, length: int) -> None:
        self.scored, self.k, self.batch, self.length = scores, k, batch, length
        self._program = jax.jit(self._best)

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
        hidden = hidden if exclude else np.full_like(hidden, -1)
        items, scores = np.empty((n, self.k), np.int32), np.empty((n, self.k), np.float32)
        for start in range(0, n, ROWS):
            part = slice(start, start + ROWS)
            given = self.scored(_filled(users[part]), _filled(histories[part]))
            found = self._program(given, _filled(hidden[part]))
            items[part], scores[part] = (np.asarray(x)[: n - start] for x in found)
        return items, scores

    def is_model(self, users: np.ndarray, histories: np.ndarray) -> np.ndarray:
        """Whether each row's list is the model's [B]; else it is popularity's."""
        return self.scored.is_answered(users, histories)

    def _best(self, scores: Float[Array, "B I"], hidden: Int[Array, "B X"]) -> tuple[Array, Array]:
        out = jnp.where(hidden < 0, self.scored.n_items, hidden)
        scores = scores.at[jnp.arange(len(scores))[:, None], out].set(-jnp.inf, mode="drop")
        values, items = top_k(scores, self.k)
        return jnp.where(values > -jnp.inf, items, -1), values


def _filled(rows: np.ndarray) -> np.ndarray:
    """ROWS rows, those that are missing as nobody's."""
    padding = [(0, ROWS - len(rows)), *[(0, 0)] * (rows.ndim - 1)]
    return np.pad(rows.astype(np.int32), padding, constant_values=-1)


def windows(start: np.ndarray, end: np.ndarray, items: np.ndarray, length: int) -> Int[np.ndarray, "B T"]:
    """The latest `length` items of each stretch `start .. end`, padded on the left by -1."""
    at = end[:, None] - np.arange(length, 0, -1)[None, :]
    inside = at >= start[:, None]
    return (
        np.where(inside, items[np.where(inside, at, 0)], -1).astype(np.int32) if len(items) else np.full(at.shape, -1)
    )
