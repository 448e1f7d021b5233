"""Propagation over a graph by powers of its dense matrix."""

import numpy as np

from jaxrec.data.interactions import Interactions


def normalized(train: Interactions) -> np.ndarray:
    """Return D^-1/2 A D^-1/2 over all users, followed by all items."""
    x = np.zeros((train.n_users, train.n_items))
    x[train.user, train.item] = 1
    a = np.block([[np.zeros((len(x), len(x))), x], [x.T, np.zeros((x.shape[1], x.shape[1]))]])
    scale = 1 / np.sqrt(np.maximum(a.sum(axis=1), 1))
    return scale[:, None] * a * scale[None, :]


def powers(train: Interactions, n_layers: int) -> np.ndarray:
    """Return the mean of the powers 0, 1, ..., `n_layers` of `normalized`."""
    a = normalized(train)
    return np.mean([np.linalg.matrix_power(a, k) for k in range(n_layers + 1)], axis=0)
