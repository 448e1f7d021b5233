"""Which items are alike, by who had them: the leading directions of the matrix of items and users."""

import numpy as np
from scipy import sparse
from scipy.sparse.linalg import svds

DIRECTIONS = 64


def had_together(users: np.ndarray, items: np.ndarray, n_users: int, n_items: int) -> np.ndarray:
    """Vectors of items [I, D], D at most 64: near one another for what the same users had, zero for what nobody had.

    users, items: of each interaction [N]
    """
    ones = np.ones(len(items), np.float32)
    matrix = sparse.csr_array((ones, (items, users)), shape=(n_items, n_users))
    directions = min(DIRECTIONS, min(matrix.shape) - 1)
    start = np.random.default_rng(0).normal(size=min(matrix.shape))
    left, size, _ = svds(matrix, k=directions, v0=start)
    return left * size
