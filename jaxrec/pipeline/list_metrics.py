"""Beyond-accuracy metrics of recommendation lists: pure functions of arrays, per list or over all lists.

`listed[b, k]` is true if list b has an item at rank k + 1; other entries are padding and ignored. A metric is NaN where
it is undefined, and excluded from means. G is the number of groups or categories, I the catalog size.
"""

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from jaxrec.models.cosine import unit
from jaxrec.rerank.fairness import attention
from jaxrec.rerank.freshness import freshness
from jaxrec.rerank.greedy import Number


def intra_list_diversity(vectors: Float[Array, "B K D"], listed: Bool[Array, "B K"]) -> Float[Array, "B"]:
    """Mean of 1 - cosine similarity over all pairs of items of a list; NaN for fewer than two items.

    Items with unknown properties (zero vectors) are similar to none.   [Smyth and McClave 2001; Ziegler et al. 2005]
    """
    units = jnp.where(listed[:, :, None], unit(vectors), 0.0)
    n = listed.sum(axis=1, dtype=jnp.float32)
    # Sum over all pairs: the squared norm of the sum minus the squared norms.
    together = jnp.square(units.sum(axis=1)).sum(axis=-1) - jnp.square(units).sum(axis=(1, 2))
    return jnp.where(n > 1, 1 - together / jnp.where(n > 1, n * (n - 1), 1.0), jnp.nan)


def novelty(counts: Float[Array, "B K"], n_users: int, listed: Bool[Array, "B K"]) -> Float[Array, "B"]:
    """Mean self-information -log2(share of training users with the item), in bits; NaN for an empty list.

    An item without users counts as one user.   [Zhou et al. 2010; Vargas and Castells 2011]
    """
    return _mean(-jnp.log2(jnp.maximum(counts, 1.0) / n_users), listed)


def popularity(counts: Float[Array, "B K"], listed: Bool[Array, "B K"]) -> Float[Array, "B"]:
    """Mean number of training interactions of a list's items; NaN for an empty list.   [Yin et al. 2012]"""
    return _mean(counts, listed)


def exposure(groups: Int[Array, "B K"], listed: Bool[Array, "B K"], n_groups: int) -> Float[Array, "B G"]:
    """Exposure of each group in each list: the sum of 1 / log2(rank + 1) over its items."""
    member = (groups[:, :, None] == jnp.arange(n_groups)[None, None, :]) & listed[:, :, None]
    return jnp.sum(jnp.where(member, attention(groups.shape[1])[None, :, None], 0.0), axis=1)


def exposure_disparity(exposed: Float[Array, "*B G"], target: Float[Array, "G"]) -> Float[Array, "*B"]:
    """Total variation distance between exposure shares and target shares; NaN without exposure.

    `exposed` is the exposure by group, of one list or summed over lists.   [Singh and Joachims 2018]
    """
    total = exposed.sum(axis=-1, keepdims=True)
    gap = exposed / jnp.where(total > 0, total, jnp.nan) - target.reshape((1,) * (exposed.ndim - 1) + target.shape)
    return jnp.abs(gap).sum(axis=-1) / 2


def category_mix(mixes: Float[Array, "B K G"], listed: Bool[Array, "B K"]) -> Float[Array, "B G"]:
    """Category distribution of each list, for `metrics.calibration_error`; NaN for a list without known categories.

    `mixes` are the category shares of each item, which sum to 1, or 0 if unknown.
    """
    total = jnp.where(listed[:, :, None], mixes, 0.0).sum(axis=1)
    size = total.sum(axis=1, keepdims=True)
    return total / jnp.where(size > 0, size, jnp.nan)


def mean_freshness(ages: Float[Array, "B K"], listed: Bool[Array, "B K"], half_life: Number) -> Float[Array, "B"]:
    """Mean of 2^(-age / half_life) over items with known age; NaN if there are none."""
    return _mean(freshness(ages, half_life), listed & ~jnp.isnan(ages))


def _mean(values: Float[Array, "B K"], counted: Bool[Array, "B K"]) -> Float[Array, "B"]:
    n = counted.sum(axis=1, dtype=jnp.float32)
    return jnp.where(counted, values, 0.0).sum(axis=1) / jnp.where(n > 0, n, jnp.nan)
