"""Folding: unrelated groups of items overlap in the embedding space.

A model trained only on observed pairs has no reason to separate groups of items that share no users, because nothing
penalizes high scores of unobserved pairs. Users of one group are then recommended items of another. Negatives from the
whole catalog, by a sampled or a full softmax, prevent it.
Measured with `SoftmaxDNN` on four groups of 30 items that share no users (see its test; chance is .75):

    trained by                                 folded    misplaced
    squared error on observed pairs only       .72       .75
    sampled softmax, 20 uniform negatives      .00       .00
    full softmax                               .00       .00

[Xin et al. 2017, Folding: why good models sometimes make spurious recommendations]
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int


def folded(vectors: Float[Array, "I D"], group: Int[Array, "I"], k: int = 10) -> Float[Array, ""]:
    """Share of the k nearest neighbors of an item by cosine that are in another group, averaged over items.

    0 means separated groups; the value of a random order, about 1 - the sum of squared group shares, means that groups
    overlap completely. Memory: items x items.
    """
    length = jnp.sqrt(jnp.sum(vectors * vectors, axis=1, keepdims=True))
    unit = vectors / jnp.where(length > 0, length, 1.0)
    cosines = jnp.where(jnp.eye(len(unit), dtype=bool), -jnp.inf, unit @ unit.T)
    _, nearest = jax.lax.top_k(cosines, k)
    return jnp.mean((group[nearest] != group[:, None]).astype(jnp.float32))


def misplaced(
    scores: Float[Array, "B I"], of_user: Int[Array, "B"], group: Int[Array, "I"], k: int = 10
) -> Float[Array, ""]:
    """Share of the k best items of a user that are in another group than the user, averaged over users."""
    _, best = jax.lax.top_k(scores, k)
    return jnp.mean((group[best] != of_user[:, None]).astype(jnp.float32))
