"""Exact top-k ranking of the whole catalog, one block of users at a time."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, PyTree

from jaxrec import backend, programs
from jaxrec.blockwise import Block, Blockwise, block_size
from jaxrec.data.features import Encoded
from jaxrec.data.histories import UserHistories
from jaxrec.fallback import Fallback, FoldIn, Sources, sources
from jaxrec.features import FeatureTables, tables, with_tables
from jaxrec.history import DeviceHistories, device_histories
from jaxrec.hyper import Hyper, with_hyper
from jaxrec.mesh import rows_over
from jaxrec.models.model import Factorized, Model, Pairwise, Params
from jaxrec.query import Query
from jaxrec.ragged import Ragged, ragged
from jaxrec.top_k import sharded_top_k, top_k

log = logging.getLogger(__name__)


class Ranked(NamedTuple):
    """Ranked lists of a population.

    Attributes:
        items: items by rank, [P, R, K]; padded with -1 if fewer than K items remain after filtering
        scores: scores of these items, [P, R, K]
        finite: [P], False for a member with any NaN or infinite score, whose lists are meaningless
    """

    items: Int[Array, "P R K"]
    scores: Float[Array, "P R K"]
    finite: Bool[Array, "P"]


@dataclass(frozen=True, eq=False)
class QueryRows:
    """Rows to rank for, on the host; a user may have several rows.

    Attributes:
        users: user of each row, [R]
        known: known histories of all users
        start, end: the history of a row is `known[start : end]`
        masked: items filtered from each list, as offsets [R + 1] and items; None: no filter
        encoded: features of users and items, for models that read them
    """

    users: np.ndarray
    known: UserHistories
    start: np.ndarray
    end: np.ndarray
    masked: tuple[np.ndarray, np.ndarray] | None = None
    encoded: Encoded | None = None

    @classmethod
    def for_users(
        cls, users: np.ndarray, known: UserHistories, encoded: Encoded | None = None, *, filter_seen: bool = True
    ) -> "QueryRows":
        """One row per user with all known interactions.

        Args:
            users: user of each row.
            known: histories of all users.
            encoded: features, for models that read them.
            filter_seen: filter known targets from the lists.
        """
        masked = known.masked(users) if filter_seen else None
        return cls(users, known, known.offsets[users], known.offsets[users + 1], masked, encoded)


def query_of(model: Model, queries: QueryRows) -> Query:
    """All rows as one query, with histories of the model's length; for scoring a few pairs."""
    return rows_of(model, queries).query(jnp.arange(len(queries.users)), model.history_length)


class Rows(NamedTuple):
    """Rows to rank for, on the device; `histories` and `tables` are present for models that read them."""

    users: Int[Array, "R"]
    histories: DeviceHistories | None
    tables: FeatureTables

    def members(self, models: tuple[Model, Model | None], hyper: Hyper) -> tuple[Model, Model | None]:
        """The model and the fold-in model with a member's hyperparameters and the feature tables, inside a program."""
        model, folds = models
        return self._member(model, hyper), None if folds is None else self._member(folds, hyper)

    def _member(self, model: Model, hyper: Hyper) -> Model:
        return with_tables(with_hyper(model, hyper), self.tables)

    def query(self, rows: Int[Array, "B"], length: int) -> Query:
        """Query of these rows, with histories of this length."""
        histories = self.histories if length else None
        return Query(self.users[rows], None if histories is None else histories.latest(rows, length))


def sources_of(model: Model, queries: QueryRows, fallback: Fallback | None) -> tuple[Sources | None, Model | None]:
    """Sources of the scores of these rows; see `fallback.sources`."""
    return sources(model, fallback, (queries.users, queries.start, queries.end), queries.known, queries.encoded)


def rows_of(model: Model, queries: QueryRows, folds: Model | None = None) -> Rows:
    """Copy rows to the device, with the histories and features that the model or its fold-in model reads."""
    reads = (folds or model).history_length
    hour = "hour" in model.history_columns
    histories = device_histories(queries.known, queries.start, queries.end, hour=hour) if reads else None
    return Rows(jnp.asarray(queries.users, jnp.int32), histories, tables(model, queries.encoded))


class Ranker:
    """Ranks the catalog for rows of users, for every member of a population; compiled at the first call.

    Memory: scores of `block` rows at a time on each device, never users x items; see `Blockwise`. If a device runs out
    of memory, blocks are halved.

    Args:
        model: the model.
        queries: rows to rank for.
        k: length of the lists.
        block: rows per block; None: chosen by catalog size.
        exclude_known: filter the items in `queries.masked`.
        pool: number of items to rank instead of the catalog, passed in each call; None: the whole catalog.
        fallback: sources for users whom the model cannot score; None: the model scores all users.
    """

    def __init__(
        self,
        model: Model,
        queries: QueryRows,
        k: int,
        *,
        block: int | None = None,
        exclude_known: bool = True,
        pool: int | None = None,
        fallback: Fallback | None = None,
    ) -> None:
        self.k = k
        sources, folds = sources_of(model, queries, fallback)
        self._models = model, folds
        self._n_rows = len(queries.users)
        self._masked = queries.masked if exclude_known else None
        masked = None if self._masked is None else ragged(*self._masked)
        self._shared = rows_of(model, queries, folds), masked, sources
        self._set_block(block_size(self._n_rows, pool or model.n_items, block, _floats_per_pair(model)))

    def _set_block(self, block: int) -> None:
        """Rank this many rows at a time."""
        self._block, max_entries = block, 0
        if self._masked is not None:
            offsets, _ = self._masked
            first_rows = np.arange(0, self._n_rows, self._block)
            last_rows = np.minimum(first_rows + self._block, self._n_rows)
            max_entries = programs.rounded_up(max(1, int(np.max(offsets[last_rows] - offsets[first_rows]))))
        member = partial(_rank_member, self.k, max_entries)
        self.blockwise = Blockwise(member, self._models, self._shared, self._n_rows, self._block)

    def __call__(
        self,
        params: Params,
        hyper: Hyper,
        pools: Int[np.ndarray, "P C"] | None = None,
        active: Bool[np.ndarray, "P"] | None = None,
    ) -> Ranked:
        """Lists of every member, from parameters and hyperparameters with a member axis.

        Args:
            params: parameters of all members.
            hyper: hyperparameters of all members.
            pools: items to rank for each member; None: the whole catalog.
            active: members to rank for; lists of the others are meaningless. None: all members.
        """
        while True:
            try:
                (items, scores), finite = self.blockwise((params, pools), hyper, active)
            except jax.errors.JaxRuntimeError as error:
                if not backend.is_out_of_memory(error) or self._block == 1:
                    raise
                with rows_over(self.blockwise.rows_over):
                    self._set_block(-(-self._block // 2))
                log.warning("out of memory while ranking: %d rows at a time from here on", self._block)
            else:
                return Ranked(items, scores, finite)


def _rank_member(
    k: int,
    max_entries: int,
    models: tuple[Model, Model | None],
    shared: tuple[Rows, Ragged | None, Sources | None],
    member: tuple[Params, Array | None],
    hyper: Hyper,
) -> Block:
    """Function that ranks a block of rows for one member, with at most `max_entries` items filtered from a block."""
    (queries, masked, sources), (params, pool) = shared, member
    model, folds = queries.members(models, hyper)
    score = scorer(model, params, pool)
    fold_in = None if folds is None else FoldIn(folds.history_length, scorer(folds, params, pool))
    place = None if pool is None else jnp.full(model.n_items, model.n_items).at[pool].set(jnp.arange(len(pool)))

    def rank_block(rows: Int[Array, "B"]) -> tuple[tuple[Array, Array], Bool[Array, ""]]:
        scores = score(queries.query(rows, model.history_length))
        finite = jnp.max(jnp.abs(scores)) < jnp.inf  # False for NaN too; cheaper than a pass with isfinite
        if sources is not None:
            scores = sources.blended(rows, scores, pool, queries.query, fold_in)
        if masked is not None:
            scores = masked.mask_block(scores, rows[0], max_entries, place)
        values, items = sharded_top_k(scores, k) if pool is None else top_k(scores, k)
        items = items if pool is None else pool[items]
        return (jnp.where(values > -jnp.inf, items, -1), values), finite

    return rank_block


def scorer(model: Model, params: Params, pool: Int[Array, "C"] | None = None) -> Callable[[Query], Float[Array, "B C"]]:
    """Function that scores all items, or a pool of items, for a query; item-only parts are computed once."""
    side = item_side(model, params)
    if pool is None:
        return lambda query: score_all(model, params, side, query)
    if side is None:
        return lambda query: model.bind(params)(query, jnp.broadcast_to(pool, (query.user.shape[0], pool.shape[0])))
    side = side[pool] if isinstance(model, Factorized) else jax.tree.map(lambda x: x[..., pool], side)
    return lambda query: score_all(model, params, side, query)


def item_side(model: Model, params: Params) -> PyTree:
    """Item vectors or item-only parts of the whole catalog; None for a model that has neither."""
    if isinstance(model, Factorized):
        return model.bind(params).item_vectors()
    return model.bind(params).item_parts() if isinstance(model, Pairwise) else None


def score_all(model: Model, params: Params, side: PyTree, query: Query) -> Float[Array, "B C"]:
    """Scores of every item of an `item_side`."""
    if isinstance(model, Factorized):
        bound = model.bind(params)
        return bound.all_pairs(bound.query_vectors(query), side)
    if isinstance(model, Pairwise):
        return model.bind(params).score_parts(query, side)
    return model.bind(params).score_catalog(query)


def _floats_per_pair(model: Model) -> int:
    """Floats allocated per user-item pair while a block is scored against the catalog, see `pairs.every_pair`."""
    return 1 if backend.choices().tiled else model.pair_floats
