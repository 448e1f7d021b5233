"""Least squares problems of one half of an alternating step: the vectors of a batch of rows, the other side fixed.

Each row has the problem  (sum over its interactions of w q q' + E + penalty) p = sum of w q,  with vectors q of the
other side, weights w, and a matrix E common to all rows. Solvers return solutions [B, D] and the objective at them,
sum of w (1 - p.q)^2 + p'E p + penalty |p|^2  over the rows of the batch.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from jaxrec.models.fold_in import cholesky


class Rows(NamedTuple):
    """The interactions of a batch of B rows, cut into C segments of L.

    Attributes:
        owner: the row of each segment; B for padding
        vectors: vector of the other side of each interaction; zero for padding
        is_real: False for padding
        weight: weight of each interaction; None: 1
    """

    owner: Int[Array, "C"]
    vectors: Float[Array, "C L D"]
    is_real: Bool[Array, "C L"]
    weight: Float[Array, "C L"] | None

    def weighted(self, values: Float[Array, "C L *S"]) -> Float[Array, "C L *S"]:
        """Values of interactions, times their weights."""
        if self.weight is None:
            return values
        return values * self.weight.reshape(*self.weight.shape, *[1] * (values.ndim - 2))

    def sums(self, values: Float[Array, "C *S"], n_rows: int) -> Float[Array, "B *S"]:
        """Sums of the values of segments over each row."""
        return jnp.zeros((n_rows, *values.shape[1:])).at[self.owner].add(values, mode="drop")

    def of_segments(self, values: Float[Array, "B *S"]) -> Float[Array, "C *S"]:
        """The value of the row of each segment."""
        return values.at[self.owner].get(mode="fill", fill_value=0)

    def squared_errors(self, predicted: Float[Array, "C L"]) -> Float[Array, ""]:
        """Weighted sum of (1 - predicted)^2 over the interactions."""
        return jnp.sum(self.weighted(jnp.where(self.is_real, (1.0 - predicted) ** 2, 0.0)))


def exact(
    rows: Rows, start: Float[Array, "B D"], everything: Float[Array, "D D"], penalty: Float[Array, "B"]
) -> tuple[Float[Array, "B D"], Float[Array, ""]]:
    """Solve by Cholesky factorization."""
    n, dim = start.shape
    weighted = rows.weighted(rows.vectors)
    grams = jnp.einsum("cld,cle->cde", weighted, rows.vectors)
    right = rows.sums(jnp.sum(weighted, axis=1), n)
    matrix = rows.sums(grams, n) + everything[None] + penalty[:, None, None] * jnp.eye(dim)[None]
    solved = cholesky(matrix, right)
    # At the solution, a row's part of the objective is sum of weights - right . p.
    return solved, jnp.sum(rows.weighted(rows.is_real.astype(jnp.float32))) - jnp.sum(right * solved)


def by_blocks(
    block: int, rows: Rows, start: Float[Array, "B D"], everything: Float[Array, "D D"], penalty: Float[Array, "B"]
) -> tuple[Float[Array, "B D"], Float[Array, ""]]:
    """Solve for one block of columns after another, each with the current values of the other columns.

    [Rendle, Krichene, Zhang, Koren 2021, iALS++: Speeding up matrix factorization with subspace optimization]
    """
    n, dim = start.shape

    def improve(carry: tuple[Array, Array], first: Array) -> tuple[tuple[Array, Array], None]:
        p, predicted = carry
        vectors = jax.lax.dynamic_slice_in_dim(rows.vectors, first, block, axis=2)
        own = jax.lax.dynamic_slice_in_dim(p, first, block, axis=1)
        of_all = jax.lax.dynamic_slice_in_dim(everything, first, block, axis=1)
        errors = rows.weighted(predicted - 1.0)
        gradient = rows.sums(jnp.einsum("cl,cld->cd", errors, vectors), n) + p @ of_all + penalty[:, None] * own
        grams = jnp.einsum("cld,cle->cde", rows.weighted(vectors), vectors)
        matrix = rows.sums(grams, n) + jax.lax.dynamic_slice_in_dim(of_all, first, block)[None]
        change = -cholesky(matrix + penalty[:, None, None] * jnp.eye(block)[None], gradient)
        p = jax.lax.dynamic_update_slice_in_dim(p, own + change, first, axis=1)
        return (p, predicted + jnp.einsum("cd,cld->cl", rows.of_segments(change), vectors)), None

    predicted = jnp.einsum("cd,cld->cl", rows.of_segments(start), rows.vectors)
    (solved, predicted), _ = jax.lax.scan(improve, (start, predicted), jnp.arange(0, dim, block))
    rest = jnp.sum((solved @ everything) * solved) + jnp.sum(penalty[:, None] * solved**2)
    return solved, rows.squared_errors(predicted) + rest


class Whitened(NamedTuple):
    """A basis of the vectors in which E + `level` is the identity.

    In it, conjugate gradients need few steps: the matrix of a row is near a multiple of the identity if its penalty is
    near `level` times its share of interactions, as it is with penalties in proportion to the data. In the original
    basis, a few steps may move all rows in the same direction, and alternating steps stay close to vectors of rank 1.

    Attributes:
        lower: Cholesky factor of E + level
        inverse: its inverse
        level: penalty of a typical row, relative to the weight in its matrix of vectors like those in E
    """

    lower: Float[Array, "D D"]
    inverse: Float[Array, "D D"]
    level: Float[Array, ""]

    @classmethod
    def of(cls, everything: Float[Array, "D D"], level: Float[Array, ""]) -> "Whitened":
        """The basis for E and a level."""
        identity = jnp.eye(len(everything))
        lower = jnp.linalg.cholesky(everything + level * identity)
        return cls(lower, jax.scipy.linalg.solve_triangular(lower, identity, lower=True), level)

    @property
    def everything(self) -> Float[Array, "D D"]:
        """E in this basis."""
        return jnp.eye(len(self.lower)) - self.level * (self.inverse @ self.inverse.T)

    def conjugate_gradients(
        self,
        n_steps: int,
        rows: Rows,
        start: Float[Array, "B D"],
        everything: Float[Array, "D D"],
        penalty: Float[Array, "B"],
    ) -> tuple[Float[Array, "B D"], Float[Array, ""]]:
        """Improve by steps of conjugate gradients, each of time interactions x D, without a matrix per row.

        [Takács, Pilászy, Tikk 2011, Applications of the conjugate gradient method for implicit feedback collaborative
        filtering]
        """
        n, relative = len(start), (penalty / self.level)[:, None]

        def predict(p: Float[Array, "B D"]) -> Float[Array, "C L"]:
            return jnp.einsum("cd,cld->cl", rows.of_segments(p), rows.vectors)

        def collect(values: Float[Array, "C L"]) -> Float[Array, "B D"]:
            return rows.sums(jnp.einsum("cl,cld->cd", rows.weighted(values), rows.vectors), n)

        def rest(p: Float[Array, "B D"]) -> Float[Array, "B D"]:  # (E + penalty) p
            of_all = p @ everything
            return of_all + relative * (p - of_all)

        p, predicted = start, predict(start)
        direction = residual = collect(rows.is_real.astype(jnp.float32) - predicted) - rest(p)
        squared = _dot(residual, residual)
        for _ in range(n_steps):
            along = predict(direction)
            product = collect(along) + rest(direction)
            step = _ratio(squared, _dot(direction, product))
            p, predicted = p + step * direction, predicted + rows.of_segments(step) * along
            residual = residual - step * product
            before, squared = squared, _dot(residual, residual)
            direction = residual + _ratio(squared, before) * direction
        return p, rows.squared_errors(predicted) + jnp.sum(rest(p) * p)


def _dot(x: Float[Array, "B D"], y: Float[Array, "B D"]) -> Float[Array, "B 1"]:
    return jnp.sum(x * y, axis=1, keepdims=True)


def _ratio(x: Float[Array, "B 1"], y: Float[Array, "B 1"]) -> Float[Array, "B 1"]:
    """x / y, or 0 where y is 0: a row that is solved stays as it is."""
    return jnp.where(y > 0, x / jnp.where(y > 0, y, 1.0), 0.0)
