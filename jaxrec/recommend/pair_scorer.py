"""Scoring of user-item pairs with programs that are compiled once."""

from functools import partial

import numpy as np
from jaxtyping import Array, Float, Int

from jaxrec import backend, programs
from jaxrec.blockwise import in_blocks
from jaxrec.data.histories import UserHistories
from jaxrec.features import FeatureTables, with_tables
from jaxrec.history import DeviceHistories, device_histories
from jaxrec.models.model import Model, Pairwise, Params
from jaxrec.query import Query

ROWS, MANY = 8, 4096  # rows per block: models that read histories, and others


class PairScorer:
    """Scores blocks of rows, each a user and a few items; without histories every pair is its own row."""

    def __init__(self, model: Model, feature_tables: FeatureTables, params: Params, known: UserHistories) -> None:
        self.model, self.reads = model, model.history_length
        hour = "hour" in model.history_columns
        self._shared = feature_tables, params, device_histories(known, hour=hour) if self.reads else None
        self._program = programs.jit(partial(_score, model))

    def __call__(self, users: Int[np.ndarray, "N"], items: Int[np.ndarray, "N"]) -> Float[np.ndarray, "N"]:
        """Return scores of pairs of positions, in order."""
        if not len(users):
            return np.empty(0, np.float32)
        scores = np.empty(len(users), np.float32)
        order = np.argsort(users, kind="stable") if self.reads else np.arange(len(users))
        row, column, width = self._layout(users[order])
        owners = np.zeros(row[-1] + 1, np.int32)
        owners[row] = users[order]
        candidates = np.zeros((len(owners), width), np.int32)
        candidates[row, column] = items[order]
        program = lambda rows: self._program(self._shared, owners[rows], candidates[rows])  # noqa: E731
        scores[order] = in_blocks(program, len(owners), self._block())[row, column]
        return scores

    def _layout(self, users: np.ndarray) -> tuple[np.ndarray, np.ndarray, int]:
        """Return row and column of every pair, for sorted users, and the number of columns."""
        n = len(users)
        if not self.reads:
            return np.arange(n), np.zeros(n, np.int64), 1
        first = np.flatnonzero(np.diff(users, prepend=-1))
        count = np.diff(first, append=n)
        # As many items per history as are cheap: few if every pair runs through its own layers.
        width = 8 if isinstance(self.model, Pairwise) else 64
        at = np.arange(n) - np.repeat(first, count)
        rows = -(-count // width)
        return np.repeat(np.cumsum(rows) - rows, count) + at // width, at % width, width

    def _block(self) -> int:
        """Return the rows per block; a model that reads histories may score the catalog to score one pair."""
        return ROWS if self.reads else max(ROWS, min(MANY, backend.choices().rank_block // self.model.pair_floats))


def _score(
    model: Model,
    shared: tuple[FeatureTables, Params, DeviceHistories | None],
    users: Int[Array, "B"],
    items: Int[Array, "B N"],
) -> Float[Array, "B N"]:
    """Return scores of each user's items."""
    feature_tables, params, known = shared
    history = None if known is None else known.latest(users, model.history_length)
    return with_tables(model, feature_tables).bind(params)(Query(users, history), items)
