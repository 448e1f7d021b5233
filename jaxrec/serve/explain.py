"""Which items of a history speak for an item: exactly where the score is a sum over them, else by leaving one out."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from jaxrec.history import History
from jaxrec.models.model import Additive, Params
from jaxrec.query import Query
from jaxrec.recommend.batch_recommender import NEW
from jaxrec.recommend.recommender import Recommender
from jaxrec.serve.programs import padded

TOGETHER = 32  # histories, each without one item, that are scored at a time


class Explained(NamedTuple):
    """A score and its parts: positions of items and what each has to do with it, the largest first."""

    score: float | None
    rest: float | None
    method: str
    reason: str
    parts: list[tuple[int, float]]


class Explainer:
    """Explains scores of a run's model; used from one thread.

    lengths: of histories, for which programs are compiled by `warm`
    why_not: why nothing can be explained; None where it can be
    """

    def __init__(self, recommender: Recommender, lengths: list[int]) -> None:
        self.recommender, self.lengths = recommender, lengths
        name = type(recommender.model).__name__
        # A model of user ids is explained as it answers for a history: see `Model.by_history`.
        whole, self._params = recommender.asked
        self._models = {n: model for n in lengths if (model := whole.by_history(n)) is not None}
        model = self._models.get(lengths[0])
        self.linear = isinstance(model, Additive)
        self.reads = 0 if model is None else model.history_length
        self.why_not = None
        if not self.reads:
            self.why_not = f"{name} cannot say: its scores depend on no history"
        score = self._contributions if self.linear else self._scores
        self._program = jax.jit(score, static_argnums=0)

    def warm(self) -> int:
        """Compiles every program; how many there are."""
        if self.why_not is not None:
            return 0
        for length in self.lengths:
            self(NEW, np.zeros(length, np.int32), 0)
        return len(self.lengths)

    def __call__(self, user: int, history: Int[np.ndarray, "T"], item: int) -> Explained:
        """The item's score for this user with this history, and which entries it comes from."""
        if self.why_not is not None or not len(history):
            return Explained(None, None, "none", self.why_not or "there is no history to explain it by", [])
        return self._exact(user, history, item) if self.linear else self._left_out(user, history, item)

    def _exact(self, user: int, history: np.ndarray, item: int) -> Explained:
        n = self._length(history)
        parts, score = self._program(n, self._params, user, padded([history], n), item)
        parts = np.asarray(parts)[n - len(history) :]
        return Explained(
            float(score),
            float(score) - float(parts.sum(dtype=np.float64)),
            "exact",
            "the score is a sum over the items of the history",
            _by_item(history, parts),
        )

    def _left_out(self, user: int, history: np.ndarray, item: int) -> Explained:
        read = np.arange(len(history))[-self.reads :]
        lists = [history, *(np.delete(history, at) for at in read)]
        scores = np.concatenate(
            [self._scored(user, lists[at : at + TOGETHER], item) for at in range(0, len(lists), TOGETHER)]
        )
        return Explained(
            float(scores[0]),
            None,
            "leave_one_out",
            f"by how much the score falls when one of the latest {len(read)} items is left out",
            _by_item(history[read], scores[0] - scores[1:]),
        )

    def _scored(self, user: int, lists: list[np.ndarray], item: int) -> Float[np.ndarray, "B"]:
        n = self._length(max(lists, key=len))
        histories = np.pad(padded(lists, n), ((0, TOGETHER - len(lists)), (0, 0)), constant_values=-1)
        return np.asarray(self._program(n, self._params, user, histories, item))[: len(lists)]

    def _contributions(
        self, n: int, params: Params, user: Array, histories: Int[Array, "1 T"], item: Array
    ) -> tuple[Array, Array]:
        query, items = self._query(n, user, histories), jnp.full((1, 1), item, jnp.int32)
        model = self._models[n]
        assert isinstance(model, Additive)
        parts = model.bind(params).contributions(query, items[:, 0])[0]
        missing = n - parts.shape[0]
        return jnp.pad(parts, (max(0, missing), 0))[-n:], model.bind(params)(query, items)[0, 0]

    def _scores(
        self, n: int, params: Params, user: Array, histories: Int[Array, "B T"], item: Array
    ) -> Float[Array, "B"]:
        items = jnp.full((histories.shape[0], 1), item, jnp.int32)
        return self._models[n].bind(params)(self._query(n, user, histories), items)[:, 0]

    def _query(self, n: int, user: Array, histories: Int[Array, "B T"]) -> Query:
        length = self._models[n].history_length
        history = jnp.pad(histories, ((0, 0), (max(0, length - n), 0)), constant_values=-1)[:, -length:]
        return Query(jnp.full(histories.shape[0], user, jnp.int32), History(history))

    def _length(self, history: np.ndarray) -> int:
        return next(length for length in self.lengths if length >= len(history))


def _by_item(history: np.ndarray, parts: np.ndarray) -> list[tuple[int, float]]:
    """Of each item once, the largest first; entries of one item are added up."""
    items, entry = np.unique(history, return_inverse=True)
    totals = np.bincount(entry, parts)
    return [(int(items[at]), float(totals[at])) for at in np.argsort(-totals, kind="stable")]
