"""Gram matrix X'X of a binary matrix and its inverse on the host, each computed in the memory of its result."""

import numpy as np
from jaxtyping import Float
from scipy import sparse
from scipy.linalg import lapack

from jaxrec import memory
from jaxrec.data.interactions import Interactions

ENTRIES = 1 << 24  # entries per block of rows of a sparse product
TILE = 512  # rows and columns copied at a time; two tiles fit into a core's cache


def binary(train: Interactions) -> sparse.csr_matrix:
    """Binary matrix [users, items]: 1 where a user has interacted with an item, once or repeatedly."""
    ones = np.ones(len(train), np.float32)
    x = sparse.csr_matrix((ones, (train.user, train.item)), shape=(train.n_users, train.n_items))
    x.data[:] = 1.0  # repeated pairs were summed
    return x


def gram(x: sparse.csr_matrix, out: Float[np.ndarray, "I I"] | None = None) -> Float[np.ndarray, "I I"]:
    """Dense X'X, written to `out` if given; the sparse product is computed one block of rows at a time."""
    n = x.shape[1]
    out = memory.empty((n, n)) if out is None else out
    by_item = x.T.tocsr()
    rows = max(1, ENTRIES // n)
    for start in range(0, n, rows):
        (by_item[start : start + rows] @ x).toarray(out=out[start : start + rows])
    return out


def invert(matrix: Float[np.ndarray, "I I"]) -> None:
    """Invert a symmetric float32 matrix in C order in place.

    The result is NaN if the matrix is not positive definite in single precision, as with `jax.scipy.linalg.cho_factor`.
    """
    # LAPACK is column-major: the lower triangle of the transpose (a view) is the upper triangle here.
    factor, failed = lapack.spotrf(matrix.T, lower=1, overwrite_a=1)
    if not failed:
        _, failed = lapack.spotri(factor, lower=1, overwrite_c=1)
    if failed:
        matrix[:] = np.nan
    else:
        _mirror(matrix)


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
