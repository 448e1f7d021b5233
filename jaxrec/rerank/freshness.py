"""Freshness: boost new items by their age at request time, with exponential decay."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxrec.rerank.greedy import Number, per_user, relevance


@jax.jit
def freshness(ages: Float[Array, "B C"], half_life: Number) -> Float[Array, "B C"]:
    """Freshness 2^(-age / half_life): 1 for new items, 1/2 at the half-life, 0 for an unknown age (NaN).

    Ages are at request time, in the unit of the half-life; negative ages (not released yet) count as new.
    """
    fresh = jnp.exp2(-jnp.maximum(ages, 0.0) / per_user(half_life, ages)[:, None])
    return jnp.where(jnp.isnan(ages), 0.0, fresh)


@jax.jit
def freshened(
    scores: Float[Array, "B C"], ages: Float[Array, "B C"], strength: Number, half_life: Number
) -> Float[Array, "B C"]:
    """Scores between 0 and 1 that combine relevance and freshness; -inf stays. Usable as input of other re-rankers.

    (1 - strength) relevance_i + strength 2^(-age_i / half_life)
    """
    share = per_user(strength, scores)[:, None]
    return (1 - share) * relevance(scores) + share * freshness(ages, half_life)
