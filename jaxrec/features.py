"""Features on the device: one row a user or an item, gathered by id, for models to embed."""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from jaxrec.data.features import Features


class FeatureTable(NamedTuple):
    """Rows of `Features`: codes of C categories and of G bags (0: unknown, and padding), and F numbers.

    The sizes of embeddings are those of the vocabularies in `Features.schema`.
    """

    categories: Int[Array, "*R C"]
    bags: Int[Array, "*R G L"]
    numbers: Float[Array, "*R F"]

    def rows(self, ids: Int[Array, "*B"]) -> "FeatureTable":
        """What is known of these ids, which may have any shape; padding (-1) is an id of which nothing is known."""
        # Negative indices would count from the end.
        place = jnp.where(ids < 0, self.categories.shape[0], ids)
        return FeatureTable(*(column.at[place].get(mode="fill", fill_value=0) for column in self))


def table(features: Features) -> FeatureTable:
    """The arrays of the host as arrays of the device."""
    return FeatureTable(*(jnp.asarray(part) for part in (features.categories, features.bags, features.numbers)))
