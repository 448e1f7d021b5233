"""Scores of the whole catalog → the best k items of each user, exactly, a block of users at a time."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, PyTree

from jaxrec.blockwise import Block, Blockwise, block_size
from jaxrec.data.features import Encoded
from jaxrec.data.histories import UserHistories
from jaxrec.fallback import Fallback, FoldIn, Sources, sources
from jaxrec.features import FeatureTables, tables, with_tables
from jaxrec.history import DeviceHistories, past
from jaxrec.hyper import Hyper, with_hyper
from jaxrec.models.model import Factorized, Model, Pairwise, Params
from jaxrec.query import Query
from jaxrec.ragged import Ragged, ragged

GROUP = 16  # items whose maximum is taken together


def top_k(scores: Float[Array, "B I"], k: int) -> tuple[Float[Array, "B K"], Int[Array, "B K"]]:
    """The k largest of each row and where they stand; equal scores in order of position.

    Only groups with one of the k largest maxima can hold one of the k best, so the rest is never sorted. Ties keep
    their order because groups are taken, and then laid side by side, in order of position.
    """
    n_rows, n_items = scores.shape
    n_groups = -(-n_items // GROUP)
    if n_groups <= 2 * k:
        return _sorted(scores, k)
    padding = ((0, 0), (0, n_groups * GROUP - n_items))
    groups = jnp.pad(scores, padding, constant_values=-jnp.inf).reshape(n_rows, n_groups, GROUP)
    _, best = _sorted(jnp.max(groups, axis=2), k)
    best = jnp.sort(best, axis=1)
    candidates = jnp.take_along_axis(groups, best[:, :, None], axis=1).reshape(n_rows, k * GROUP)
    values, at = _sorted(candidates, k)
    items = jnp.take_along_axis(best, at // GROUP, axis=1) * GROUP + at % GROUP
    return values, items


def _sorted(scores: Float[Array, "B N"], k: int) -> tuple[Float[Array, "B K"], Int[Array, "B K"]]:
    """`lax.top_k`, to which 0.0 would be larger than -0.0; of the catalog only what is sorted is mended for it."""
    values, at = jax.lax.top_k(jnp.where(scores == 0, 0.0, scores), k)
    return values, at


class Ranked(NamedTuple):
    """Lists of a population: items [P, R, K], -1 where a user has fewer left; scores [P, R, K].

    `finite` [P] is False for a member that gave any item a score that is not a number or infinite: its lists mean
    nothing.
    """

    items: Int[Array, "P R K"]
    scores: Float[Array, "P R K"]
    finite: Bool[np.ndarray, "P"]


@dataclass(frozen=True, eq=False)
class QueryRows:
    """Whom to rank for, on the host: users [R], each with the entries `start .. end` of `known` for a history.

    A user may have several rows. `masked` says what is left out of each list, as offsets [R + 1] and items; None:
    nothing. `encoded`: what is known of users and items, for models that ask for it.
    """

    users: np.ndarray
    known: UserHistories
    start: np.ndarray
    end: np.ndarray
    masked: tuple[np.ndarray, np.ndarray] | None = None
    encoded: Encoded | None = None

    @classmethod
    def about(cls, users: np.ndarray, known: UserHistories, encoded: Encoded | None = None) -> "QueryRows":
        """With all that is known of these users; what of it is a target is left out of their lists."""
        return cls(users, known, known.offsets[users], known.offsets[users + 1], known.masked(users), encoded)


def query_of(model: Model, asked: QueryRows) -> Query:
    """All rows as one query, with histories as long as this model reads; for scores of a few pairs."""
    return rows_of(model, asked).query(jnp.arange(len(asked.users)), model.history_length)


class Rows(NamedTuple):
    """Users and their histories' bounds on the device; `past` and `tables` are there for models that ask for them."""

    users: Int[Array, "R"]
    start: Int[Array, "R"]
    end: Int[Array, "R"]
    past: DeviceHistories | None
    tables: FeatureTables

    def member(self, model: Model, hyper: Hyper) -> Model:
        """The model as one member has it, inside a program."""
        return with_tables(with_hyper(model, hyper), self.tables)

    def query(self, rows: Int[Array, "B"], length: int) -> Query:
        """These rows as one query, with histories of this length."""
        known = self.past if length else None
        history = known.latest(self.start[rows], self.end[rows], length) if known is not None else None
        return Query(self.users[rows], history)


def sources_of(model: Model, asked: QueryRows, fallback: Fallback | None) -> tuple[Sources | None, Model | None]:
    """Who answers for the rows asked about; see `fallback.sources`."""
    return sources(model, fallback, (asked.users, asked.start, asked.end), asked.known, asked.encoded)


def rows_of(model: Model, asked: QueryRows, folds: Model | None = None) -> Rows:
    """What is asked, as this model wants it, and the one that folds users in."""
    users, start, end = (jnp.asarray(x, jnp.int32) for x in (asked.users, asked.start, asked.end))
    histories = past(asked.known) if (folds or model).history_length else None
    return Rows(users, start, end, histories, tables(model, asked.encoded))


class Ranker:
    """Ranks the catalog for the rows asked about, for every member of a population; compiled at the first call.

    pool: so many items of the catalog are ranked alone, those of each call; None: all
    fallback: what is needed to answer for users the model knows nothing of; None: the model answers for all

    Memory: scores of `block` rows at a time on each device, never users x items; see `Blockwise`.
    """

    def __init__(
        self,
        model: Model,
        asked: QueryRows,
        k: int,
        *,
        block: int | None = None,
        exclude_known: bool = True,
        pool: int | None = None,
        fallback: Fallback | None = None,
    ) -> None:
        self.model, self.k = model, k
        sources, self._folds = sources_of(model, asked, fallback)
        self._n_rows = len(asked.users)
        self._block = block_size(self._n_rows, pool or model.n_items, block, _held_floats(model))
        masked = None
        if exclude_known and asked.masked is not None:
            offsets, items = asked.masked
            first_rows = np.arange(0, self._n_rows, self._block)
            last_rows = np.minimum(first_rows + self._block, self._n_rows)
            self._max_entries = max(1, int(np.max(offsets[last_rows] - offsets[first_rows])))
            masked = ragged(offsets, items)
        self._history_length = model.history_length
        shared = rows_of(model, asked, self._folds), masked, sources
        self.stream = Blockwise(self._rank_member, shared, self._n_rows, self._block)

    def __call__(self, params: Params, hyper: Hyper, pools: Int[np.ndarray, "P C"] | None = None) -> Ranked:
        """Parameters and numbers with a leading member axis → the lists of every member, of its pool of items."""
        (items, scores), finite = self.stream((params, pools), hyper)
        return Ranked(items, scores, finite)

    def _rank_member(
        self, shared: tuple[Rows, Ragged | None, Sources | None], member: tuple[Params, Array | None], hyper: Hyper
    ) -> Block:
        (asked, masked, sources), (params, pool) = shared, member
        model = asked.member(self.model, hyper)
        score = scorer(model, params, pool)
        folds = None if self._folds is None else asked.member(self._folds, hyper)
        fold_in = None if folds is None else FoldIn(folds.history_length, scorer(folds, params, pool))
        place = None if pool is None else jnp.full(model.n_items, model.n_items).at[pool].set(jnp.arange(len(pool)))

        def rank_block(first_row: Int[Array, ""]) -> tuple[tuple[Array, Array], Bool[Array, ""]]:
            rows = jnp.minimum(first_row + jnp.arange(self._block), self._n_rows - 1)
            scores = score(asked.query(rows, self._history_length))
            finite = jnp.max(jnp.abs(scores)) < jnp.inf  # False for a NaN too; no pass over the scores of its own
            if sources is not None:
                scores = sources.blended(rows, scores, pool, asked.query, fold_in)
            if masked is not None:
                scores = masked.mask_block(scores, first_row, self._max_entries, place)
            values, items = top_k(scores, self.k)
            items = items if pool is None else pool[items]
            return (jnp.where(values > -jnp.inf, items, -1), values), finite

        return rank_block


def scorer(model: Model, params: Params, pool: Int[Array, "C"] | None = None) -> Callable[[Query], Float[Array, "B C"]]:
    """Scores of all items, or of a pool of them; what depends on items alone is computed once."""
    side = item_side(model, params)
    if pool is None:
        return lambda query: score_all(model, params, side, query)
    if side is None:
        return lambda query: model.bind(params)(query, jnp.broadcast_to(pool, (query.user.shape[0], pool.shape[0])))
    side = side[pool] if isinstance(model, Factorized) else jax.tree.map(lambda x: x[..., pool], side)
    return lambda query: score_all(model, params, side, query)


def item_side(model: Model, params: Params) -> PyTree:
    """What scores of the catalog need of items alone: their vectors or parts; None for a model that has neither."""
    if isinstance(model, Factorized):
        return model.bind(params).item_vectors()
    return model.bind(params).item_parts() if isinstance(model, Pairwise) else None


def score_all(model: Model, params: Params, side: PyTree, query: Query) -> Float[Array, "B C"]:
    """Scores of every item of an `item_side`."""
    if isinstance(model, Factorized):
        return model.bind(params).query_vectors(query) @ side.T
    if isinstance(model, Pairwise):
        return model.bind(params).score_parts(query, side)
    return model.bind(params).score_catalog(query)


def _held_floats(model: Model) -> int:
    """Numbers held for each pair while a block of users is scored with the catalog, see `pairs.every_pair`."""
    return 1 if jax.default_backend() == "cpu" else model.pair_floats
