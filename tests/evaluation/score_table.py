"""A model with given scores, its held-out data, and the metrics of one list in plain Python."""

from math import log2

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from jaxrec.data.interactions import Interactions
from jaxrec.models import Model
from jaxrec.query import Query

USERS, ITEMS = 30, 50


class Table(Model):
    """Model whose scores are a table."""

    n_users: int = USERS
    n_items: int = ITEMS

    def setup(self) -> None:
        self.scores = self.param("scores", nn.initializers.zeros, (self.n_users, self.n_items))

    def __call__(self, query: Query, items: jax.Array) -> jax.Array:
        return jnp.take_along_axis(self.scores[query.user], items, axis=1)

    def score_catalog(self, query: Query) -> jax.Array:
        return self.scores[query.user]


def params(tables: np.ndarray) -> dict:
    return {"params": {"scores": tables.astype(np.float32)}}


def interactions(pairs: np.ndarray, n_users: int = USERS, n_items: int = ITEMS) -> Interactions:
    user, item = pairs.astype(np.int32)
    return Interactions(user, item, None, None, None, np.arange(n_users), np.arange(n_items))


def known_and_target() -> tuple[Interactions, Interactions]:
    """Random and disjoint; users 3 and 29 have no targets, user 4 no known items, user 5 all but three items."""
    rng = np.random.default_rng(0)
    known, target = np.zeros((2, USERS, ITEMS), bool)
    known[:], target[:] = rng.random((2, USERS, ITEMS)) < np.array([0.2, 0.15])[:, None, None]
    known[4], known[5], target[5] = False, np.arange(ITEMS) >= 3, np.arange(ITEMS) < 2
    target &= ~known
    target[[3, 29]] = False
    rows, columns = np.nonzero(target)
    shuffled = rng.permutation(len(rows))  # the rows of a file are in any order
    return interactions(np.array(np.nonzero(known))), interactions(np.array([rows[shuffled], columns[shuffled]]))


def of_user(ranked: list[int], relevant: set[int], k: int) -> dict[str, float]:
    """Return the metrics of one list by their definitions."""
    ranks = [rank for rank, item in enumerate(ranked[:k], 1) if item in relevant]
    n = len(relevant)
    return {
        f"ndcg@{k}": sum(1 / log2(r + 1) for r in ranks) / sum(1 / log2(r + 1) for r in range(1, min(n, k) + 1)),
        f"hit_rate@{k}": float(bool(ranks)),
        f"precision@{k}": len(ranks) / k,
        f"recall@{k}": len(ranks) / n,
        f"recall_min@{k}": len(ranks) / min(n, k),
        f"map@{k}": sum(found / r for found, r in enumerate(ranks, 1)) / min(n, k),
        f"mrr@{k}": 1 / ranks[0] if ranks else 0.0,
    }


def lists() -> tuple[np.ndarray, np.ndarray]:
    """Return 1 to 12 candidates per user, unordered; they may be known, relevant, or the ranked item itself."""
    rng = np.random.default_rng(5)
    drawn = [rng.permutation(ITEMS)[: rng.integers(1, 13)] for _ in range(USERS)]
    return np.cumsum([0, *map(len, drawn)]), np.concatenate(drawn)
