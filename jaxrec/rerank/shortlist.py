"""What re-ranking works on: each user's candidates in their order, and what is known of items and users."""

from typing import NamedTuple

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


class Items(NamedTuple):
    """Of every item of the catalogue, at the time of asking.

    vectors:   what is alike has a small angle; zero where nothing is known
    mixes:     its categories as shares that sum to 1; zero where none is known
    groups:    whose exposure is counted; `target`, the share that each group should have
    counts:    interactions in train
    ages:      in the unit of `half_life`; NaN where not known
    available: whether it may be shown
    """

    vectors: Float[Array, "I D"]
    mixes: Float[Array, "I G"]
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
