"""EASE: score(u, .) = x_u B with B = argmin |X - XB|^2 + regularization |B|^2, diag(B) = 0.

Closed-form solution: P = (X'X + regularization I)^-1, B = I - P / diag(P) with a zero diagonal.
[Steck 2019, Embarrassingly shallow autoencoders for sparse data]
"""

from collections.abc import Sequence
from dataclasses import field

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int
from pydantic import PositiveFloat

from jaxrec.data.interactions import Interactions
from jaxrec.hyper import Traced
from jaxrec.memory import empty, require
from jaxrec.models.gram import BLOCK, binary, gram, invert
from jaxrec.models.model import Additive, Model, Solved
from jaxrec.query import Query

OTHER_BYTES = 1 << 27  # bytes of everything else: blocks of the Gram matrix and of scores, and compiled programs


class EASE(Additive, Solved):
    """A linear item-to-item model of the items in a query's history.

    Attributes:
        history_length: length of the longest history, so that none is truncated
        regularization: weight of |B|^2; larger values give a smoother B. A few hundred suit dense data

    Memory: on the CPU one dense [items, items] float32 matrix per member, solved in place; time is O(items^3).
    Fidelity: binary X as in the paper; repeated interactions count once.
    """

    n_items: int
    history_length: int = field()
    regularization: PositiveFloat | Traced = 250.0

    def setup(self) -> None:
        self.weights = self.param("weights", nn.initializers.zeros, (self.n_items, self.n_items))

    def __call__(self, query: Query, items: Int[Array, "B N"]) -> Float[Array, "B N"]:
        """Scores of each query's own candidates."""
        return jnp.take_along_axis(self.score_catalog(query), items, axis=1)

    def score_catalog(self, query: Query) -> Float[Array, "B I"]:
        """Scores of every item: the sum of the rows of B of the history's items."""
        assert query.history is not None
        return query.history.multihot(self.n_items) @ self.weights

    def contributions(self, query: Query, items: Int[Array, "B"]) -> Float[Array, "B T"]:
        """Contribution of each history entry to the score of each query's item; repeated entries share it equally."""
        assert query.history is not None
        entries = query.history.items
        often = jnp.take_along_axis(query.history.counts(self.n_items), jnp.maximum(entries, 0), axis=1)
        return jnp.where(entries < 0, 0.0, self.weights[entries, items[:, None]] / jnp.maximum(often, 1.0))

    def needs_memory(self, n_members: int) -> None:
        """Raise an InputError if the solutions of `n_members` members do not fit into host memory.

        A single solution is shared between devices; with several, each device may hold copies.
        """
        n = 1 if n_members == 1 else 2 * n_members
        matrices = "a matrix" if n == 1 else f"{n} matrices"
        fewer_at_once = "" if n_members == 1 else "solve fewer at a time (sweep.population=1), "
        require(
            (n * self.n_items + 3 * BLOCK) * self.n_items * 4 + OTHER_BYTES,
            f"model=ease with {self.n_items:,} items ({matrices} of items x items)",
            f"{fewer_at_once}keep fewer items (data.k_core=5 or more), or choose model=ials or model=mf",
        )

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
            diagonal = np.einsum("ii->i", matrix)  # a view
            diagonal += penalty
            invert(matrix)
            np.divide(matrix, -diagonal, out=matrix)
            diagonal[:] = 0.0
        return {"weights": weights}

    def solve(self, statistics: Float[Array, "I I"]) -> dict[str, Float[Array, "I I"]]:
        """B from the Gram matrix, by a Cholesky factorization (the matrix is symmetric and positive definite)."""
        identity = jnp.eye(self.n_items)
        factor = jax.scipy.linalg.cho_factor(statistics + self.regularization * identity)
        precision = jax.scipy.linalg.cho_solve(factor, identity)
        weights = -precision / jnp.diag(precision)[None, :]
        return {"weights": weights * (1.0 - identity)}
