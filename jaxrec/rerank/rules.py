"""What must not be shown, however good: business rules."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from jaxrec.rerank.greedy import each


@jax.jit
def allowed(scores: Float[Array, "B C"], mask: Bool[Array, "B C"]) -> Float[Array, "B C"]:
    """Scores of what may be shown; -inf, no candidate, for the rest."""
    return jnp.where(mask, scores, -jnp.inf)


@jax.jit
def capped(
    candidates: Bool[Array, "B C"], categories: Bool[Array, "B C G"], limit: int | Int[Array, ""] | Int[Array, "B"]
) -> Bool[Array, "B C"]:
    """Who stays when a list may hold `limit` items of a category: from its top, what would be one too many goes.

    candidates: which entries of a list, best first, are there at all
    categories: of each entry, any number of them: it takes a place in each. Without one it always stays
    """
    return jax.vmap(_capped)(candidates, categories, each(limit, candidates))


def _capped(candidates: Bool[Array, "C"], categories: Bool[Array, "C G"], limit: Float[Array, ""]) -> Bool[Array, "C"]:
    def step(count: Float[Array, "G"], entry: tuple[Array, Array]) -> tuple[Float[Array, "G"], Bool[Array, ""]]:
        there, own = entry
        stays = there & ~jnp.any(own & (count >= limit))
        return count + (own & stays).astype(jnp.float32), stays

    return jax.lax.scan(step, jnp.zeros(categories.shape[1]), (candidates, categories))[1]
