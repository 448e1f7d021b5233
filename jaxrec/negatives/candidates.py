"""Inputs, tables and output of negative samplers."""

from collections.abc import Callable
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, PyTree

from jaxrec.membership import Known
from jaxrec.negatives.alias import Alias
from jaxrec.random import RandomStream, bits, integers


class Negatives(NamedTuple):
    """Sampled negatives of a batch.

    Attributes:
        items: negatives of each example; one row if the whole batch shares them, so that scores can be one matrix
            product
        used: 1 for negatives in use, else 0
        log_q: log sampling probability of each item of the catalog; None: uniform or unknown
    """

    items: Int[Array, "#B N"]
    used: Float[Array, "B N"]
    log_q: Float[Array, "I"] | None = None

    @classmethod
    def first(
        cls, items: Int[Array, "B N"], n_negatives: Int[Array, ""], log_q: Float[Array, "I"] | None = None
    ) -> "Negatives":
        """Negatives whose first columns are in use.

        Args:
            items: the negatives.
            n_negatives: number of columns in use.
            log_q: see `Negatives`.
        """
        used = (jnp.arange(items.shape[1], dtype=jnp.int32) < n_negatives).astype(jnp.float32)
        return cls(items, jnp.broadcast_to(used[None, :], items.shape), log_q)

    def where(
        self, chosen: Bool[Array, "B N"], other: "Negatives", log_q: Float[Array, "I"] | None = None
    ) -> "Negatives":
        """Choose between these negatives and others.

        Args:
            chosen: True where these are chosen.
            other: the others.
            log_q: of the result, see `Negatives`.
        """
        items, used = jnp.where(chosen, self.items, other.items), jnp.where(chosen, self.used, other.used)
        return Negatives(items, used, log_q)


class SamplerContext(NamedTuple):
    """Data available to a sampler: its tables, the batch's users and positives, and the model.

    Attributes:
        positive: positives; for `Sampler.shared` the targets of all positions [B, T]
        score: function that scores candidates [B, N] with the current model, with gradients stopped
        mined: latest mined items, see `jaxrec.fitting.mining`
    """

    tables: PyTree
    user: Int[Array, "B"]
    positive: Int[Array, "B *T"]
    score: Callable[[Int[Array, "B N"]], Float[Array, "B N"]]
    mined: PyTree = None


class SamplerTables(NamedTuple):
    """Tables that samplers compute from the data; None if not needed."""

    known: Known | None = None
    alias: Alias | None = None
    log_q: Float[Array, "I"] | None = None

    def draw(self, source: RandomStream, n_items: int, *counters: Array) -> Int[Array, "*S"]:
        """Draw items by the alias table; uniformly without one."""
        return integers(source, n_items, *counters) if self.alias is None else self.alias.draw(source, *counters)

    def has(self, user: Int[Array, "B"], items: Int[Array, "#B N"]) -> Bool[Array, "B N"]:
        """Whether each user has these items in train; always False without the table `known`."""
        items = jnp.broadcast_to(items, (user.shape[0], items.shape[1]))
        return jnp.zeros(items.shape, bool) if self.known is None else self.known.contains(user, items)


def bernoulli(source: RandomStream, share: float, *counters: Array) -> Bool[Array, "*S"]:
    """True with probability `share`, for each combination of counters."""
    return (bits(source, *counters) >> 8).astype(jnp.float32) < share * 2**24


def log(probabilities: np.ndarray) -> Float[Array, "I"]:
    """Log probabilities; -inf for probability 0."""
    with np.errstate(divide="ignore"):
        return jnp.asarray(np.log(probabilities), jnp.float32)
