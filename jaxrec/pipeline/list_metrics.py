"""What lists are like beyond their hits: pure functions of arrays, per list or over all lists together.

`listed[b, k]` says that list b has an item at rank k + 1; what stands at the other places does not count. A list with
nothing to measure is NaN and left out of means. G groups or categories, I items of the catalog.
"""

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from jaxrec.rerank.fairness import attention, divergence
from jaxrec.rerank.freshness import freshness
from jaxrec.rerank.greedy import Number, unit


def intra_list_diversity(vectors: Float[Array, "B K D"], listed: Bool[Array, "B K"]) -> Float[Array, "B"]:
    """Mean of 1 - cos over all pairs of a list's items; NaN for a list of fewer than two.

    Items of which nothing is known (zero vectors) are like no other.   [Smyth and McClave 2001; Ziegler et al. 2005]
    """
    units = jnp.where(listed[:, :, None], unit(vectors), 0.0)
    n = listed.sum(axis=1, dtype=jnp.float32)
    # All pairs at once: the squared length of the sum, less each item's with itself.
    together = jnp.square(units.sum(axis=1)).sum(axis=-1) - jnp.square(units).sum(axis=(1, 2))
    return jnp.where(n > 1, 1 - together / jnp.where(n > 1, n * (n - 1), 1.0), jnp.nan)


def novelty(counts: Float[Array, "B K"], n_users: int, listed: Bool[Array, "B K"]) -> Float[Array, "B"]:
    """Mean of -log2 of the share of users who had the item (in train), in bits; NaN for an empty list.

    An item that nobody had counts as if one user had.   [Zhou et al. 2010; Vargas and Castells 2011]
    """
    return _mean(-jnp.log2(jnp.maximum(counts, 1.0) / n_users), listed)


def serendipity(
    hits: Bool[Array, "B K"], expected: Bool[Array, "B K"], n_relevant: Int[Array, "B"]
) -> Float[Array, "B"]:
    """Share of the K places that hold a hit which was not to be expected; NaN for a user with nothing to find.

    expected: what a primitive recommender, the K most popular items that the user has not, lists too
    [Murakami, Mori and Orihara 2008; Ge, Delgado-Battenfeld and Jannach 2010]
    """
    share = (hits & ~expected).sum(axis=1, dtype=jnp.float32) / hits.shape[1]
    return jnp.where(n_relevant > 0, share, jnp.nan)


def popularity(counts: Float[Array, "B K"], listed: Bool[Array, "B K"]) -> Float[Array, "B"]:
    """Mean number of interactions (in train) of a list's items; NaN for an empty list.   [Yin et al. 2012]"""
    return _mean(counts, listed)


def popularity_bias(
    counts: Float[Array, "B K"], listed: Bool[Array, "B K"], usual: Float[Array, "B"]
) -> Float[Array, "B"]:
    """`popularity` of the list over that of the user's own history, less 1: above 0, it is pulled to what is popular.

    usual: mean count of the items of the user's history; NaN where there is none.
    [popularity lift: Abdollahpouri, Mansoury, Burke and Mobasher 2020]
    """
    return popularity(counts, listed) / usual - 1


def recommended(items: Int[Array, "B K"], n_items: int) -> Float[Array, "I"]:
    """How many lists hold each item; -1 is none. Summed over blocks, what `gini` and coverage are of."""
    dropped = jnp.where(items < 0, n_items, items)
    return jnp.zeros(n_items).at[dropped].add(1.0, mode="drop")


def gini(counts: Float[Array, "I"]) -> Float[Array, ""]:
    """How unevenly lists spread over the catalog: 0, every item as often; near 1, one item alone; NaN without lists.

    counts: how often each item is recommended, never included. sum_j (2 j - I - 1) c_j / (I sum c), c ascending.
    [Gini 1912; for recommenders Fleder and Hosanagar 2009]
    """
    n = len(counts)
    weights = jnp.arange(1 - n, n, 2, dtype=jnp.float32) / n
    total = counts.sum()
    return jnp.sum(weights * jnp.sort(counts)) / jnp.where(total > 0, total, jnp.nan)


def exposure(groups: Int[Array, "B K"], listed: Bool[Array, "B K"], n_groups: int) -> Float[Array, "B G"]:
    """Each group's exposure in each list: the sum of 1 / log2(rank + 1) over its items."""
    member = (groups[:, :, None] == jnp.arange(n_groups)[None, None, :]) & listed[:, :, None]
    return jnp.sum(jnp.where(member, attention(groups.shape[1])[None, :, None], 0.0), axis=1)


def exposure_disparity(exposed: Float[Array, "*B G"], target: Float[Array, "G"]) -> Float[Array, "*B"]:
    """Half the sum over groups of |share of exposure - target|: the share that is with the wrong group; NaN for none.

    exposed: of a list, or summed over all of them.   [Singh and Joachims 2018; total variation]
    """
    total = exposed.sum(axis=-1, keepdims=True)
    gap = exposed / jnp.where(total > 0, total, jnp.nan) - target.reshape((1,) * (exposed.ndim - 1) + target.shape)
    return jnp.abs(gap).sum(axis=-1) / 2


def calibration_error(
    mixes: Float[Array, "B K G"], listed: Bool[Array, "B K"], own: Float[Array, "B G"]
) -> Float[Array, "B"]:
    """KL of the user's own mix of categories and the list's, see `divergence`; NaN where either is not known.

    mixes: each item's categories as shares that sum to 1, or 0 where none is known.   [Steck 2018]
    """
    total = jnp.where(listed[:, :, None], mixes, 0.0).sum(axis=1)
    size = total.sum(axis=1, keepdims=True)
    error = divergence(own, total / jnp.where(size > 0, size, 1.0))
    return jnp.where((size[:, 0] > 0) & (own.sum(axis=1) > 0), error, jnp.nan)


def mean_freshness(ages: Float[Array, "B K"], listed: Bool[Array, "B K"], half_life: Number) -> Float[Array, "B"]:
    """Mean of 2^(-age / half_life) over the items whose age at the time of asking is known; NaN for none."""
    return _mean(freshness(ages, half_life), listed & ~jnp.isnan(ages))


def _mean(values: Float[Array, "B K"], counted: Bool[Array, "B K"]) -> Float[Array, "B"]:
    n = counted.sum(axis=1, dtype=jnp.float32)
    return jnp.where(counted, values, 0.0).sum(axis=1) / jnp.where(n > 0, n, jnp.nan)
