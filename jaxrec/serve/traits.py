"""What re-ranking and similarity know of items: how alike they are, and how old."""

from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from jaxrec.data.item_similarity import had_together
from jaxrec.history import History
from jaxrec.models.model import Factorized
from jaxrec.query import Query
from jaxrec.recommend.recommender import Recommender

PROBES = 64  # users whose queries tell taste from bias
CATEGORIES = 256  # the most frequent, by which items are compared


@dataclass(frozen=True)
class Traits:
    """What re-ranking knows of items.

    vectors: [I, D], near one another for items that are alike; None: diversity cannot be had
    ages:    [I] days, at the newest moment that the run knows; NaN where not known; None: no freshness
    """

    vectors: Float[np.ndarray, "I D"] | None = None
    ages: Float[np.ndarray, "I"] | None = None


def traits(recommender: Recommender) -> Traits:
    """Items are alike that share categories; where the run knows none, those that the model's vectors say are; where
    the model has none, those that the same users had.
    """
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
    """Item vectors of length 1 without their biases; None for a model without vectors.

    A bias is a column that meets the same number in every query, or is the same for all items: it says nothing of
    what an item is like.
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
    length_of = np.linalg.norm(vectors, axis=1, keepdims=True)
    return (vectors / np.where(length_of > 0, length_of, 1.0)).astype(np.float32)
