"""Turbo-CF: a low-pass filter of the item-item graph: score(u, .) = x_u H, without training.

R~ = D_u^(-alpha) X D_i^(alpha - 1) and P = (R~'R~)^(o s), with o s a power of each entry, so that strong similarities
count more. H is a polynomial of P: P (order 1), 2P - P^2 (order 2, a filter of the ideal kind), or
P + .01 (-P^3 + 10 P^2 - 29 P) (order 3).
[Park, Shin, Shin 2024, Turbo-CF: Matrix decomposition-free graph filtering for fast recommendation; Shen et al. 2021,
How powerful is graph convolution for recommendation? (GF-CF)]
"""

from typing import Literal

from jaxtyping import Array, Float
from pydantic import NonNegativeFloat, PositiveFloat

from jaxrec.data.interactions import Interactions
from jaxrec.hyper import Traced
from jaxrec.models.gram import DeviceMatrix, binary, gram_on_device, on_device, positive_counts
from jaxrec.models.item_weights import ItemWeights


class TurboCF(ItemWeights):
    """A linear graph filter of the items in a query's history.

    Attributes:
        history_length: length of the longest history, so that none is truncated
        alpha: share of the normalization that users get; .5 is symmetric
        power: s, the exponent of each similarity
        order: degree of the polynomial

    Memory: up to four dense [items, items] float32 matrices, and one bit per user-item pair. Time: users x items^2, and
    with order 2 or 3 items^3.
    Fidelity: the filters of the paper. An item is its own neighbor, which does not matter where seen items are left
    out.
    """

    alpha: NonNegativeFloat | Traced = 0.5
    power: PositiveFloat | Traced = 1.0
    order: Literal[1, 2, 3] = 1

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
        if self.order == 2:
            p = 2.0 * p - p @ p
        if self.order == 3:
            squared = p @ p
            p = p + 0.01 * (10.0 * squared - squared @ p - 29.0 * p)
        return {"weights": p}
