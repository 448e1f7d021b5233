"""EASE: score(u, .) = x_u B with B = argmin |X - XB|^2 + regularization |B|^2, diag(B) = 0.

Closed-form solution: P = (X'X + regularization I)^-1, B = I - P / diag(P) with a zero diagonal.
[Steck 2019, Embarrassingly shallow autoencoders for sparse data]
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from pydantic import PositiveFloat

from jaxrec.data.interactions import Interactions
from jaxrec.hyper import Traced
from jaxrec.memory import empty
from jaxrec.models.gram import binary, gram, invert
from jaxrec.models.item_weights import ItemWeights
from jaxrec.models.model import Model


class EASE(ItemWeights):
    """A linear item-to-item model of the items in a query's history.

    Attributes:
        history_length: length of the longest history, so that none is truncated
        regularization: weight of |B|^2; larger values give a smoother B. A few hundred suit dense data

    Memory: on the CPU one dense [items, items] float32 matrix per member, solved in place; time is O(items^3).
    Fidelity: binary X as in the paper; repeated interactions count once.
    """

    regularization: PositiveFloat | Traced = 250.0

    def prepare(self, train: Interactions) -> Float[np.ndarray, "I I"]:
        """The Gram matrix X'X: the number of users who have both of two items."""
        return gram(binary(train))

    def solve_on_host(self, train: Interactions, members: Sequence[Model]) -> dict[str, Float[np.ndarray, "P I I"]]:
        """`solve` for every member in place: the Gram matrix, its inverse, then B in the same memory."""
        penalties = np.array([member.regularization for member in members], np.float32)
        weights = empty((len(penalties), self.n_items, self.n_items))
        gram(binary(train), out=weights[0])
        weights[1:] = weights[:1]
        for matrix, penalty in zip(weights, penalties, strict=True):
            regress_in_place(matrix, penalty)
        return {"weights": weights}

    def solve(self, prepared: Float[Array, "I I"]) -> dict[str, Float[Array, "I I"]]:
        """B from the Gram matrix, by a Cholesky factorization (the matrix is symmetric and positive definite)."""
        return {"weights": regress(prepared, jnp.full(self.n_items, self.regularization))}


def regress(gram: Float[Array, "I I"], penalty: Float[Array, "I"]) -> Float[Array, "I I"]:
    """Ridge regression of each item on all others: column j is the solution for item j, with 0 on the diagonal.

    Args:
        gram: Gram matrix X'X.
        penalty: L2 penalty of each regressor.
    """
    identity = jnp.eye(len(gram))
    factor = jax.scipy.linalg.cho_factor(gram + jnp.diag(penalty))
    precision = jax.scipy.linalg.cho_solve(factor, identity)
    weights = -precision / jnp.diag(precision)[None, :]
    return weights * (1.0 - identity)


def regress_in_place(matrix: Float[np.ndarray, "I I"], penalty: Float[np.ndarray, "I"] | np.floating) -> None:
    """`regress` on the host, in the memory of the Gram matrix."""
    diagonal = np.einsum("ii->i", matrix)  # a view
    diagonal += penalty
    invert(matrix)
    np.divide(matrix, -diagonal, out=matrix)
    diagonal[:] = 0.0
