"""Item similarity: one definition for the server's lists and similar items, and for the pipeline's re-ranking."""

from typing import Literal

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from scipy import sparse
from scipy.sparse.linalg import svds

from jaxrec.data.item_labels import Categories
from jaxrec.recommend.recommender import Recommender
from jaxrec.rerank.shortlist import Mixes

By = Literal["category", "model", "interactions"]
Vectors = Float[Array, "I D"] | Mixes
"""One row per item; similarity is the cosine, and an item with a row of zeros has similarity 0 to all others."""

CATEGORIES = 256  # number of most frequent categories that are compared
PROBES = 64  # users whose query vectors show which columns are biases
DIRECTIONS = 64


def item_similarity(
    recommender: Recommender,
    interactions: tuple[np.ndarray, np.ndarray],
    categories: Mixes | None = None,
    by: By | None = None,
) -> Vectors | None:
    """Return vectors whose cosines are the similarities of items; None if no source of similarity is available.

    Sources, in this order: the categories of items, the model's item vectors, and the users that items have in common.

    Args:
        recommender: the run, with the categories of its items.
        interactions: users and items [N] of the interactions in which common users are counted.
        categories: categories to use instead of those of the run.
        by: the only source to use; None: the first one that is available.
    """
    if categories is None and recommender.categories is not None:
        categories = mixes(recommender.categories)
    n_users, n_items = len(recommender.user_ids), len(recommender.item_ids)
    if categories is not None and by in (None, "category"):
        return _most_frequent(categories)
    if by in (None, "model") and (vectors := model_vectors(recommender)) is not None:
        return jnp.asarray(vectors)
    if by in (None, "interactions") and len(interactions[0]) and min(n_users, n_items) > 1:
        return jnp.asarray(common_users(*interactions, n_users, n_items), jnp.float32)
    return None


def mixes(categories: Categories) -> Mixes:
    """Return the categories of a run's items as padded codes."""
    lengths = np.diff(categories.offsets)
    item = np.repeat(np.arange(len(lengths)), lengths)
    codes = np.zeros((len(lengths), max(1, int(lengths.max(initial=0)))), np.int32)
    codes[item, np.arange(len(item)) - categories.offsets[item]] = categories.codes + 1
    return Mixes(jnp.asarray(codes), len(categories.names))


def _most_frequent(categories: Mixes) -> Mixes:
    """Drop all but the `CATEGORIES` most frequent categories."""
    if categories.n_categories <= CATEGORIES:
        return categories
    codes = np.asarray(categories.codes)
    counts = np.bincount(codes[codes > 0], minlength=categories.n_categories + 1)
    kept = np.argsort(-counts, kind="stable")[:CATEGORIES]
    place = np.zeros(len(counts), np.int32)
    place[kept] = np.arange(1, CATEGORIES + 1)
    return Mixes(jnp.asarray(place[codes]), CATEGORIES)


def model_vectors(recommender: Recommender) -> Float[np.ndarray, "I D"] | None:
    """Return item vectors of length 1 without biases; None for a model without vectors.

    A bias is a column that is the same in every query vector or in every item vector, so it does not distinguish items.
    """
    vectors = recommender.item_vectors()
    queries = recommender.user_vectors(np.arange(min(PROBES, len(recommender.user_ids))))
    if vectors is None or queries is None:
        return None
    varies = (np.ptp(queries, axis=0) > 0) & (np.ptp(vectors, axis=0) > 0)
    vectors = vectors[:, varies]
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    return (vectors / np.where(length > 0, length, 1.0)).astype(np.float32)


def common_users(users: np.ndarray, items: np.ndarray, n_users: int, n_items: int) -> Float[np.ndarray, "I D"]:
    """Return the leading left singular vectors of the item-user matrix (at most `DIRECTIONS`) times singular values.

    An item without interactions has a row of zeros.

    Args:
        users: of each interaction [N].
        items: of each interaction [N].
        n_users: size of the user table.
        n_items: size of the catalog.
    """
    ones = np.ones(len(items), np.float32)
    matrix = sparse.csr_array((ones, (items, users)), shape=(n_items, n_users))
    directions = min(DIRECTIONS, min(matrix.shape) - 1)
    start = np.random.default_rng(0).normal(size=min(matrix.shape))
    left, size, _ = svds(matrix, k=directions, v0=start)
    return left * size
