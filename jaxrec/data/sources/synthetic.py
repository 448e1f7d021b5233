"""Synthetic interactions with a known structure: item clusters, user tastes, and popularity bias."""

import numpy as np
import pandas as pd
from pydantic import NonNegativeFloat, NonNegativeInt, PositiveInt

from jaxrec.data.interactions import Interactions
from jaxrec.data.reading.times import DAY
from jaxrec.errors import InputError

MIXTURE = np.array([0.7, 0.2, 0.1])  # weights of a user's first, second and third cluster
BACKGROUND = 0.1  # share of draws from the whole catalog, independent of taste


def synthetic(
    n_users: PositiveInt = 1_000,
    n_items: PositiveInt = 500,
    n_interactions: PositiveInt = 50_000,
    n_clusters: PositiveInt = 8,
    zipf: NonNegativeFloat = 0.9,
    activity: NonNegativeFloat = 1.0,
    min_per_user: PositiveInt = 5,
    sequential: bool = False,
    seed: NonNegativeInt = 0,
) -> Interactions:
    """Generate exactly `n_interactions` distinct user-item pairs, sorted by user, with increasing times per user.

    Each item belongs to one cluster, and a user's taste is a mixture of three clusters. Within a cluster, items are
    drawn with weight (r + 1)^-zipf, r being the popularity rank in the whole catalog. Features: `cluster` of an item,
    main `cluster` of a user.

    Args:
        n_users, n_items, n_interactions, n_clusters: sizes.
        zipf: exponent of item popularity.
        activity: sigma of the lognormal distribution of interactions per user.
        min_per_user: minimum number of interactions per user.
        sequential: whether users consume their items in the order of one hidden cycle, each from a random start, so
            that the next item is predictable from the previous ones; otherwise the order is random.
        seed: seed of the random generator.

    Raises:
        InputError: there are not that many distinct pairs, or too few for `min_per_user`.
    """
    least, most = n_users * min_per_user, n_users * n_items
    if n_clusters > n_items:
        raise InputError(f"data.n_clusters={n_clusters} exceeds data.n_items={n_items}: every cluster needs an item")
    if min_per_user > n_items or not least <= n_interactions <= most:
        raise InputError(
            f"data.n_interactions={n_interactions} must be between data.n_users * data.min_per_user = {least} and "
            f"data.n_users * data.n_items = {most}, and data.min_per_user={min_per_user} must not exceed data.n_items"
        )
    rng = np.random.default_rng(seed)
    # Random ranks, so that item ids do not reveal popularity.
    weight = (rng.permutation(n_items) + 1.0) ** -zipf
    item_cluster = rng.permutation(np.arange(n_items) % n_clusters)
    step = rng.integers(1, 4, (n_users, 1))
    taste = (rng.integers(n_clusters, size=(n_users, 1)) + step * np.arange(len(MIXTURE))) % n_clusters
    degrees = _degrees(rng.lognormal(0.0, activity, n_users), n_interactions, min_per_user, n_items)

    pairs = _sampled(rng, degrees, taste, item_cluster, weight)
    pairs = np.concatenate([pairs, _completed(rng, pairs, degrees, taste, item_cluster, weight)])
    pairs = rng.permutation(pairs)  # otherwise each user's items would be sorted by index
    if sequential:
        cycle, start = rng.permutation(n_items), rng.integers(n_items, size=n_users)
        pairs = pairs[np.argsort((cycle[pairs % n_items] - start[pairs // n_items]) % n_items, kind="stable")]
    pairs = pairs[np.argsort(pairs // n_items, kind="stable")]
    user, item = np.divmod(pairs, n_items)
    return Interactions(
        user=user.astype(np.int32),
        item=item.astype(np.int32),
        value=None,
        time=_times(rng, degrees),
        part=None,
        user_ids=np.arange(n_users),
        item_ids=np.arange(n_items),
        user_features=pd.DataFrame({"cluster": pd.Categorical(taste[:, 0])}),
        item_features=pd.DataFrame({"cluster": pd.Categorical(item_cluster)}),
        name="synthetic",
    )


def _degrees(activity: np.ndarray, total: int, least: int, most: int) -> np.ndarray:
    """Return integers [U] between `least` and `most` that sum to `total` and increase with activity."""
    degrees = np.full(len(activity), least)
    while (rest := total - degrees.sum()) > 0:
        room = np.flatnonzero(degrees < most)
        share = rest * activity[room] / activity[room].sum()
        grown = np.floor(share).astype(np.int64)
        # Largest remainders round up, so that at least one user grows and the sum is exact.
        up = np.argsort(grown - share, kind="stable")[: rest - grown.sum()]
        grown[up] += 1
        degrees[room] = np.minimum(degrees[room] + grown, most)
    return degrees


def _sampled(
    rng: np.random.Generator, degrees: np.ndarray, taste: np.ndarray, item_cluster: np.ndarray, weight: np.ndarray
) -> np.ndarray:
    """Sample sorted distinct pairs, as user * I + item: at most `degrees` [U] per user, usually nearly all of them."""
    n_users, n_items = len(degrees), len(weight)
    by_cluster = np.argsort(item_cluster, kind="stable")
    bounds = np.searchsorted(item_cluster[by_cluster], np.arange(item_cluster.max() + 2))
    mass = np.concatenate([[0.0], np.cumsum(weight[by_cluster])])
    pairs = np.empty(0, np.int64)
    for _ in range(8):
        missing = degrees - np.bincount(pairs // n_items, minlength=n_users)
        user = np.repeat(np.arange(n_users), missing)
        cluster = taste[user, rng.choice(len(MIXTURE), len(user), p=MIXTURE)]
        anywhere = rng.random(len(user)) < BACKGROUND
        low = np.where(anywhere, 0.0, mass[bounds[cluster]])
        high = np.where(anywhere, mass[-1], mass[bounds[cluster + 1]])
        index = np.searchsorted(mass, low + (high - low) * rng.random(len(user)), side="right") - 1
        item = by_cluster[np.minimum(index, n_items - 1)]
        pairs = np.sort(np.concatenate([pairs, user * n_items + item]))
        pairs = pairs[np.diff(pairs, prepend=-1) > 0]
    return pairs


def _completed(
    rng: np.random.Generator,
    pairs: np.ndarray,
    degrees: np.ndarray,
    taste: np.ndarray,
    item_cluster: np.ndarray,
    weight: np.ndarray,
) -> np.ndarray:
    """Sample the missing pairs of each user without replacement (Gumbel top-k) from the remaining items."""
    n_items = len(weight)
    missing = degrees - np.bincount(pairs // n_items, minlength=len(degrees))
    share = weight / np.bincount(item_cluster, weight)[item_cluster]  # probability of an item within its cluster
    users = np.flatnonzero(missing)
    if not len(users):
        return np.empty(0, np.int64)
    blocks = []
    for block in np.array_split(users, max(1, len(users) * n_items // 4_000_000)):
        chance = BACKGROUND * weight / weight.sum() * np.ones((len(block), 1))
        for part, of_taste in enumerate(MIXTURE):
            chance += (1 - BACKGROUND) * of_taste * share * (taste[block, part, None] == item_cluster)
        key = np.log(chance) + rng.gumbel(size=chance.shape)
        known = pairs[np.searchsorted(pairs, block[0] * n_items) : np.searchsorted(pairs, (block[-1] + 1) * n_items)]
        row = np.searchsorted(block, known // n_items)
        in_block = block[np.minimum(row, len(block) - 1)] == known // n_items
        key[row[in_block], known[in_block] % n_items] = -np.inf
        order = np.argsort(-key, axis=1)
        row, rank = np.nonzero(np.arange(n_items) < missing[block, None])
        blocks.append(block[row] * n_items + order[row, rank])
    return np.concatenate(blocks)


def _times(rng: np.random.Generator, count: np.ndarray) -> np.ndarray:
    """Return times in milliseconds [N], by user: a random start within a year, exponential steps of two hours."""
    step = 1_000 + rng.exponential(7_200_000.0, count.sum()).astype(np.int64)
    elapsed = np.cumsum(step)
    before = np.repeat(elapsed[np.cumsum(count) - count], count)
    start = 1_577_836_800_000 + rng.integers(365 * DAY, size=len(count))  # 2020-01-01
    return np.repeat(start, count) + elapsed - before
