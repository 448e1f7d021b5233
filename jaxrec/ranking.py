"""Scores of the whole catalogue → the best k items of each user, exactly, a block of users at a time."""

from dataclasses import dataclass
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, Bool, Float, Int

from jaxrec.data.histories import Histories
from jaxrec.history import Past, past
from jaxrec.hyper import Hyper, with_hyper
from jaxrec.query import Query
from jaxrec.ragged import Ragged, ragged

GROUP = 16  # items whose maximum is taken together
BLOCK_ENTRIES = 1 << 21  # scores of a block: a few MiB, which a core's cache or a GPU's memory takes easily


def top_k(scores: Float[Array, "B I"], k: int) -> tuple[Float[Array, "B K"], Int[Array, "B K"]]:
    """The k largest of each row and where they stand; equal scores in order of position.

    Only groups with one of the k largest maxima can hold one of the k best, so the rest is never sorted. Ties keep
    their order because groups are taken, and then laid side by side, in order of position.
    """
    scores = jnp.where(scores == 0, 0.0, scores)  # to lax.top_k, 0.0 is larger than -0.0
    n_rows, n_items = scores.shape
    n_groups = -(-n_items // GROUP)
    if n_groups <= 2 * k:
        values, items = jax.lax.top_k(scores, k)
        return values, items
    padding = ((0, 0), (0, n_groups * GROUP - n_items))
    groups = jnp.pad(scores, padding, constant_values=-jnp.inf).reshape(n_rows, n_groups, GROUP)
    _, best = jax.lax.top_k(jnp.max(groups, axis=2), k)
    best = jnp.sort(best, axis=1)
    candidates = jnp.take_along_axis(groups, best[:, :, None], axis=1).reshape(n_rows, k * GROUP)
    values, at = jax.lax.top_k(candidates, k)
    items = jnp.take_along_axis(best, at // GROUP, axis=1) * GROUP + at % GROUP
    return values, items


class Ranked(NamedTuple):
    """Lists of a population: items [P, R, K], -1 where a user has fewer left; scores [P, R, K].

    `finite` [P] is False for a member that gave any item a score that is not a number or infinite: its lists mean
    nothing.
    """

    items: Int[Array, "P R K"]
    scores: Float[Array, "P R K"]
    finite: Any  # numpy bool [P]


@dataclass(frozen=True, eq=False)
class Asked:
    """Whom to rank for, on the host: users [R], each with the entries `start .. end` of `known` for a history.

    `masked` says what is left out of each list, as offsets [R + 1] and items.
    """

    users: np.ndarray
    known: Histories
    start: np.ndarray
    end: np.ndarray
    masked: tuple[np.ndarray, np.ndarray]

    @classmethod
    def about(cls, users: np.ndarray, known: Histories) -> "Asked":
        """With all that is known of these users; what of it is a target is left out of their lists."""
        return cls(users, known, known.offsets[users], known.offsets[users + 1], known.masked(users))


def query_of(model: nn.Module, asked: Asked) -> Query:
    """All rows as one query, with the history that this model states; for scores of a few pairs."""
    start, end, user = (jnp.asarray(x, jnp.int32) for x in (asked.start, asked.end, asked.users))
    length = getattr(model, "history_length", 0)
    return Query(user, past(asked.known).latest(start, end, length) if length else None)


class _Rows(NamedTuple):
    """Users and their histories' bounds on the device."""

    users: Int[Array, "R"]
    start: Int[Array, "R"]
    end: Int[Array, "R"]
    past: Past | None
    masked: Ragged | None

    def query(self, rows: Int[Array, "B"], length: int) -> Query:
        history = self.past.latest(self.start[rows], self.end[rows], length) if self.past is not None else None
        return Query(self.users[rows], history)


class Ranker:
    """Ranks the catalogue for the users asked about, for every member of a population; compiled at the first call.

    Users are dealt to the devices that members leave free. Memory: scores of `block` users at a time on each device,
    never users x items.
    """

    def __init__(
        self, model: nn.Module, asked: Asked, k: int, *, block: int | None = None, exclude_known: bool = True
    ) -> None:
        self.model, self.k = model, k
        self.n_users = len(asked.users)
        share = -(-self.n_users // jax.device_count())  # so that few users still keep every device busy
        # A model that does not factorise takes more than its score for a pair while it computes it.
        floats = getattr(model, "pair_floats", 1)
        self.block = min(block or max(1, 8 // floats, BLOCK_ENTRIES // (model.n_items * floats)), share)
        first_rows = np.arange(0, self.n_users, self.block)
        self._first_rows = first_rows
        masked = None
        if exclude_known:
            offsets, items = asked.masked
            last_rows = np.minimum(first_rows + self.block, self.n_users)
            self._max_entries = max(1, int(np.max(offsets[last_rows] - offsets[first_rows])))
            masked = ragged(offsets, items)
        self._history_length = getattr(model, "history_length", 0)
        users, start, end = (jnp.asarray(x, jnp.int32) for x in (asked.users, asked.start, asked.end))
        self._shared = _Rows(users, start, end, past(asked.known) if self._history_length else None, masked)
        self._programs: dict[int, Any] = {}

    def __call__(self, params: Any, hyper: Hyper) -> Ranked:
        """Parameters and numbers with a leading member axis → the lists of every member."""
        n_members = len(jax.tree.leaves(hyper)[0])
        if n_members not in self._programs:
            self._programs[n_members] = self._compile(n_members)
        program, deal = self._programs[n_members]
        items, scores, finite = program(*deal(params, hyper))
        return Ranked(items, scores, np.all(finite, axis=1))

    def _compile(self, n_members: int) -> Any:
        """Members over as many devices as divide them evenly, users over the rest."""
        n_devices = jax.device_count()
        over_members = max(d for d in range(1, n_devices + 1) if n_devices % d == 0 and n_members % d == 0)
        over_users = n_devices // over_members
        devices = np.array(jax.devices()).reshape(over_members, over_users)
        mesh = Mesh(devices, ("member", "user"))
        # Every device gets as many blocks; blocks behind the last repeat it and are cut off.
        n_blocks = -(-len(self._first_rows) // over_users) * over_users
        first_rows = jnp.asarray(np.resize(self._first_rows, n_blocks), jnp.int32)

        def local(shared: _Rows, first_rows: Array, params: Any, hyper: Hyper) -> Any:
            return jax.lax.map(lambda member: self._rank_member(shared, first_rows, *member), (params, hyper))

        P = PartitionSpec
        ranked = jax.shard_map(
            local,
            mesh=mesh,
            in_specs=(P(), P("user"), P("member"), P("member")),
            out_specs=(P("member", "user"), P("member", "user"), P("member", "user")),
            check_vma=False,
        )

        @jax.jit
        def program(shared: _Rows, params: Any, hyper: Hyper) -> Any:
            items, scores, finite = ranked(shared, first_rows, params, hyper)
            flat = lambda x: x.reshape(n_members, n_blocks * self.block, self.k)[:, : self.n_users]  # noqa: E731
            return flat(items), flat(scores), finite

        shared = jax.device_put(self._shared, NamedSharding(mesh, P()))

        def deal(params: Any, hyper: Hyper) -> Any:
            return shared, *jax.device_put((params, hyper), NamedSharding(mesh, P("member")))

        return program, deal

    def _rank_member(self, shared: _Rows, first_rows: Int[Array, "b"], params: Any, hyper: Hyper) -> Any:
        model = with_hyper(self.model, hyper)
        if hasattr(model, "item_vectors"):
            vectors: Any = model.apply(params, method="item_vectors")
            score = lambda query: model.apply(params, query, method="query_vectors") @ vectors.T  # noqa: E731
        elif hasattr(model, "item_parts"):
            parts: Any = model.apply(params, method="item_parts")
            score = lambda query: model.apply(params, query, parts, method="score_parts")  # noqa: E731
        else:
            score = lambda query: model.apply(params, query, method="score_catalogue")  # noqa: E731

        def rank_block(first_row: Int[Array, ""]) -> tuple[Array, Array, Bool[Array, ""]]:
            rows = jnp.minimum(first_row + jnp.arange(self.block), self.n_users - 1)
            scores = score(shared.query(rows, self._history_length))
            finite = jnp.isfinite(scores).all()
            if shared.masked is not None:
                scores = shared.masked.mask_block(scores, first_row, self._max_entries)
            values, items = top_k(scores, self.k)
            return jnp.where(values > -jnp.inf, items, -1), values, finite

        return jax.lax.map(rank_block, first_rows)
