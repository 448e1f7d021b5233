"""RP3beta: score(u, i) = probability that a random walk of three steps from u ends in i, divided by n_i^beta.

The steps are u -> j -> v -> i, with the transition probabilities of the bipartite graph of users and items raised to
the power alpha, and n_i the number of users of i. With G = X' D_u^(-alpha) X, an item j of u's history contributes

    w(i, j) = G_ij n_j^(-alpha) n_i^(-beta),

and only the k items j with the largest contributions are kept for each i.
[Cooper et al. 2014, Random walks in recommender systems (alpha); Christoffel et al. 2015, Blockbusters and wallflowers
(beta)]
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from pydantic import NonNegativeFloat

from jaxrec.data.interactions import Interactions
from jaxrec.hyper import Hyper, Traced, hyper_of, with_hyper
from jaxrec.models.gram import DeviceMatrix, binary, gram, gram_on_device, on_device, positive_counts
from jaxrec.models.item_neighbors import ItemNeighbors
from jaxrec.models.model import Model


class RP3Beta(ItemNeighbors):
    """Three-step random walks between users and items; reads histories, so it scores new users too.

    Attributes:
        history_length: length of the longest history, so that none is truncated
        k: neighbors stored per item
        alpha: exponent of transition probabilities
        beta: exponent of the popularity that scores are divided by
        n_neighbors: neighbors in use; None: all

    Memory: a dense [items, items] float32 matrix during the fit, on other devices than the CPU also one bit per
    user-item pair; then [items, k].
    Fidelity: the first step has the same probability for all items of a user and does not change rankings, so it is
    left out. The reference implementation keeps the k largest weights of every j instead of every i.
    """

    alpha: NonNegativeFloat | Traced = 0.8
    beta: NonNegativeFloat | Traced = 0.6

    def prepare(self, train: Interactions) -> DeviceMatrix:
        """X and the numbers of interactions."""
        self.check_size("rp3beta")
        return on_device(train, *positive_counts(binary(train)))

    def solve(self, prepared: DeviceMatrix) -> dict[str, Array]:
        """The neighbors of each item and their weights."""
        walks = gram_on_device(prepared.x, prepared.users**-self.alpha, self.n_items)
        return self._neighbors(walks, prepared.items)

    def solve_on_host(self, train: Interactions, members: Sequence[Model]) -> dict[str, np.ndarray]:
        """`solve` for every member, with a sparse product for the walks."""
        self.check_size("rp3beta")
        x = binary(train)
        users, items = positive_counts(x)

        @jax.jit
        def neighbors(walks: Array, hyper: Hyper) -> dict[str, Array]:
            return with_hyper(self, hyper)._neighbors(walks, jnp.asarray(items))

        def one(member: Model) -> dict[str, Array]:
            assert isinstance(member, RP3Beta)
            return neighbors(gram(x, users ** np.float32(-member.alpha)), hyper_of(member))

        return jax.tree.map(lambda *of_members: np.stack(of_members), *map(one, members))

    def _neighbors(self, walks: Float[Array, "I I"], n_users: Float[Array, "I"]) -> dict[str, Array]:
        source, target = n_users**-self.alpha, n_users**-self.beta
        return self.nearest(lambda item: walks[item] * source * target[item])
