"""EDLAE: a linear denoising autoencoder in closed form, EASE with dropout of its inputs and optional normalization.

X~ = D_u^(-user_normalization / 2) X D_i^(-item_normalization) with the diagonal matrices D_u and D_i of the numbers of
interactions of users and items, relative to a mean, so that one penalty suits all exponents. B~ minimizes the expected
squared error of x~_j predicted from the other items of the user, each dropped with probability p = dropout, plus
regularization |B~|^2:

    P = (X~'X~ + p / (1 - p) diag(X~'X~) + regularization I)^-1,  B~ = I - P / diag(P) with a zero diagonal
    score(u, .) = x_u D_i^(-item_normalization) B~ D_i^(popularity)

Without normalization this is the full-rank model of [Steck 2020, Autoencoders that don't overfit towards the
identity], up to the constant factor 1 / (1 - p); without dropout, too, it is EASE. Normalization after [Park et al.
2025, Why is normalization necessary for linear recommenders?].
"""

from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from pydantic import NonNegativeFloat, PositiveFloat
from scipy import sparse

from jaxrec.data.interactions import Interactions
from jaxrec.hyper import Traced
from jaxrec.memory import empty
from jaxrec.models.ease import regress, regress_in_place
from jaxrec.models.gram import DeviceMatrix, binary, counts, gram, gram_on_device, on_device
from jaxrec.models.item_weights import ItemWeights
from jaxrec.models.model import Model
from jaxrec.models.sequence import Rate


class EDLAE(ItemWeights):
    """A linear item-to-item model of the items in a query's history.

    Attributes:
        history_length: length of the longest history, so that none is truncated
        regularization: weight of |B~|^2
        dropout: p, the share of a user's items that are dropped in training; penalizes an item by its popularity
        user_normalization: exponent of the inverse weight of a user: 0 gives every interaction the same weight, 1 every
            user
        item_normalization: exponent of the inverse popularity in X~; with more, less popular items matter more
        popularity: exponent of the popularity that scores are multiplied by

    Memory: on the CPU one dense [items, items] float32 matrix per member, solved in place; on other devices also one
    bit per user-item pair. Time is O(items^3).
    Fidelity: binary X; repeated interactions count once.
    """

    regularization: PositiveFloat | Traced = 250.0
    dropout: Rate | Traced = 0.33
    user_normalization: NonNegativeFloat | Traced = 0.0
    item_normalization: NonNegativeFloat | Traced = 0.0
    popularity: float | Traced = 0.0

    def prepare(self, train: Interactions) -> DeviceMatrix:
        """X and the numbers of interactions."""
        return on_device(train, *relative_counts(binary(train)))

    def solve(self, prepared: DeviceMatrix) -> dict[str, Float[Array, "I I"]]:
        """The weights, by a Cholesky factorization."""
        users, items = prepared.users, prepared.items
        scale = items**-self.item_normalization
        normalized = gram_on_device(prepared.x, users**-self.user_normalization, self.n_items)
        normalized = scale[:, None] * normalized * scale[None, :]
        weights = regress(normalized, self.regularization + self._dropout_penalty * jnp.diag(normalized))
        return {"weights": scale[:, None] * weights * (items**self.popularity)[None, :]}

    def solve_on_host(self, train: Interactions, members: Sequence[Model]) -> dict[str, Float[np.ndarray, "P I I"]]:
        """`solve` for every member, in the memory of its weights."""
        x = binary(train)
        users, items = relative_counts(x)
        weights = empty((len(members), self.n_items, self.n_items))
        for member, matrix in zip(members, weights, strict=True):
            assert isinstance(member, EDLAE)
            scale = items ** np.float32(-member.item_normalization)
            gram(x, users ** np.float32(-member.user_normalization), out=matrix)
            matrix *= scale[:, None]
            matrix *= scale
            regress_in_place(matrix, member.regularization + member._dropout_penalty * matrix.diagonal())
            matrix *= scale[:, None]
            matrix *= items ** np.float32(member.popularity)
        return {"weights": weights}

    @property
    def _dropout_penalty(self) -> float | Traced:
        """Penalty per interaction of an item."""
        return self.dropout / (1.0 - self.dropout)


def relative_counts(x: sparse.csr_matrix) -> tuple[Float[np.ndarray, "U"], Float[np.ndarray, "I"]]:
    """Items of each user and users of each item, relative to the mean over interactions and to the geometric mean."""
    users, items = counts(x)
    has_users = items > 0
    typical = np.exp(np.log(items[has_users]).mean())
    relative = np.where(has_users, items / typical, 1.0)
    mean = np.average(users, weights=users)
    return (np.maximum(users, 1) / mean).astype(np.float32), relative.astype(np.float32)
