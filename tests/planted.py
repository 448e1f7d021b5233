"""Small synthetic data with planted clusters, and the best possible ranking of it."""

import numpy as np

from jaxrec.data.sources.synthetic import BACKGROUND, MIXTURE
from jaxrec.data.splits.split import HeldOut

N_USERS, N_ITEMS, N_CLUSTERS = 300, 120, 6
ZIPF, SEED = 0.9, 0  # the defaults of data=synthetic
PLANTED = (
    "data=synthetic",
    f"data.n_users={N_USERS}",
    f"data.n_items={N_ITEMS}",
    "data.n_interactions=9000",
    f"data.n_clusters={N_CLUSTERS}",
)


def chances(held: HeldOut) -> np.ndarray:
    """Return the probability [U, I] of each user to draw each item: no ranking is better than by it.

    Repeats the draws of item weights and user tastes in `synthetic`; its features have the clusters of both.
    """
    rng = np.random.default_rng(SEED)
    weight = (rng.permutation(N_ITEMS) + 1.0) ** -ZIPF
    cluster = rng.permutation(np.arange(N_ITEMS) % N_CLUSTERS)
    step = rng.integers(1, 4, (N_USERS, 1))
    taste = (rng.integers(N_CLUSTERS, size=(N_USERS, 1)) + step * np.arange(len(MIXTURE))) % N_CLUSTERS
    np.testing.assert_array_equal(held.known.item_features["cluster"], cluster)
    np.testing.assert_array_equal(held.known.user_features["cluster"], taste[:, 0])
    share = weight / np.bincount(cluster, weight)[cluster]
    of_taste = sum(part * share * (taste[:, [place]] == cluster) for place, part in enumerate(MIXTURE))
    return BACKGROUND * weight / weight.sum() + (1 - BACKGROUND) * of_taste


def ndcg(scores: np.ndarray, held: HeldOut, k: int = 10) -> float:
    """Return the mean NDCG@k over users with relevant items; known items are filtered."""
    known, ground_truth = np.zeros((2, N_USERS, N_ITEMS))
    known[held.known.user, held.known.item] = 1
    ground_truth[held.target.user, held.target.item] = 1
    lists = np.argsort(-np.where(known, -np.inf, scores), axis=1, kind="stable")[:, :k]
    discount = 1 / np.log2(np.arange(2, k + 2))
    found, n = np.take_along_axis(ground_truth, lists, axis=1) @ discount, ground_truth.sum(axis=1).astype(int)
    return float(np.mean(found[n > 0] / np.cumsum(discount)[np.minimum(n[n > 0], k) - 1]))
