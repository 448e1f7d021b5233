"""What a sampler is given, its tables, and what it draws."""

from collections.abc import Callable
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, PyTree

from jaxrec.membership import Known
from jaxrec.negatives.alias import Alias
from jaxrec.random import RandomStream, bits, integers


class Negatives(NamedTuple):
    """Items to hold a positive against; `used` is 1 for those that count, else 0.

    items: of each example; one row where the whole batch shares them, so that scores can be one matrix product
    log_q: of each item of the catalog, the log of how likely a draw gives it; None: all alike, or unknown
    """

    items: Int[Array, "#B N"]
    used: Float[Array, "B N"]
    log_q: Float[Array, "I"] | None = None

    @classmethod
    def first(
        cls, items: Int[Array, "B N"], n_negatives: Int[Array, ""], log_q: Float[Array, "I"] | None = None
    ) -> "Negatives":
        """The first `n_negatives` of each row count."""
        used = (jnp.arange(items.shape[1], dtype=jnp.int32) < n_negatives).astype(jnp.float32)
        return cls(items, jnp.broadcast_to(used[None, :], items.shape), log_q)

    def where(
        self, chosen: Bool[Array, "B N"], other: "Negatives", log_q: Float[Array, "I"] | None = None
    ) -> "Negatives":
        """These where `chosen`, elsewhere the other ones."""
        items, used = jnp.where(chosen, self.items, other.items), jnp.where(chosen, self.used, other.used)
        return Negatives(items, used, log_q)


class SamplerContext(NamedTuple):
    """What a sampler may look at: its own tables, the batch's users and positives, and the model.

    score: scores of candidates [B, N] by the model as it is; no gradient goes through them
    mined: what the model was last asked for, see `jaxrec.fitting.mining`
    """

    tables: PyTree
    user: Int[Array, "B"]
    positive: Int[Array, "B"]
    score: Callable[[Int[Array, "B N"]], Float[Array, "B N"]]
    mined: PyTree = None


class SamplerTables(NamedTuple):
    """What samplers need of the data: None where they do not."""

    known: Known | None = None
    alias: Alias | None = None
    log_q: Float[Array, "I"] | None = None

    def draw(self, source: RandomStream, n_items: int, *counters: Array) -> Int[Array, "*S"]:
        """Items by the alias table; without one every item is equally likely."""
        return integers(source, n_items, *counters) if self.alias is None else self.alias.draw(source, *counters)

    def has(self, user: Int[Array, "B"], items: Int[Array, "#B N"]) -> Bool[Array, "B N"]:
        """Whether users know these items; nobody knows any where that is not asked for."""
        items = jnp.broadcast_to(items, (user.shape[0], items.shape[1]))
        return jnp.zeros(items.shape, bool) if self.known is None else self.known.contains(user, items)


def chosen(source: RandomStream, share: float, *counters: Array) -> Bool[Array, "*S"]:
    """True with this probability, for each combination of counters."""
    return (bits(source, *counters) >> 8).astype(jnp.float32) < share * 2**24


def log(probabilities: np.ndarray) -> Float[Array, "I"]:
    """-inf for an item that is never drawn."""
    with np.errstate(divide="ignore"):
        return jnp.asarray(np.log(probabilities), jnp.float32)
