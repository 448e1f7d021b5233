"""Business rules: item availability and caps per category."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from jaxrec.rerank.greedy import per_user


@jax.jit
def allowed(scores: Float[Array, "B C"], mask: Bool[Array, "B C"]) -> Float[Array, "B C"]:
    """Mask scores: -inf where `mask` is False."""
    return jnp.where(mask, scores, -jnp.inf)


@jax.jit
def capped(
    candidates: Bool[Array, "B C"], categories: Bool[Array, "B C G"], limit: int | Int[Array, ""] | Int[Array, "B"]
) -> Bool[Array, "B C"]:
    """Mask of entries that remain when a list may contain at most `limit` items per category, filled from the top.

    Args:
        candidates: which entries of a list, best first, are candidates (not padding).
        categories: categories of each entry; it counts in each of them. An entry without a category always remains.
        limit: maximum number of items per category.
    """
    return jax.vmap(_capped)(candidates, categories, per_user(limit, candidates))


def _capped(candidates: Bool[Array, "C"], categories: Bool[Array, "C G"], limit: Float[Array, ""]) -> Bool[Array, "C"]:
    def step(count: Float[Array, "G"], entry: tuple[Array, Array]) -> tuple[Float[Array, "G"], Bool[Array, ""]]:
        is_candidate, own = entry
        remains = is_candidate & ~jnp.any(own & (count >= limit))
        return count + (own & remains).astype(jnp.float32), remains

    return jax.lax.scan(step, jnp.zeros(categories.shape[1]), (candidates, categories))[1]
