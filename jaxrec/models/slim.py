"""SLIM: score(u, .) = x_u W, with W sparse, W >= 0 and diag(W) = 0, from an elastic net for each item.

W = argmin 1/2 |X - XW|^2 + l2 / 2 |W|^2 + l1 |W|_1. Coordinate descent on the Gram matrix G = X'X, one row of W (the
same regressor of all items) at a time:

    w_ij = max(0, (G_ij - sum_k G_ik w_kj + G_ii w_ij - l1) / (G_ii + l2))

[Ning and Karypis 2011, SLIM: Sparse linear methods for top-N recommender systems; Friedman, Hastie, Tibshirani 2010,
Regularization paths for generalized linear models via coordinate descent]
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from pydantic import NonNegativeFloat, PositiveInt

from jaxrec.data.interactions import Interactions
from jaxrec.hyper import Traced
from jaxrec.models.gram import binary, gram
from jaxrec.models.item_weights import ItemWeights

Carry = tuple[Array, Array, Array]  # largest change of a weight, W and G - GW
State = tuple[Array, Array, Array, Array]  # the same, with the number of sweeps
ROWS = 64  # rows of W whose updates are applied to the residual together, as one matrix product


class SLIM(ItemWeights):
    """A sparse, nonnegative linear item-to-item model of the items in a query's history.

    Attributes:
        history_length: length of the longest history, so that none is truncated
        l1: weight of |W|_1; larger values give a sparser W
        l2: weight of |W|^2
        tolerance: coordinate descent ends when no weight changes by more than this in a sweep
        max_sweeps: maximum number of sweeps over all coordinates

    Memory: five dense [items, items] float32 matrices (W, the residual, the Gram matrix, and their updates). Time: 2
    items^3 operations per sweep, nearly all in matrix products; rankings hardly change after 10 sweeps.
    Fidelity: the paper's problem; W is stored densely. scikit-learn's ElasticNet divides its squared error by the
    number of users U: alpha = (l1 + l2) / U, l1_ratio = l1 / (l1 + l2), positive=True.
    """

    l1: NonNegativeFloat | Traced = 1.0
    l2: NonNegativeFloat | Traced = 100.0
    tolerance: NonNegativeFloat = 1e-3
    max_sweeps: PositiveInt = 20

    def matrices(self, n_members: int) -> int:
        """Matrices in host memory: those of one member on each device, and the solutions."""
        return 5 * min(n_members, jax.device_count()) + n_members

    def prepare(self, train: Interactions) -> Float[np.ndarray, "I I"]:
        """The Gram matrix X'X: the number of users who have both of two items."""
        return gram(binary(train))

    def solve(self, prepared: Float[Array, "I I"]) -> dict[str, Float[Array, "I I"]]:
        """W by coordinate descent for all items at once."""
        n, rows = self.n_items, min(ROWS, self.n_items)
        padded = jnp.pad(prepared, (0, -n % rows))
        grams = padded.reshape(-1, rows, len(padded))
        starts = jnp.arange(len(grams)) * rows

        def sweep(state: State) -> State:
            _, count, weights, residual = state

            def block(carry: Carry, part: tuple[Array, Array]) -> tuple[Carry, None]:
                return self._block(*carry, *part), None

            carry, _ = jax.lax.scan(block, (jnp.float32(0.0), weights, residual), (grams, starts))
            change, weights, residual = carry
            return change, count + 1, weights, residual

        def improves(state: State) -> Array:
            return (state[0] > self.tolerance) & (state[1] < self.max_sweeps)

        start = (jnp.float32(jnp.inf), jnp.int32(0), jnp.zeros((len(padded), n)), padded[:, :n])
        state = jax.lax.while_loop(improves, sweep, start)
        return {"weights": state[2][:n]}

    def _block(
        self,
        change: Float[Array, ""],
        weights: Float[Array, "N I"],
        residual: Float[Array, "N I"],
        gram: Float[Array, "R N"],
        start: Array,
    ) -> Carry:
        """Update the rows `start : start + R` of W one by one.

        Args:
            change: largest change of a weight so far.
            weights: W, padded with rows of zeros.
            residual: G - GW, padded in the same way.
            gram: these rows of G, padded with columns of zeros.
            start: number of the first row.

        Returns:
            change, weights and residual.
        """
        rows = len(gram)
        old = jax.lax.dynamic_slice_in_dim(weights, start, rows)
        left = jax.lax.dynamic_slice_in_dim(residual, start, rows)
        corner = jax.lax.dynamic_slice_in_dim(gram, start, rows, axis=1)
        columns = jnp.arange(self.n_items)

        def update(row: Array, state: tuple[Array, Array]) -> tuple[Array, Array]:
            new, left = state
            size = corner[row, row]
            found = jnp.maximum(0.0, left[row] + size * new[row] - self.l1) / jnp.maximum(size + self.l2, 1e-9)
            found = jnp.where((columns == start + row) | (size == 0), 0.0, found)
            return new.at[row].set(found), left - corner[:, row][:, None] * (found - new[row])[None, :]

        new, _ = jax.lax.fori_loop(0, rows, update, (old, left))
        difference = new - old
        weights = jax.lax.dynamic_update_slice_in_dim(weights, new, start, axis=0)
        return jnp.maximum(change, jnp.max(jnp.abs(difference))), weights, residual - gram.T @ difference
