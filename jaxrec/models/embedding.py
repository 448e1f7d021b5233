"""Embedding tables and biases with one row per user or item; members may differ in their embedding dimension.

Rows are read through `lookup`, so that an optimizer that updates only the rows of a batch can record them.
"""

from collections.abc import Callable

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from jaxrec.hyper import Traced
from jaxrec.random import normals, stream


class Embedding(nn.Module):
    """Embedding table [n, dim] whose first `width` columns are in use; the others are and stay zero.

    Each entry is drawn by its row and column, so the first `width` columns do not depend on `dim`: a member padded to
    the largest dimension of its population starts from the same values as on its own. Entries are normal with standard
    deviation `std / sqrt(width)`, so that the norm of a row does not depend on the width.
    [Rendle et al. 2022, Revisiting iALS, section 4.5]
    """

    n: int
    dim: int
    width: int | Traced | None = None  # None: all columns
    std: float = 0.1

    def setup(self) -> None:
        self.table = _table(self, self._draw)

    def __call__(self, ids: Int[Array, "*S"]) -> Float[Array, "*S D"]:
        """Rows of the table; unused columns receive no gradient."""
        return self.lookup(ids) * self._in_use().reshape(*[1] * ids.ndim, self.dim)

    def lookup(self, ids: Int[Array, "*S"]) -> Float[Array, "*S D"]:
        """Like `__call__`, for products with another table of the same width, where unused columns stay zero anyway."""
        return self.table[ids]

    def whole(self) -> Float[Array, "n D"]:
        """The whole table."""
        return _rows(self.table, self.n)

    def squared_lengths(self) -> Float[Array, "n"]:
        """Squared norm of every row.

        Cheaper than the norms of gathered rows: only scalars are gathered, and scattered in the gradient.
        """
        return jnp.sum(self.whole() ** 2, axis=1)

    def _draw(self, key: Array) -> Array:
        rows, columns = jnp.arange(self.n)[:, None], jnp.arange(self.dim)[None, :]
        scale = self.std / jnp.sqrt(jnp.asarray(self.dim if self.width is None else self.width, jnp.float32))
        return normals(stream(key), rows, columns) * scale * self._in_use()[None, :]

    def _in_use(self) -> Float[Array, "D"]:
        columns = jnp.arange(self.dim)
        return (columns < (self.dim if self.width is None else self.width)).astype(jnp.float32)


class Bias(nn.Module):
    """Bias [n] of every user or item, initialized to zero."""

    n: int

    def setup(self) -> None:
        self.table = _table(self, nn.initializers.zeros, (self.n,))

    def lookup(self, ids: Int[Array, "*S"]) -> Float[Array, "*S"]:
        """The biases of these ids."""
        return self.table[ids]

    def whole(self) -> Float[Array, "n"]:
        """All biases."""
        return _rows(self.table, self.n)


def _table(module: nn.Module, initializer: Callable[..., Array], *shape: tuple[int, ...]) -> Array:
    """The table of a module; one that is given may have more rows, see `jaxrec.mesh`."""
    if module.has_variable("params", "table"):
        table: Array = module.get_variable("params", "table")
        return table
    return module.param("table", initializer, *shape)


def _rows(table: Array, n: int) -> Array:
    """The first `n` rows; the others are padding."""
    return table if len(table) == n else table[:n]
