"""Freshness: boost new items by their age at request time, with exponential decay."""

from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from jaxrec.rerank.greedy import Number, each, relevance


@jax.jit
def freshness(ages: Float[Array, "B C"], half_life: Number) -> Float[Array, "B C"]:
    """Freshness 2^(-age / half_life): 1 for new items, 1/2 at the half-life, 0 for an unknown age (NaN).

    Ages are at request time, in the unit of the half-life; negative ages (not released yet) count as new.
    """
    fresh = jnp.exp2(-jnp.maximum(ages, 0.0) / each(half_life, ages)[:, None])
    return jnp.where(jnp.isnan(ages), 0.0, fresh)


@jax.jit
def freshened(
    scores: Float[Array, "B C"], ages: Float[Array, "B C"], strength: Number, half_life: Number
) -> Float[Array, "B C"]:
    """Scores between 0 and 1 that combine relevance and freshness; -inf stays. Usable as input of other re-rankers.

    (1 - strength) relevance_i + strength 2^(-age_i / half_life)
    """
    share = each(strength, scores)[:, None]
    return (1 - share) * relevance(scores) + share * freshness(ages, half_life)


@partial(jax.jit, static_argnames="k")
def by_freshness(
    scores: Float[Array, "B C"], ages: Float[Array, "B C"], strength: Number, half_life: Number, *, k: int
) -> Int[Array, "B K"]:
    """The k best candidates by `freshened` scores; ties by position."""
    return jax.lax.top_k(freshened(scores, ages, strength, half_life), k)[1]
