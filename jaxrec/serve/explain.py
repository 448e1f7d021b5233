"""Explanations of scores by the items of the history: exact for additive models, else leave-one-out."""

from collections.abc import Mapping
from functools import partial
from types import MappingProxyType
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from jaxrec import programs
from jaxrec.blockwise import slices
from jaxrec.features import FeatureTables, with_tables
from jaxrec.history import History
from jaxrec.models.model import Additive, Model, Params
from jaxrec.query import Query
from jaxrec.recommend.batch_recommender import NEW
from jaxrec.recommend.history_columns import Columns
from jaxrec.recommend.history_columns import padded as padded_columns
from jaxrec.recommend.recommender import Recommender
from jaxrec.serve.programs import padded

TOGETHER = 32  # leave-one-out histories scored at a time


class ScoreParts(NamedTuple):
    """Score and its parts: positions of items and their contributions, largest first."""

    score: float | None
    rest: float | None
    method: str
    reason: str
    parts: list[tuple[int, float]]


class Explainer:
    """Explains scores of a run's model; used from one thread.

    Args:
        recommender: the loaded run.
        lengths: history lengths for which `warm` compiles programs.

    Attributes:
        why_not: reason why scores cannot be explained; None if they can.
    """

    def __init__(self, recommender: Recommender, lengths: list[int]) -> None:
        self.recommender, self.lengths = recommender, lengths
        name = type(recommender.model).__name__
        # A model of user ids is explained through its fold-in of the history, see `Model.by_history`.
        self._models = {n: model for n in lengths if (model := recommender.model.by_history(n)) is not None}
        model = self._models.get(lengths[0])
        self.linear = isinstance(model, Additive)
        self.reads = 0 if model is None else model.history_length
        self.why_not = None
        if not self.reads:
            self.why_not = f"{name} scores do not depend on a history"

    def warm(self) -> int:
        """Compile every program; return their number."""
        if self.why_not is not None:
            return 0
        for length in self.lengths:
            self(NEW, np.zeros(length, np.int32), 0)
        return len(self.lengths)

    def __call__(
        self, user: int, history: Int[np.ndarray, "T"], item: int, columns: Columns = MappingProxyType({})
    ) -> ScoreParts:
        """Return the item's score for this user and history, and the contributions of the history items."""
        if self.why_not is not None or not len(history):
            return ScoreParts(None, None, "none", self.why_not or "the history is empty", [])
        return self._exact(user, history, item) if self.linear else self._left_out(user, history, item, columns)

    def _exact(self, user: int, history: np.ndarray, item: int) -> ScoreParts:
        n = self._length(history)
        program = programs.jit(partial(_contributions, self._models[n], n))
        parts, score = program(self.recommender.arrays, user, padded([history], n), item)
        parts = np.asarray(parts)[n - len(history) :]
        return ScoreParts(
            float(score),
            float(score) - float(parts.sum(dtype=np.float64)),
            "exact",
            "the score is a sum over the history items",
            _by_item(history, parts),
        )

    def _left_out(self, user: int, history: np.ndarray, item: int, columns: Columns) -> ScoreParts:
        read = np.arange(len(history))[-self.reads :]
        lists = [history, *(np.delete(history, at) for at in read)]
        others = [columns, *({name: np.delete(column, at) for name, column in columns.items()} for at in read)]
        blocks = slices(len(lists), TOGETHER)
        scores = np.concatenate([self._scored(user, lists[block], item, others[block]) for block in blocks])
        return ScoreParts(
            float(scores[0]),
            None,
            "leave_one_out",
            f"decrease of the score when one of the latest {len(read)} items is left out",
            _by_item(history[read], scores[0] - scores[1:]),
        )

    def _scored(self, user: int, lists: list[np.ndarray], item: int, columns: list[Columns]) -> Float[np.ndarray, "B"]:
        n = self._length(max(lists, key=len))
        histories = np.pad(padded(lists, n), ((0, TOGETHER - len(lists)), (0, 0)), constant_values=-1)
        program = programs.jit(partial(_scores, self._models[n], n))
        empty: list[Columns] = [{}] * (TOGETHER - len(lists))
        read = padded_columns([*columns, *empty], self.recommender.model.history_columns, n)
        return np.asarray(program(self.recommender.arrays, user, histories, item, read))[: len(lists)]

    def _length(self, history: np.ndarray) -> int:
        return next(length for length in self.lengths if length >= len(history))


def _contributions(
    model: Model,
    n: int,
    arrays: tuple[FeatureTables, Params],
    user: Array,
    histories: Int[Array, "1 T"],
    item: Array,
) -> tuple[Array, Array]:
    """Contribution of each entry of a history of up to `n` items to the score of an item, and the score."""
    feature_tables, params = arrays
    model = with_tables(model, feature_tables)
    assert isinstance(model, Additive)
    query, items = _query(model, n, user, histories, {}), jnp.full((1, 1), item, jnp.int32)
    parts = model.bind(params).contributions(query, items[:, 0])[0]
    missing = n - parts.shape[0]
    return jnp.pad(parts, (max(0, missing), 0))[-n:], model.bind(params)(query, items)[0, 0]


def _scores(
    model: Model,
    n: int,
    arrays: tuple[FeatureTables, Params],
    user: Array,
    histories: Int[Array, "B T"],
    item: Array,
    columns: Mapping[str, Array],
) -> Float[Array, "B"]:
    """Score of an item for each history of up to `n` items."""
    feature_tables, params = arrays
    model = with_tables(model, feature_tables)
    items = jnp.full((histories.shape[0], 1), item, jnp.int32)
    return model.bind(params)(_query(model, n, user, histories, columns), items)[:, 0]


def _query(model: Model, n: int, user: Array, histories: Int[Array, "B T"], columns: Mapping[str, Array]) -> Query:
    length = model.history_length

    def latest(column: Array) -> Array:
        return jnp.pad(column, ((0, 0), (max(0, length - n), 0)), constant_values=-1)[:, -length:]

    history = History(latest(histories), **{name: latest(column) for name, column in columns.items()})
    return Query(jnp.full(histories.shape[0], user, jnp.int32), history)


def _by_item(history: np.ndarray, parts: np.ndarray) -> list[tuple[int, float]]:
    """Sum contributions by item, largest first."""
    items, entry = np.unique(history, return_inverse=True)
    totals = np.bincount(entry, parts)
    return [(int(items[at]), float(totals[at])) for at in np.argsort(-totals, kind="stable")]
