"""Random interactions and similarities of sets, for neighborhood models."""

import numpy as np

from jaxrec.data.interactions import Interactions

USERS, ITEMS = 20, 9
KINDS = {
    "cosine": lambda both, a, b: both / (np.sqrt(a * b) + 2.0),
    "jaccard": lambda both, a, b: both / (a + b - both + 2.0),
    "dice": lambda both, a, b: both / ((a + b) / 2 + 2.0),
}


def train() -> tuple[Interactions, np.ndarray]:
    """Return random pairs, some of them twice, as interactions and as a binary matrix; no user has the last item."""
    rng = np.random.default_rng(0)
    user, item = rng.integers(0, [[USERS], [ITEMS - 1]], (2, 80)).astype(np.int32)
    x = np.zeros((USERS, ITEMS))
    x[user, item] = 1
    return Interactions(user, item, None, None, None, np.arange(USERS), np.arange(ITEMS)), x
