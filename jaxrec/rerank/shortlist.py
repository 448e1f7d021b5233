"""What re-ranking works on: each user's candidates in their order, and what is known of items and users."""

from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int


class Shortlist(NamedTuple):
    """Candidates of users, best first; -1 with a score of -inf, behind all others, is none."""

    items: Int[Array, "B C"]
    scores: Float[Array, "B C"]

    def ordered(self, order: Int[Array, "B K"]) -> "Shortlist":
        """These positions, in this order; scores go with their items, so they may no longer fall."""
        return Shortlist(*(jnp.take_along_axis(column, order, axis=1) for column in self))

    def led_by(self, order: Int[Array, "B K"]) -> "Shortlist":
        """These positions first, in this order; the others behind them, in theirs."""
        n = self.items.shape[1]
        rows, ranks = jnp.arange(order.shape[0])[:, None], jnp.arange(order.shape[1])[None, :]
        place = jnp.broadcast_to(n + jnp.arange(n)[None, :], self.items.shape).at[rows, order].set(ranks)
        return self.ordered(jnp.argsort(place, axis=1))

    def only(self, stays: Bool[Array, "B C"]) -> "Shortlist":
        """Without the others; what is behind them moves up."""
        stays = stays & (self.items >= 0)
        left = Shortlist(jnp.where(stays, self.items, -1), jnp.where(stays, self.scores, -jnp.inf))
        return left.ordered(jnp.argsort(~stays, axis=1, stable=True))


@partial(jax.tree_util.register_dataclass, data_fields=["codes"], meta_fields=["n_categories"])
@dataclass(frozen=True, eq=False)
class Mixes:
    """Categories of every item as codes from 1, each once, padded with 0; indexed by items, their shares.

    The shares of an item sum to 1, or are 0 where no category is known; they are dense for the items asked for only.
    """

    codes: Int[Array, "I L"]
    n_categories: int

    @property
    def shape(self) -> tuple[int, int]:
        """Items and categories."""
        return len(self.codes), self.n_categories

    def __getitem__(self, items: Int[Array, "*B"]) -> Float[Array, "*B G"]:
        codes = jnp.asarray(self.codes)[items]
        rows = codes.reshape(-1, codes.shape[-1])
        share = jnp.where(rows > 0, 1 / jnp.maximum((rows > 0).sum(axis=1, dtype=jnp.float32), 1.0)[:, None], 0.0)
        dense = jnp.zeros((len(rows), self.n_categories + 1)).at[jnp.arange(len(rows))[:, None], rows].set(share)
        return dense[:, 1:].reshape(*codes.shape[:-1], self.n_categories)


class Items(NamedTuple):
    """Of every item of the catalog, at the time of asking.

    vectors:   what is alike has a small angle; zero where nothing is known
    mixes:     its categories as shares that sum to 1; zero where none is known
    groups:    whose exposure is counted; `target`, the share that each group should have
    counts:    interactions in train
    ages:      in the unit of `half_life`; NaN where not known
    available: whether it may be shown
    """

    vectors: Float[Array, "I D"] | Mixes
    mixes: Float[Array, "I G"] | Mixes
    groups: Int[Array, "I"]
    target: Float[Array, "H"]
    counts: Float[Array, "I"]
    ages: Float[Array, "I"]
    half_life: Float[Array, ""]
    available: Bool[Array, "I"]


class About(NamedTuple):
    """What re-ranking is told beside the list: all items, the mix of each user's history, and how many are shown."""

    items: Items
    own: Float[Array, "B G"]
    k: int
