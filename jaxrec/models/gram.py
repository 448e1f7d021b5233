"""Gram matrix X'DX of a binary matrix and its inverse; on the host, each is computed in the memory of its result."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int
from scipy import sparse
from scipy.linalg import lapack

from jaxrec import memory
from jaxrec.data.interactions import Interactions
from jaxrec.membership import Membership, membership

ENTRIES = 1 << 24  # entries per block of rows of a sparse product
BLOCK = 512  # columns inverted at a time; three blocks of rows are in memory besides the matrix
TILE = 512  # rows and columns copied at a time; two tiles fit into a core's cache
USERS = 1024  # users whose products are added at a time on the device


class DeviceMatrix(NamedTuple):
    """The binary matrix X on the device, with a number for each user and item.

    Attributes:
        x: X
        users: a number per user, see `on_device`
        items: a number per item, see `on_device`
    """

    x: Membership
    users: Float[Array, "U"]
    items: Float[Array, "I"]


def on_device(train: Interactions, users: Float[np.ndarray, "U"], items: Float[np.ndarray, "I"]) -> DeviceMatrix:
    """X on the device, with these numbers of users and items."""
    return DeviceMatrix(membership(train), jnp.asarray(users), jnp.asarray(items))


def counts(x: sparse.csr_matrix) -> tuple[Int[np.ndarray, "U"], Int[np.ndarray, "I"]]:
    """Numbers of items of each user and of users of each item."""
    return np.diff(x.indptr), np.bincount(x.indices, minlength=x.shape[1])


def positive_counts(x: sparse.csr_matrix) -> tuple[Float[np.ndarray, "U"], Float[np.ndarray, "I"]]:
    """`counts` as float32, at least 1."""
    users, items = counts(x)
    return np.maximum(users, 1).astype(np.float32), np.maximum(items, 1).astype(np.float32)


def binary(train: Interactions) -> sparse.csr_matrix:
    """Binary matrix [users, items]: 1 where a user has interacted with an item, once or repeatedly."""
    ones = np.ones(len(train), np.float32)
    x = sparse.csr_matrix((ones, (train.user, train.item)), shape=(train.n_users, train.n_items))
    x.data[:] = 1.0  # repeated pairs were summed
    return x


def gram(
    x: sparse.csr_matrix, weights: Float[np.ndarray, "U"] | None = None, out: Float[np.ndarray, "I I"] | None = None
) -> Float[np.ndarray, "I I"]:
    """Dense X'DX, one block of rows of the sparse product at a time.

    Args:
        x: X.
        weights: diagonal of D, the weights of users; None: 1.
        out: array for the result; None: a new one.
    """
    n = x.shape[1]
    out = memory.empty((n, n)) if out is None else out
    by_item = x.T.tocsr()
    if weights is not None:
        by_item.data *= weights[by_item.indices]
    rows = max(1, ENTRIES // n)
    for start in range(0, n, rows):
        (by_item[start : start + rows] @ x).toarray(out=out[start : start + rows])
    return out


def gram_on_device(x: Membership, weights: Float[Array, "U"], n_items: int) -> Float[Array, "I I"]:
    """Dense X'DX from the bits of X, a dense product over one block of users at a time; see `gram`."""
    n_users = x.words.shape[0]
    size = min(USERS, n_users)
    users = jnp.arange(-(-n_users // size) * size).reshape(-1, size)

    def add(total: Array, block: Array) -> tuple[Array, None]:
        rows = x.rows(jnp.minimum(block, n_users - 1), n_items).astype(jnp.float32)
        weighted = rows * weights.at[block].get(mode="fill", fill_value=0)[:, None]
        return total + weighted.T @ rows, None

    return jax.lax.scan(add, jnp.zeros((n_items, n_items)), users)[0]


def invert(matrix: Float[np.ndarray, "I I"]) -> None:
    """Invert a symmetric positive definite float32 matrix in C order in place, one block of columns after another.

    The sweep operator in blocks, on the upper triangle: as many operations as a Cholesky factorization and the inverse
    of its factor, nearly all of them in matrix products. LAPACK is called for blocks only, because the factorization
    of OpenBLAS crashes with some ten thousand columns. The result is NaN if the matrix is not positive definite in
    single precision, as with `jax.scipy.linalg.cho_factor`.  [Goodnight 1979, A tutorial on the SWEEP operator]
    """
    n = len(matrix)
    for start in range(0, n, BLOCK):
        stop = min(start + BLOCK, n)
        inverse = _inverse(matrix[start:stop, start:stop])
        if inverse is None:
            matrix[:] = np.nan
            return
        rows = np.concatenate([matrix[:start, start:stop].T, matrix[start:stop, start:]], axis=1)
        rows[:, start:stop] = 0.0
        solved = inverse @ rows
        for row in range(0, n, BLOCK):
            matrix[row : row + BLOCK, row:] -= rows[:, row : row + BLOCK].T @ solved[:, row:]
        matrix[:start, start:stop] = solved[:, :start].T
        matrix[start:stop, stop:] = solved[:, stop:]
        matrix[start:stop, start:stop] = -inverse
    _mirror(matrix)
    np.negative(matrix, out=matrix)


def _inverse(block: Float[np.ndarray, "B B"]) -> Float[np.ndarray, "B B"] | None:
    """Inverse of a symmetric matrix from its upper triangle; None if it is not positive definite."""
    # LAPACK is column-major: the lower triangle of the transpose (a view) is the upper triangle here.
    result = block.copy()
    factor, failed = lapack.spotrf(result.T, lower=1, overwrite_a=1)
    if not failed:
        _, failed = lapack.spotri(factor, lower=1, overwrite_c=1)
    if failed:
        return None
    _mirror(result)
    return result


def _mirror(matrix: Float[np.ndarray, "I I"]) -> None:
    """Copy the upper triangle into the lower one."""
    n = len(matrix)
    for row in range(0, n, TILE):
        below = slice(row, row + TILE)
        for column in range(0, row, TILE):
            left = slice(column, column + TILE)
            matrix[below, left] = matrix[left, below].T
        corner = matrix[below, below]
        corner[:] = np.triu(corner) + np.triu(corner, 1).T
