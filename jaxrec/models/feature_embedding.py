"""Features as vectors: each category looked up, each bag the mean of what is in it, numbers as they are.

category c:  E[c]        bag {a, b, ...}:  mean of E[a], E[b], ...        code 0, or an empty bag:  E[0], "unknown"
"""

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float
from pydantic import NonNegativeFloat

from jaxrec.data.features import Sizes
from jaxrec.features import FeatureTable
from jaxrec.models.embedding import Embedding

FAR = 10.0  # deviations; what lies farther from the rows that the scale was fitted on is taken to lie there


class FeatureEmbedding(nn.Module):
    """One vector of `dim` columns for each category and each bag of a row, and the row's numbers.

    sizes: of the vocabularies
    std:   standard deviation of a fresh vector's length
    """

    sizes: Sizes
    dim: int
    std: NonNegativeFloat = 1.0

    def setup(self) -> None:
        sizes = Sizes(*self.sizes)
        self.categories = [Embedding(n, self.dim, std=self.std) for n in sizes.categories]
        self.bags = [Embedding(n, self.dim, std=self.std) for n in sizes.bags]

    @property
    def n_vectors(self) -> int:
        """V, how many vectors a row has."""
        sizes = Sizes(*self.sizes)
        return len(sizes.categories) + len(sizes.bags)

    def vectors(self, rows: FeatureTable) -> Float[Array, "*S V D"]:
        """Categories, then bags."""
        found = [table.lookup(rows.categories[..., place]) for place, table in enumerate(self.categories)]
        for place, table in enumerate(self.bags):
            codes = rows.bags[..., place, :]
            known = (codes > 0).astype(jnp.float32)
            # Where nothing is known, the first entry, padding of code 0, is the one that counts.
            known = known.at[..., 0].max((jnp.sum(known, axis=-1) == 0).astype(jnp.float32))
            weight = known / jnp.sum(known, axis=-1, keepdims=True)
            found.append(jnp.einsum("...l,...ld->...d", weight, table.lookup(codes)))
        return jnp.stack(found, axis=-2) if found else jnp.zeros((*rows.numbers.shape[:-1], 0, self.dim))

    def numbers(self, rows: FeatureTable) -> Float[Array, "*S F"]:
        """Standardized numbers, held to a range."""
        return jnp.clip(rows.numbers, -FAR, FAR)

    def flat(self, rows: FeatureTable) -> Float[Array, "*S X"]:
        """All of it in one row: vectors, then numbers."""
        vectors = self.vectors(rows)
        return jnp.concatenate([vectors.reshape(*vectors.shape[:-2], -1), self.numbers(rows)], axis=-1)
