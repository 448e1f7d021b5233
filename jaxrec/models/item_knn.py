"""Item nearest neighbors: score(u, i) = sum of s(i, j) over those of the k items nearest to i that u has had.

s is a shrunk similarity of the sets of users who have had i and j, see `models/similarity.py`.
[Sarwar et al. 2001, Item-based collaborative filtering; Ferrari Dacrema et al. 2021]
"""

from dataclasses import field

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int
from pydantic import NonNegativeFloat, PositiveInt

from jaxrec.data.interactions import Interactions
from jaxrec.errors import InputError
from jaxrec.hyper import Traced
from jaxrec.models.gram import binary, gram
from jaxrec.models.model import Additive, Solved
from jaxrec.models.similarity import Similarity, similarity
from jaxrec.query import Query

LIMIT_GIB = 8


class ItemKNN(Additive, Solved):
    """Scores from the items in a query's history: new users are served as well as known ones.

    history_length: the longest history there is, so that none is cut
    k:              neighbors kept of each item
    similarity:     cosine, jaccard or dice
    shrinkage:      added to the similarity's denominator: few common users count for less
    idf:            a user counts log(items / (1 + items the user has had)): those who have had everything say little
    n_neighbors:   neighbors in use, see `Hyper`

    Memory: the counts of common users, dense [I, I] in float32, while fitting; then [I, k]. Time to fit: that of the
    sparse product X'X, and of one pass over [I, I] a member.
    Fidelity: binary X, and scores are not divided by the sum of similarities, as is best for rankings. With `idf` the
    reference weighs the history that is scored too; here only the similarities.
    """

    n_items: int
    history_length: int = field()
    k: PositiveInt = 100
    similarity: Similarity = "cosine"
    shrinkage: NonNegativeFloat | Traced = 10.0
    idf: bool = False
    n_neighbors: int | Traced | None = None

    def setup(self) -> None:
        shape = (self.n_items, min(self.k, self.n_items))
        self.neighbors = self.param("neighbors", nn.initializers.zeros, shape, jnp.int32)
        self.similarities = self.param("similarities", nn.initializers.zeros, shape)

    def __call__(self, query: Query, items: Int[Array, "B N"]) -> Float[Array, "B N"]:
        """Scores of each query's own candidates."""
        assert query.history is not None
        x = query.history.multihot(self.n_items)
        near = self.neighbors[items]
        had = jnp.take_along_axis(x, near.reshape(len(x), -1), axis=1).reshape(near.shape)
        return jnp.sum(self.similarities[items] * had, axis=2)

    def score_catalog(self, query: Query) -> Float[Array, "B I"]:
        """Scores of every item: one neighbor of each at a time, so that no [I, I] matrix is needed."""
        assert query.history is not None
        x = query.history.multihot(self.n_items).T

        def add(scores: Array, neighbor: tuple[Array, Array]) -> tuple[Array, None]:
            item, similarity = neighbor
            return scores + similarity[:, None] * x[item], None

        scores, _ = jax.lax.scan(add, jnp.zeros_like(x), (self.neighbors.T, self.similarities.T))
        return scores.T

    def contributions(self, query: Query, items: Int[Array, "B"]) -> Float[Array, "B T"]:
        """What each entry of the history adds to the score of each query's item; entries of one item share alike."""
        assert query.history is not None
        entries = query.history.items
        often = jnp.take_along_axis(query.history.counts(self.n_items), jnp.maximum(entries, 0), axis=1)
        is_near = entries[:, :, None] == self.neighbors[items][:, None, :]
        near = jnp.sum(jnp.where(is_near, self.similarities[items][:, None, :], 0.0), axis=2)
        return near / jnp.maximum(often, 1.0)

    def prepare(self, train: Interactions) -> Float[np.ndarray, "I I"]:
        """How many users have had both of two items, each user by their squared weight."""
        if (gib := self.n_items**2 * 4 / 2**30) > LIMIT_GIB:
            raise InputError(
                f"model=item_knn counts the common users of every two items, here {self.n_items:,} x {self.n_items:,} "
                f"or {gib:.0f} GiB; use fewer items (data.k_core), model=ials or model=mf"
            )
        x = binary(train)
        if self.idf:
            had = np.diff(x.indptr)
            x.data *= np.repeat(np.log(self.n_items / (1.0 + had)).clip(0), had).astype(np.float32)
        return gram(x)

    def solve(self, statistics: Float[Array, "I I"]) -> dict[str, Array]:
        """The nearest neighbors of each item, nearest first, and how near they are; 0 and 0 where there are fewer."""
        size = jnp.diag(statistics)
        k = min(self.k, self.n_items)
        in_use = jnp.arange(k) < (k if self.n_neighbors is None else self.n_neighbors)

        def nearest(item: Int[Array, ""]) -> tuple[Array, Array]:
            near = similarity(self.similarity, statistics[item][None], size[item][None], size, self.shrinkage)[0]
            similarities, neighbors = jax.lax.top_k(near.at[item].set(0.0), k)
            kept = in_use & (similarities > 0)
            return jnp.where(kept, neighbors, 0), jnp.where(kept, similarities, 0.0)

        block = max(1, min(self.n_items, (1 << 21) // self.n_items))
        neighbors, similarities = jax.lax.map(nearest, jnp.arange(self.n_items), batch_size=block)
        return {"neighbors": neighbors, "similarities": similarities}
