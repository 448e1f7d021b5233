"""Item-based nearest neighbors: score(u, i) = sum of s(i, j) over the k nearest neighbors j of i in u's history.

s is the shrunk similarity of the sets of users of i and of j, see `models/similarity.py`.
[Sarwar et al. 2001, Item-based collaborative filtering; Ferrari Dacrema et al. 2021]
"""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int
from pydantic import NonNegativeFloat

from jaxrec.data.interactions import Interactions
from jaxrec.hyper import Traced
from jaxrec.models.gram import binary, gram
from jaxrec.models.item_neighbors import ItemNeighbors
from jaxrec.models.similarity import Similarity, similarity


class ItemKNN(ItemNeighbors):
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

    similarity: Similarity = "cosine"
    shrinkage: NonNegativeFloat | Traced = 10.0
    idf: bool = False

    def prepare(self, train: Interactions) -> Float[np.ndarray, "I I"]:
        """Co-occurrence counts: users of both items, each counted with their squared weight."""
        self.check_size("item_knn")
        x = binary(train)
        if self.idf:
            n_items = np.diff(x.indptr)  # of each user
            x.data *= np.repeat(np.log(self.n_items / (1.0 + n_items)).clip(0), n_items).astype(np.float32)
        return gram(x)

    def solve(self, prepared: Float[Array, "I I"]) -> dict[str, Array]:
        """The nearest neighbors of each item and their similarities."""
        size = jnp.diag(prepared)

        def similarities(item: Int[Array, ""]) -> Float[Array, "I"]:
            return similarity(self.similarity, prepared[item][None], size[item][None], size, self.shrinkage)[0]

        return self.nearest(similarities)
