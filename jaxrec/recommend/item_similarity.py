"""Which items are alike: one rule for the server's lists and similar items, and for the pipeline's re-ranking."""

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
"""One row an item; similarity is the cosine, and a row of zeros is like no other."""

CATEGORIES = 256  # the most frequent, by which items are compared
PROBES = 64  # users whose queries tell taste from bias
DIRECTIONS = 64


def item_similarity(
    recommender: Recommender,
    interactions: tuple[np.ndarray, np.ndarray],
    categories: Mixes | None = None,
    by: By | None = None,
) -> Vectors | None:
    """Return vectors whose cosines say how alike items are; None where nothing says so.

    Items are alike by their categories; where none are known, by the model's vectors; where it has none, by the users
    they have in common.

    Args:
        recommender: the run, with the categories of its items.
        interactions: users and items [N] of the interactions that common users are counted in.
        categories: those to use in place of the run's.
        by: the only source to use; None: the first of the three that there is.
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
    """The categories of a run's items as padded codes."""
    lengths = np.diff(categories.offsets)
    item = np.repeat(np.arange(len(lengths)), lengths)
    codes = np.zeros((len(lengths), max(1, int(lengths.max(initial=0)))), np.int32)
    codes[item, np.arange(len(item)) - categories.offsets[item]] = categories.codes + 1
    return Mixes(jnp.asarray(codes), len(categories.names))


def _most_frequent(categories: Mixes) -> Mixes:
    """Without the categories that are not among the `CATEGORIES` most frequent."""
    if categories.n_categories <= CATEGORIES:
        return categories
    codes = np.asarray(categories.codes)
    counts = np.bincount(codes[codes > 0], minlength=categories.n_categories + 1)
    kept = np.argsort(-counts, kind="stable")[:CATEGORIES]
    place = np.zeros(len(counts), np.int32)
    place[kept] = np.arange(1, CATEGORIES + 1)
    return Mixes(jnp.asarray(place[codes]), CATEGORIES)


def model_vectors(recommender: Recommender) -> Float[np.ndarray, "I D"] | None:
    """Item vectors of length 1 without their biases; None for a model without vectors.

    A bias is a column that meets the same number in every query, or is the same for all items: it says nothing of
    what an item is like.
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
    """The leading directions of the matrix of items and users, at most 64; zero for an item that nobody had.

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
