"""Turbo-CF: a low-pass filter of the item-item graph: score(u, .) = x_u H, without training.

R~ = D_u^(-alpha) X D_i^(alpha - 1), and P = (R~'R~)^(o s) / lambda, with o s a power of each entry, so that strong
similarities count more, and lambda the largest eigenvalue. H = 1 - (1 - P)^order keeps directions of large eigenvalues,
in which items that are bought together agree, and damps the others, the less the higher the order.

[Park, Shin, Shin 2024, Turbo-CF: Matrix decomposition-free graph filtering for fast recommendation; Shen et al. 2021,
How powerful is graph convolution for recommendation? (GF-CF)]
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float
from pydantic import NonNegativeFloat, PositiveFloat, PositiveInt

from jaxrec.data.interactions import Interactions
from jaxrec.hyper import Traced
from jaxrec.models.gram import DeviceMatrix, binary, gram_on_device, on_device, positive_counts
from jaxrec.models.item_weights import ItemWeights

ITERATIONS = 50  # an eigenvalue a percent too small or large does not change rankings


class TurboCF(ItemWeights):
    """A linear graph filter of the items in a query's history.

    Attributes:
        history_length: length of the longest history, so that none is truncated
        alpha: share of the normalization that users get; .5 is symmetric
        power: s, the exponent of each similarity
        order: degree of the polynomial; 1 counts common users only

    Memory: up to four dense [items, items] float32 matrices, and one bit per user-item pair. Time: users x items^2, and
    items^3 for each order above 1.

    Fidelity: with alpha .5 and power 1, where lambda is 1, orders 1 and 2 are the paper's filters. For other values the
    paper leaves P as it is, so that eigenvalues exceed 1 and higher orders fail; its third filter is nearly its first.
    An item is its own neighbor, which does not matter where seen items are left out.
    """

    alpha: NonNegativeFloat | Traced = 0.5
    power: PositiveFloat | Traced = 1.0
    order: PositiveInt = 3

    def matrices(self, n_members: int) -> int:
        """Matrices in host memory: those of one member, and the solutions."""
        return 4 + n_members

    def prepare(self, train: Interactions) -> DeviceMatrix:
        """X and the numbers of interactions."""
        return on_device(train, *positive_counts(binary(train)))

    def solve(self, prepared: DeviceMatrix) -> dict[str, Float[Array, "I I"]]:
        """The filter H."""
        scale = prepared.items ** (self.alpha - 1.0)
        gram = gram_on_device(prepared.x, prepared.users ** (-2.0 * self.alpha), self.n_items)
        p = (scale[:, None] * gram * scale[None, :]) ** self.power
        p = p / _largest_eigenvalue(p)
        h = p
        for _ in range(self.order - 1):  # 1 - (1 - P)^(n + 1) = H + P - H P
            h = h + p - h @ p
        return {"weights": h}


def _largest_eigenvalue(p: Float[Array, "I I"]) -> Float[Array, ""]:
    """Largest eigenvalue of a symmetric matrix without negative entries, by power iteration from a positive vector."""

    def step(_: Array, v: Float[Array, "I"]) -> Float[Array, "I"]:
        v = p @ v
        return v / jnp.linalg.norm(v)

    v = jax.lax.fori_loop(0, ITERATIONS, step, jnp.ones(p.shape[0], p.dtype))
    return jnp.linalg.norm(p @ v)
