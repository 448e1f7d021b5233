"""Tables with a row for every user or item: vectors, whose width may differ between members, and biases.

Rows are had by `lookup`, so that an optimizer that moves only the rows of a batch finds out which they are.
"""

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from jaxrec.hyper import Traced
from jaxrec.random import normals, stream


class Embedding(nn.Module):
    """A table [n, dim] of which the first `width` columns are in use; the others are zero and stay so.

    Each entry is drawn by its row and column, so the first `width` columns are the same for every `dim`: a member
    padded to its population's widest starts as it would alone. Entries are normal with deviation `std / sqrt(width)`:
    the length of a row does not depend on the width.   [Rendle et al. 2022, Revisiting iALS, section 4.5]
    """

    n: int
    dim: int
    width: int | Traced | None = None  # None: all columns
    std: float = 0.1

    def setup(self) -> None:
        self.table = self.param("table", self._draw)

    def __call__(self, ids: Int[Array, "*S"]) -> Float[Array, "*S D"]:
        """Rows of the table; no gradient reaches columns that are not in use."""
        return self.lookup(ids) * self._in_use().reshape(*[1] * ids.ndim, self.dim)

    def lookup(self, ids: Int[Array, "*S"]) -> Float[Array, "*S D"]:
        """As `__call__`, for products with another table of this width: there, zero columns keep each other zero."""
        return self.table[ids]

    def whole(self) -> Float[Array, "n D"]:
        """The whole table."""
        return self.table

    def squared_lengths(self) -> Float[Array, "n"]:
        """Of every row: cheaper than of gathered rows, for then only scalars are gathered, and scattered back."""
        return jnp.sum(self.table**2, axis=1)

    def _draw(self, key: Array) -> Array:
        rows, columns = jnp.arange(self.n)[:, None], jnp.arange(self.dim)[None, :]
        scale = self.std / jnp.sqrt(jnp.asarray(self.dim if self.width is None else self.width, jnp.float32))
        return normals(stream(key), rows, columns) * scale * self._in_use()[None, :]

    def _in_use(self) -> Float[Array, "D"]:
        columns = jnp.arange(self.dim)
        return (columns < (self.dim if self.width is None else self.width)).astype(jnp.float32)


class Bias(nn.Module):
    """A number [n] for every user or item, zero at the start."""

    n: int

    def setup(self) -> None:
        self.table = self.param("table", nn.initializers.zeros, (self.n,))

    def lookup(self, ids: Int[Array, "*S"]) -> Float[Array, "*S"]:
        """The numbers of these."""
        return self.table[ids]

    def whole(self) -> Float[Array, "n"]:
        """The number of each."""
        return self.table
