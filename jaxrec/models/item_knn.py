"""Item-based nearest neighbors: score(u, i) = sum of s(i, j) over the k nearest neighbors j of i in u's history.

s is the shrunk similarity of the sets of users of i and of j, see `models/similarity.py`.
[Sarwar et al. 2001, Item-based collaborative filtering; Ferrari Dacrema et al. 2021]
"""

from dataclasses import field
from typing import Annotated

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int
from pydantic import NonNegativeFloat, PositiveInt

from jaxrec.data.interactions import Interactions
from jaxrec.errors import InputError
from jaxrec.hyper import Padded, Traced
from jaxrec.models.gram import binary, gram
from jaxrec.models.model import Additive, Solved
from jaxrec.models.similarity import Similarity, similarity
from jaxrec.query import Query

LIMIT_GIB = 8


class ItemKNN(Additive, Solved):
    """Item-based k-nearest neighbors; reads histories, so it scores new users too.

    Attributes:
        history_length: length of the longest history, so that none is truncated
        k: neighbors stored per item
        similarity: cosine, jaccard or dice
        shrinkage: added to the denominator of the similarity; reduces similarities based on few common users
        idf: weight users by log(items / (1 + items of the user)), so that very active users count less
        n_neighbors: neighbors in use; None: all

    Memory: co-occurrence counts, dense [items, items] in float32, during the fit; then [items, k]. Fitting time: the
    sparse product X'X and one pass over [items, items] per member.
    Fidelity: binary X, and scores are not normalized by the sum of similarities, which works best for rankings. With
    `idf`, the reference implementation also weights the scored history; here only the similarities are weighted.
    """

    n_items: int
    history_length: int = field()
    k: Annotated[PositiveInt, Padded("n_neighbors")] = 100
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
        in_history = jnp.take_along_axis(x, near.reshape(len(x), -1), axis=1).reshape(near.shape)
        return jnp.sum(self.similarities[items] * in_history, axis=2)

    def score_catalog(self, query: Query) -> Float[Array, "B I"]:
        """Scores of every item, one neighbor of each at a time, so that no [items, items] matrix is needed."""
        assert query.history is not None
        x = query.history.multihot(self.n_items).T

        def add(scores: Array, neighbor: tuple[Array, Array]) -> tuple[Array, None]:
            item, similarity = neighbor
            return scores + similarity[:, None] * x[item], None

        scores, _ = jax.lax.scan(add, jnp.zeros_like(x), (self.neighbors.T, self.similarities.T))
        return scores.T

    def contributions(self, query: Query, items: Int[Array, "B"]) -> Float[Array, "B T"]:
        """Contribution of each history entry to the score of each query's item; repeated entries share it equally."""
        assert query.history is not None
        entries = query.history.items
        often = jnp.take_along_axis(query.history.counts(self.n_items), jnp.maximum(entries, 0), axis=1)
        is_near = entries[:, :, None] == self.neighbors[items][:, None, :]
        near = jnp.sum(jnp.where(is_near, self.similarities[items][:, None, :], 0.0), axis=2)
        return near / jnp.maximum(often, 1.0)

    def prepare(self, train: Interactions) -> Float[np.ndarray, "I I"]:
        """Co-occurrence counts: users of both items, each counted with their squared weight."""
        if (gib := self.n_items**2 * 4 / 2**30) > LIMIT_GIB:
            raise InputError(
                f"model=item_knn needs a co-occurrence matrix of {self.n_items:,} x {self.n_items:,} items "
                f"({gib:.0f} GiB, limit {LIMIT_GIB} GiB); keep fewer items (data.k_core), or choose model=ials or "
                "model=mf"
            )
        x = binary(train)
        if self.idf:
            n_items = np.diff(x.indptr)  # of each user
            x.data *= np.repeat(np.log(self.n_items / (1.0 + n_items)).clip(0), n_items).astype(np.float32)
        return gram(x)

    def solve(self, statistics: Float[Array, "I I"]) -> dict[str, Array]:
        """The nearest neighbors of each item and their similarities, nearest first; padded with item 0 and 0.0."""
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
