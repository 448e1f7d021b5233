"""Item similarity by co-occurrence: item vectors from a truncated SVD of the item-user matrix."""

import numpy as np
from scipy import sparse
from scipy.sparse.linalg import svds

DIRECTIONS = 64


def had_together(users: np.ndarray, items: np.ndarray, n_users: int, n_items: int) -> np.ndarray:
    """Return item vectors [I, D], D <= 64: close for items with the same users, zero for items without users.

    Args:
        users, items: user and item of each interaction, [N].
        n_users: number of users.
        n_items: number of items.
    """
    ones = np.ones(len(items), np.float32)
    matrix = sparse.csr_array((ones, (items, users)), shape=(n_items, n_users))
    directions = min(DIRECTIONS, min(matrix.shape) - 1)
    start = np.random.default_rng(0).normal(size=min(matrix.shape))
    left, size, _ = svds(matrix, k=directions, v0=start)
    return left * size
