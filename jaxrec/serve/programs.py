"""Compiled programs of a few fixed shapes that map request rows to lists, all compiled before the first request."""

import time
from collections.abc import Sequence
from functools import partial
from itertools import product
from types import MappingProxyType
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from jaxrec import programs
from jaxrec.blockwise import slices
from jaxrec.recommend.batch_recommender import NEW, ROWS
from jaxrec.recommend.history_columns import Columns
from jaxrec.recommend.history_columns import padded as padded_columns
from jaxrec.recommend.item_similarity import Vectors
from jaxrec.recommend.recommender import Recommender
from jaxrec.rerank.diversity import mmr
from jaxrec.rerank.freshness import freshened
from jaxrec.serve.limits import Limits

SHORT = 20  # lists of up to this length need fewer candidates and half the time
LENGTHS = (64, 512)  # of histories; the longest possible history is added


class Row(NamedTuple):
    """Row to recommend for, with its options.

    Attributes:
        user: position, or `NEW` for a user described only by the history.
        history: positions of items, oldest first.
        hidden: positions of items to filter from the list.
        columns: what else is known of the entries of the history, see `Model.history_columns`.
    """

    user: int
    history: np.ndarray
    hidden: np.ndarray
    k: int = 10
    diversity: float = 0.0
    freshness: float = 0.0
    columns: Columns = MappingProxyType({})

    @property
    def reranked(self) -> bool:
        """Whether the list is re-ranked."""
        return self.diversity > 0 or self.freshness > 0


class RankedList(NamedTuple):
    """Recommendation list: item positions and model scores, best first; `by_model` is False for the popularity list."""

    items: list[int]
    scores: list[float]
    by_model: bool


class Programs:
    """Computes lists for rows, ROWS rows of one shape at a time; used from one thread.

    The program of a row depends only on that row, and each program has one shape, so a list is bitwise identical in any
    batch.

    Item ages are measured from the latest interaction of the run, and grow with the clock while the server runs.
    """

    def __init__(self, recommender: Recommender, vectors: Vectors | None, limits: Limits) -> None:
        self.recommender, self.limits = recommender, limits
        n_items = len(recommender.item_ids)
        self.n_candidates = min(limits.candidates, n_items)
        self.max_k = min(limits.max_k, n_items)
        longest = int(np.diff(recommender.known.offsets).max(initial=0)) + limits.user_items
        self.longest = max(longest, limits.max_history)
        self.lengths = [*(length for length in LENGTHS if length < self.longest), self.longest]
        self._vectors = jnp.zeros((n_items, 1)) if vectors is None else vectors
        ages = np.full(n_items, np.nan) if recommender.ages is None else recommender.ages
        self._ages = jnp.asarray(ages, jnp.float32)
        self._started = time.monotonic()
        self._rerank = programs.jit(partial(rerank, half_life=limits.half_life_days), static_argnames="k")

    def warm(self) -> int:
        """Compile every program; return their number."""
        nothing = np.zeros(0, np.int32)
        user = 0 if len(self.recommender.user_ids) else NEW
        ks = sorted({min(SHORT, self.max_k), self.max_k})
        for length, k in product(self.lengths, ks):
            self([Row(user, np.zeros(length, np.int32), nothing, k)])
        for k in ks:  # re-ranking does not depend on history lengths
            self([Row(user, nothing, nothing, k, diversity=0.5)])
        return (len(self.lengths) + 1) * len(ks) + len(self.lengths)

    def __call__(self, rows: Sequence[Row]) -> list[RankedList]:
        """Return one list per row."""
        kinds: dict[tuple[int, int, bool], list[int]] = {}
        for at, row in enumerate(rows):
            longest = max(len(row.history), len(row.hidden))
            length = next(length for length in self.lengths if length >= longest)
            k = min(SHORT, self.max_k) if row.k <= SHORT else self.max_k
            kinds.setdefault((length, k, row.reranked), []).append(at)
        listed: dict[int, RankedList] = {}
        for kind, places in kinds.items():
            for block in slices(len(places), ROWS):
                some = places[block]
                listed |= zip(some, self._listed([rows[at] for at in some], *kind), strict=True)
        return [listed[at] for at in range(len(rows))]

    def _listed(self, rows: Sequence[Row], length: int, k: int, reranked: bool) -> list[RankedList]:
        """Return the lists of rows of one shape."""
        answers = self.recommender.batch_recommender(self.n_candidates if reranked else k, ROWS, length)
        users = np.array([row.user for row in rows], np.int32)
        histories, hidden = (
            padded(lists, length) for lists in zip(*((r.history, r.hidden) for r in rows), strict=True)
        )
        columns = padded_columns([row.columns for row in rows], self.recommender.model.history_columns, length)
        items, scores = answers(users, histories, hidden=hidden, columns=columns)
        if reranked:
            items, scores = self._reranked(rows, items, scores, k)
        by_model = answers.is_model(users, histories)
        sizes = np.minimum((items >= 0).sum(axis=1), [row.k for row in rows]).tolist()
        return [
            RankedList(items[at, :n].tolist(), scores[at, :n].tolist(), bool(by_model[at]))
            for at, n in enumerate(sizes)
        ]

    def _reranked(
        self, rows: Sequence[Row], items: np.ndarray, scores: np.ndarray, k: int
    ) -> tuple[np.ndarray, np.ndarray]:
        missing = ROWS - len(rows)
        weights = np.array([(row.diversity, row.freshness) for row in rows] + [(0, 0)] * missing, np.float32)
        padding = ((0, missing), (0, 0))
        later = np.float32((time.monotonic() - self._started) / 86_400)
        order: object = self._rerank(
            np.pad(scores, padding),
            self._vectors,
            self._ages,
            np.pad(items, padding),
            later,
            weights[:, 0],
            weights[:, 1],
            k=k,
        )
        order = np.asarray(order)[: len(rows)]
        return np.take_along_axis(items, order, axis=1), np.take_along_axis(scores, order, axis=1)


def rerank(
    scores: Float[Array, "B C"],
    vectors: Vectors,
    ages: Float[Array, "I"],
    items: Int[Array, "B C"],
    later: Float[Array, ""],
    diversity: Float[Array, "B"],
    freshness: Float[Array, "B"],
    *,
    half_life: float,
    k: int,
) -> Int[Array, "B K"]:
    """Re-rank candidates by freshness, as part of the score, then by diversity.

    Args:
        scores: scores of the candidates.
        vectors: item vectors for the diversity.
        ages: item ages in days at the latest interaction of the run, `later` days ago.
        items: positions of the candidates, padded with -1.
        later: days since the latest interaction of the run.
        diversity: weight per row.
        freshness: weight per row.
        half_life: age of half freshness, in days.
        k: list length.

    Returns:
        Positions in the candidates, by rank.
    """
    at = jnp.maximum(items, 0)  # padding has a score of -inf
    fresh = freshened(scores, ages[at] + later, freshness, half_life)
    return mmr(fresh, vectors[at], diversity, k=k)


def padded(lists: Sequence[np.ndarray], length: int) -> Int[np.ndarray, "B T"]:
    """Left-pad lists with -1 to one length."""
    rows = np.full((len(lists), length), -1, np.int32)
    for row, items in zip(rows, lists, strict=True):
        row[length - len(items) :] = items
    return rows
