"""Data structures of re-ranking: ranked candidates of each user, and attributes of items and users."""

from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int


class Shortlist(NamedTuple):
    """Ranked candidates of users, best first; padded with item -1 and score -inf."""

    items: Int[Array, "B C"]
    scores: Float[Array, "B C"]

    def ordered(self, order: Int[Array, "B K"]) -> "Shortlist":
        """The candidates at these positions, in this order; scores stay with their items and may no longer decrease."""
        return Shortlist(*(jnp.take_along_axis(column, order, axis=1) for column in self))

    def with_first(self, order: Int[Array, "B K"]) -> "Shortlist":
        """The candidates at these positions first, then the others in their existing order."""
        n = self.items.shape[1]
        rows, ranks = jnp.arange(order.shape[0])[:, None], jnp.arange(order.shape[1])[None, :]
        place = jnp.broadcast_to(n + jnp.arange(n)[None, :], self.items.shape).at[rows, order].set(ranks)
        return self.ordered(jnp.argsort(place, axis=1))

    def filtered(self, stays: Bool[Array, "B C"]) -> "Shortlist":
        """Remove candidates where `stays` is False; later ones move up."""
        stays = stays & (self.items >= 0)
        left = Shortlist(jnp.where(stays, self.items, -1), jnp.where(stays, self.scores, -jnp.inf))
        return left.ordered(jnp.argsort(~stays, axis=1, stable=True))


@partial(jax.tree_util.register_dataclass, data_fields=["codes"], meta_fields=["n_categories"])
@dataclass(frozen=True, eq=False)
class Mixes:
    """Category distributions of items, stored as codes from 1 without duplicates and padded with 0.

    Indexing by items returns dense shares of these items only; they sum to 1, or are 0 for items without a category.
    """

    codes: Int[Array, "I L"]
    n_categories: int

    @property
    def shape(self) -> tuple[int, int]:
        """Numbers of items and categories."""
        return len(self.codes), self.n_categories

    def __getitem__(self, items: Int[Array, "*B"]) -> Float[Array, "*B G"]:
        codes = jnp.asarray(self.codes)[items]
        rows = codes.reshape(-1, codes.shape[-1])
        share = jnp.where(rows > 0, 1 / jnp.maximum((rows > 0).sum(axis=1, dtype=jnp.float32), 1.0)[:, None], 0.0)
        dense = jnp.zeros((len(rows), self.n_categories + 1)).at[jnp.arange(len(rows))[:, None], rows].set(share)
        return dense[:, 1:].reshape(*codes.shape[:-1], self.n_categories)


class Items(NamedTuple):
    """Attributes of every item of the catalog at request time.

    Attributes:
        vectors: vectors whose cosine is the similarity of items; zero without attributes
        mixes: category distribution, sums to 1; zero without categories
        groups: group for exposure
        target: target share of exposure of each group
        counts: interactions in train
        ages: age in the unit of `half_life`; NaN if unknown
        half_life: half-life of freshness
        available: whether the item may be shown
    """

    vectors: Float[Array, "I D"] | Mixes
    mixes: Float[Array, "I G"] | Mixes
    groups: Int[Array, "I"]
    target: Float[Array, "H"]
    counts: Float[Array, "I"]
    ages: Float[Array, "I"]
    half_life: Float[Array, ""]
    available: Bool[Array, "I"]


class RerankContext(NamedTuple):
    """Context of re-ranking.

    Attributes:
        items: attributes of all items
        own: category distribution of each user's history
        k: number of items shown
    """

    items: Items
    own: Float[Array, "B G"]
    k: int


About = RerankContext  # former name, which steps of other packages may import
