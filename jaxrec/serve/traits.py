"""Item vectors and item ages for re-ranking and similarity."""

from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from jaxrec.data.item_similarity import had_together
from jaxrec.history import History
from jaxrec.models.model import Factorized
from jaxrec.query import Query
from jaxrec.recommend.recommender import Recommender

PROBES = 64  # users whose query vectors separate bias dimensions
CATEGORIES = 256  # most frequent categories used for similarity


@dataclass(frozen=True)
class Traits:
    """Item properties used by re-ranking.

    Attributes:
        vectors: item vectors [I, D], close for similar items; None: diversity is not available.
        ages: item ages [I] in days at the latest interaction of the run; NaN if unknown; None: freshness is not
            available.
    """

    vectors: Float[np.ndarray, "I D"] | None = None
    ages: Float[np.ndarray, "I"] | None = None


def traits(recommender: Recommender) -> Traits:
    """Return the item properties of a run: similarity by categories, else model vectors, else co-occurrence."""
    return Traits(_vectors(recommender), recommender.ages)


def _vectors(recommender: Recommender) -> Float[np.ndarray, "I D"] | None:
    categories, known = recommender.categories, recommender.known
    if categories is not None:
        return categories.multihot(CATEGORIES)
    if (vectors := taste(recommender)) is not None:
        return vectors
    n_users, n_items = len(recommender.user_ids), len(recommender.item_ids)
    offsets, items = known.masked(np.arange(n_users))
    if not len(items) or min(n_users, n_items) < 2:
        return None
    users = np.repeat(np.arange(n_users), np.diff(offsets))
    return had_together(users, items, n_users, n_items).astype(np.float32)


def taste(recommender: Recommender) -> Float[np.ndarray, "I D"] | None:
    """Return normalized item vectors without bias dimensions; None for a model without vectors.

    A bias dimension is constant over all queries or over all items, so it does not describe similarity.
    """
    model, params = recommender.asked
    if not isinstance(model, Factorized):
        return None
    vectors = np.asarray(model.bind(params).item_vectors())
    users = np.arange(min(PROBES, len(recommender.user_ids)))
    length = model.history_length
    history = History(jnp.asarray(recommender.histories(users, length), jnp.int32)) if length else None
    queries = model.bind(params).query_vectors(Query(jnp.asarray(users, jnp.int32), history))
    varies = (np.ptp(np.asarray(queries), axis=0) > 0) & (np.ptp(vectors, axis=0) > 0)
    vectors = vectors[:, varies]
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    return (vectors / np.where(norms > 0, norms, 1.0)).astype(np.float32)
