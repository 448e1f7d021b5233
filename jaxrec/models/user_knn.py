"""User-based nearest neighbors: score(u, i) = sum of s(u, v) over the k nearest neighbors v of u who have item i.

s is the shrunk similarity of the item sets of two users, see `models/similarity.py`.
[Resnick et al. 1994, GroupLens; Ferrari Dacrema et al. 2021]
"""

from collections.abc import Callable
from dataclasses import field
from typing import Annotated

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, UInt32
from pydantic import NonNegativeFloat, PositiveInt

from jaxrec.data.interactions import Interactions
from jaxrec.hyper import Padded, Traced
from jaxrec.membership import Membership, membership
from jaxrec.models.model import Solved
from jaxrec.models.similarity import Similarity, similarity
from jaxrec.query import Query

Voting = Callable[[Bool[Array, "B I"]], Float[Array, "B"]]  # from the items of one neighbor of each query

CHUNK = 1024  # training users compared with a block of queries at a time


class UserKNN(Solved):
    """User-based k-nearest neighbors; compares histories at query time, so it scores new users too.

    Attributes:
        history_length: length of the longest history, so that none is truncated
        k: number of neighbors
        similarity: cosine, jaccard or dice
        shrinkage: added to the denominator of the similarity; reduces similarities based on few common items
        idf: weight items by log(users / (1 + users of the item)), so that very popular items count less
        n_neighbors: neighbors in use; None: all

    Memory: one bit per user-item pair, and [B, users] similarities for a block of B queries. Time: no fit; two passes
    over users x items per block of queries, one of them a matrix product.
    Fidelity: binary data, scores not normalized by the sum of similarities. A user is not their own neighbor.
    """

    n_users: int
    n_items: int
    history_length: int = field()
    k: Annotated[PositiveInt, Padded("n_neighbors")] = 100
    similarity: Similarity = "cosine"
    shrinkage: NonNegativeFloat | Traced = 10.0
    idf: bool = False
    n_neighbors: int | Traced | None = None

    def setup(self) -> None:
        zeros, words = nn.initializers.zeros, -(-self.n_items // 32)
        self.words = self.param("words", zeros, (self.n_users, words), jnp.uint32)
        self.size = self.param("size", zeros, (self.n_users,))
        self.item_weight = self.param("item_weight", zeros, (self.n_items,))

    def score_catalog(self, query: Query) -> Float[Array, "B I"]:
        """Scores of every item, summed over one neighbor of each query at a time."""
        similarities, neighbors = self._nearest(query)
        user_items, vote = Membership(self.words), self._voting(query)

        def add(scores: Array, neighbor: tuple[Array, Array]) -> tuple[Array, None]:
            similarity, user = neighbor
            contains = user_items.rows(user, self.n_items)
            weight = similarity if vote is None else similarity * vote(contains)
            return scores + jnp.where(contains, weight[:, None], 0.0), None

        nothing = jnp.zeros((neighbors.shape[0], self.n_items))
        scores, _ = jax.lax.scan(add, nothing, (similarities.T, neighbors.T))
        return scores

    def prepare(self, train: Interactions) -> dict[str, Array]:
        """The item set of each user as bits, the weight of each item, and the size of each set."""
        words = membership(train).words
        pairs = np.unique(train.user.astype(np.int64) * self.n_items + train.item)
        user, item = np.divmod(pairs, self.n_items)
        weight = np.ones(self.n_items)
        if self.idf:
            weight = np.log(self.n_users / (1.0 + np.bincount(item, minlength=self.n_items))).clip(0) ** 2
        size = np.bincount(user, weight[item], minlength=self.n_users)
        return {"words": words, "size": jnp.asarray(size, jnp.float32), "item_weight": jnp.asarray(weight, jnp.float32)}

    def solve(self, prepared: dict[str, Array]) -> dict[str, Array]:
        """The prepared data are the parameters."""
        return prepared

    def _voting(self, query: Query) -> Voting | None:
        """Weight of each neighbor besides its similarity; None: 1."""
        return None

    def _known(self, query: Query) -> Float[Array, "B I"]:
        """Weight of each item in the queries: 1 for an item of the history, else 0."""
        assert query.history is not None
        return query.history.multihot(self.n_items)

    def _nearest(self, query: Query) -> tuple[Float[Array, "B K"], Int[Array, "B K"]]:
        """Similarities and ids of the nearest users, nearest first; padded with 0.0 and user 0."""
        known = self._known(query)
        x = known * self.item_weight[None, :]

        def common_items(words: UInt32[Array, "W"]) -> Float[Array, "B"]:
            row = Membership(words[None]).rows(jnp.zeros(1, jnp.int32), self.n_items)[0]
            return x @ row.astype(jnp.float32)

        common = jax.lax.map(common_items, self.words, batch_size=min(CHUNK, self.n_users)).T
        near = similarity(self.similarity, common, jnp.sum(known * x, axis=1), self.size, self.shrinkage)
        is_self = query.user[:, None] == jnp.arange(self.n_users)[None, :]
        k = min(self.k, self.n_users)
        similarities, users = jax.lax.top_k(jnp.where(is_self, 0.0, near), k)
        in_use = jnp.arange(k) < (k if self.n_neighbors is None else self.n_neighbors)
        kept = in_use[None, :] & (similarities > 0)
        return jnp.where(kept, similarities, 0.0), jnp.where(kept, users, 0)
