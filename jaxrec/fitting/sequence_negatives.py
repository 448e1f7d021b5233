"""Negatives of the positions of a batch of windows."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.tree_util import Partial
from jaxtyping import Array, Float, Int, PyTree

from jaxrec.negatives.candidates import SamplerContext
from jaxrec.negatives.sampler import Sampler, SharedBy
from jaxrec.random import RandomStream

PLACES = 1 << 12  # counters reserved per example for the positions of its window


class DrawnNegatives(NamedTuple):
    """Negatives of each position [B, T, N]; a first or second axis of 1 means that they are shared along it.

    Attributes:
        items: the negatives
        used: 1 for negatives in use, else 0
        log_q: log sampling probability of each item of the catalog; None: uniform or unknown
    """

    items: Int[Array, "#B #T N"]
    used: Float[Array, "#B #T N"]
    log_q: Float[Array, "I"] | None


class Draw(NamedTuple):
    """Draws negatives for some or all windows of a batch.

    Attributes:
        sampler: the sampler
        source: random stream of the epoch
        n_items: size of the catalog
        user: user of every example
        tables: tables of the sampler
        mined: the member's latest mined negatives, see `jaxrec.fitting.mining`
        rows: examples of the whole batch
        target: targets of the whole batch, -1 for none
    """

    sampler: Sampler
    source: RandomStream
    n_items: int
    user: Int[Array, "R"]
    tables: PyTree
    mined: PyTree
    rows: Int[Array, "B"]
    target: Int[Array, "B T"]

    def __call__(
        self,
        share: SharedBy,
        rows: Int[Array, "C"],
        h: Float[Array, "C T D"],
        target: Int[Array, "C T"],
        vectors: Float[Array, "I D2"],
        compare: Partial | None = None,
    ) -> DrawnNegatives:
        """Draw negatives for these windows; a negative equal to the target of a position is not in use there.

        Args:
            share: which positions use the same negatives, see `Sampler`.
            rows: the examples.
            h: encoder outputs.
            target: target items.
            vectors: item vectors of the whole catalog.
            compare: see `Cost`.
        """
        user, (n, length) = self.user[rows], target.shape
        if share == "batch":
            context = SamplerContext(self.tables, self.user[self.rows], self.target, _no_scores)
            drawn = self.sampler.shared(self.source, self.rows, self.n_items, self.sampler.in_use, context)
            items, used = drawn.items[None], drawn.used[None]
            if (excluded := self.sampler.excluded(self.tables, user, drawn.items)) is not None:
                used = jnp.where(excluded[:, None, :], 0, used)
        elif share == "user":
            context = SamplerContext(self.tables, user, target[:, -1], _no_scores, self.mined)
            drawn = self.sampler.draw(self.source, rows, self.n_items, context)
            items, used = drawn.items[:, None, :], drawn.used[:, None, :]
        else:
            # Counted from the end, so that draws do not depend on the amount of padding.
            back = jnp.arange(length - 1, -1, -1, dtype=rows.dtype)
            flat = h.reshape(n * length, -1)

            def score(items: Int[Array, "P N"]) -> Float[Array, "P N"]:
                if compare is None:
                    return jax.lax.stop_gradient(jnp.einsum("pd,pnd->pn", flat, vectors[items]))
                own = jax.vmap(lambda query, columns: compare(query[None], columns)[0])
                return jax.lax.stop_gradient(own(flat, vectors[items].swapaxes(1, 2)))

            context = SamplerContext(self.tables, jnp.repeat(user, length), target.reshape(-1), score, self.mined)
            numbers = (rows[:, None] * PLACES + back[None, :]).reshape(-1)
            drawn = self.sampler.draw(self.source, numbers, self.n_items, context)
            items, used = (x.reshape(n, length, -1) for x in (drawn.items, drawn.used))
        return DrawnNegatives(items, jnp.where(items == target[:, :, None], 0, used), drawn.log_q)


def _no_scores(items: Int[Array, "B N"]) -> Float[Array, "B N"]:
    raise NotImplementedError("negatives that several positions share have no scores of their own")
