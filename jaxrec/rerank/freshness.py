"""New items before old ones: an item's age at the time of asking, and how fast freshness goes."""

from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from jaxrec.rerank.greedy import Number, each, relevance


@jax.jit
def freshness(ages: Float[Array, "B C"], half_life: Number) -> Float[Array, "B C"]:
    """2^(-age / half_life): 1 for what is new, 1/2 at the half-life; 0 where the age is not known (NaN).

    Ages at the time of asking, in the unit of the half-life; below 0, not there yet, counts as new.
    """
    fresh = jnp.exp2(-jnp.maximum(ages, 0.0) / each(half_life, ages)[:, None])
    return jnp.where(jnp.isnan(ages), 0.0, fresh)


@jax.jit
def freshened(
    scores: Float[Array, "B C"], ages: Float[Array, "B C"], strength: Number, half_life: Number
) -> Float[Array, "B C"]:
    """Scores from 0 to 1 in which freshness has a say; -inf stays. Other re-rankers may take them for scores.

    (1 - strength) relevance_i + strength 2^(-age_i / half_life)
    """
    share = each(strength, scores)[:, None]
    return (1 - share) * relevance(scores) + share * freshness(ages, half_life)


@partial(jax.jit, static_argnames="k")
def by_freshness(
    scores: Float[Array, "B C"], ages: Float[Array, "B C"], strength: Number, half_life: Number, *, k: int
) -> Int[Array, "B K"]:
    """The k best by `freshened` scores; equal ones by position."""
    return jax.lax.top_k(freshened(scores, ages, strength, half_life), k)[1]
