"""Feature embeddings: one vector per category, the mean of the vectors of each bag, and numeric features unchanged.

category c:  E[c]        bag {a, b, ...}:  mean of E[a], E[b], ...        code 0, or an empty bag:  E[0], "unknown"
"""

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float
from pydantic import NonNegativeFloat

from jaxrec.data.features import Sizes
from jaxrec.features import FeatureTable
from jaxrec.models.embedding import Embedding

MAX_DEVIATIONS = 10.0  # standardized numbers are clipped to this many standard deviations


class FeatureEmbedding(nn.Module):
    """One vector of dimension `dim` per category and per bag of a row, and the row's numeric features.

    Attributes:
        sizes: vocabulary sizes
        std: root-mean-square norm of an initial vector
    """

    sizes: Sizes
    dim: int
    std: NonNegativeFloat = 1.0

    def setup(self) -> None:
        sizes = Sizes(*self.sizes)
        self.categories = [Embedding(n, self.dim, std=self.std) for n in sizes.categories]
        self.bags = [Embedding(n, self.dim, std=self.std) for n in sizes.bags]

    def vectors(self, rows: FeatureTable) -> Float[Array, "*S V D"]:
        """Vectors of the categories, then of the bags."""
        vectors = [table.lookup(rows.categories[..., place]) for place, table in enumerate(self.categories)]
        for place, table in enumerate(self.bags):
            codes = rows.bags[..., place, :]
            known = (codes > 0).astype(jnp.float32)
            # An empty bag uses its first entry, the padding code 0 ("unknown").
            known = known.at[..., 0].max((jnp.sum(known, axis=-1) == 0).astype(jnp.float32))
            weight = known / jnp.sum(known, axis=-1, keepdims=True)
            vectors.append(jnp.einsum("...l,...ld->...d", weight, table.lookup(codes)))
        return jnp.stack(vectors, axis=-2) if vectors else jnp.zeros((*rows.numbers.shape[:-1], 0, self.dim))

    def numbers(self, rows: FeatureTable) -> Float[Array, "*S F"]:
        """Standardized numeric features, clipped."""
        return jnp.clip(rows.numbers, -MAX_DEVIATIONS, MAX_DEVIATIONS)

    def flat(self, rows: FeatureTable) -> Float[Array, "*S X"]:
        """All features concatenated: vectors, then numbers."""
        vectors = self.vectors(rows)
        return jnp.concatenate([vectors.reshape(*vectors.shape[:-2], -1), self.numbers(rows)], axis=-1)
