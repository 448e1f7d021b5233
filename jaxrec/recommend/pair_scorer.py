"""Scores of given pairs of users and items, by programs that are compiled once."""

import jax
import numpy as np
from jaxtyping import Array, Float, Int

from jaxrec.blockwise import BLOCK_ENTRIES
from jaxrec.data.histories import UserHistories
from jaxrec.features import FeatureTables, with_tables
from jaxrec.history import DeviceHistories, past
from jaxrec.models.model import Model, Pairwise, Params
from jaxrec.query import Query

ROWS, MANY = 8, 4096  # rows at a time: of models of histories, and of others


class PairScorer:
    """A block of rows at a time, each a user and a few items; to models that read no histories every pair is a row.

    Blocks have one shape, whatever is asked: sums of other shapes have other last digits, see `answers.Scores`.
    """

    def __init__(self, model: Model, given: FeatureTables, params: Params, known: UserHistories) -> None:
        self.model, self.known = model, known
        self.reads = model.history_length
        self._shared = given, params, past(known) if self.reads else None
        self._program = jax.jit(self._score)

    def __call__(self, users: Int[np.ndarray, "N"], items: Int[np.ndarray, "N"]) -> Float[np.ndarray, "N"]:
        """Scores of pairs of positions, in their order."""
        scores = np.empty(len(users), np.float32)
        order = np.argsort(users, kind="stable") if self.reads else np.arange(len(users))
        row, column, width = self._laid_out(users[order])
        owners = np.zeros(row[-1] + 1 if len(row) else 0, np.int32)
        owners[row] = users[order]
        candidates = np.zeros((len(owners), width), np.int32)
        candidates[row, column] = items[order]
        found = np.empty(candidates.shape, np.float32)
        block = self._block()
        for start in range(0, len(owners), block):
            part = slice(start, start + block)
            n = len(owners[part])
            user = np.pad(owners[part], (0, block - n))
            asked = np.pad(candidates[part], ((0, block - n), (0, 0)))
            bounds = (self.known.offsets[user + end].astype(np.int32) for end in (0, 1))
            found[part] = np.asarray(self._program(self._shared, user, *bounds, asked))[:n]
        scores[order] = found[row, column]
        return scores

    def _laid_out(self, users: np.ndarray) -> tuple[np.ndarray, np.ndarray, int]:
        """Row and column of every pair, users in order, and how many columns there are."""
        n = len(users)
        if not self.reads:
            return np.arange(n), np.zeros(n, np.int64), 1
        first = np.flatnonzero(np.diff(users, prepend=-1))
        count = np.diff(first, append=n)
        # Of a history as many items as come cheap: few where each pair has layers of its own.
        width = 8 if isinstance(self.model, Pairwise) else 64
        at = np.arange(n) - np.repeat(first, count)
        rows = -(-count // width)
        return np.repeat(np.cumsum(rows) - rows, count) + at // width, at % width, width

    def _block(self) -> int:
        """Rows at a time; a model of histories may score the catalog in order to score a pair."""
        return ROWS if self.reads else max(ROWS, min(MANY, BLOCK_ENTRIES // self.model.pair_floats))

    def _score(
        self,
        shared: tuple[FeatureTables, Params, DeviceHistories | None],
        users: Int[Array, "B"],
        start: Int[Array, "B"],
        end: Int[Array, "B"],
        items: Int[Array, "B N"],
    ) -> Float[Array, "B N"]:
        given, params, known = shared
        history = known.latest(start, end, self.reads) if known is not None else None
        return with_tables(self.model, given).bind(params)(Query(users, history), items)
