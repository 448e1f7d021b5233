"""Greedy list construction: each step adds the item with the largest gain."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PyTree, Shaped

Number = float | Float[Array, ""] | Float[Array, "B"]
"""Traced hyperparameter: one number for all users, or one each."""


def relevance(scores: Float[Array, "*B C"]) -> Float[Array, "*B C"]:
    """Scores of each list scaled to 0 (worst) .. 1 (best), 0 if all are equal; -inf stays.

    Makes strengths comparable between models with different score scales.
    """
    known = scores > -jnp.inf
    low = jnp.where(known, scores, jnp.inf).min(axis=-1, keepdims=True)
    high = jnp.where(known, scores, -jnp.inf).max(axis=-1, keepdims=True)
    width = jnp.where(high > low, high - low, 1.0)
    return jnp.where(known, (scores - low) / width, -jnp.inf)


def per_user(number: PyTree, lists: Shaped[Array, "B C"]) -> Float[Array, "B"]:
    """Broadcast a hyperparameter to one number per user."""
    return jnp.broadcast_to(jnp.asarray(number, jnp.float32), lists.shape[:1])


def greedy(
    scores: Float[Array, "C"],
    state: PyTree,
    gain: Callable[[PyTree, Int[Array, ""]], Float[Array, "C"]],
    add: Callable[[PyTree, Int[Array, ""], Int[Array, ""]], PyTree],
    k: int,
) -> Int[Array, "K"]:
    """Select k candidates of one user greedily by gain; ties by position.

    Args:
        scores: scores of the candidates; -inf marks padding.
        state: initial state of the selection.
        gain: (state, rank from 0) → gain of each candidate, finite.
        add: (state, rank, pick) → state after adding a candidate.
        k: length of the list.

    Returns:
        positions of the selected candidates by rank.
    """
    if k > len(scores):
        raise ValueError(f"k={k} exceeds the {len(scores)} candidates")

    def step(carry: tuple[PyTree, Bool[Array, "C"]], rank: Int[Array, ""]) -> tuple[PyTree, Int[Array, ""]]:
        state, left = carry
        # Padding is picked after all candidates, but before items that were already picked.
        behind = jnp.where(left, jnp.finfo(jnp.float32).min, -jnp.inf)
        pick = jnp.argmax(jnp.where(left & (scores > -jnp.inf), gain(state, rank), behind)).astype(jnp.int32)
        return (add(state, rank, pick), left.at[pick].set(False)), pick

    _, order = jax.lax.scan(step, (state, jnp.ones(len(scores), bool)), jnp.arange(k, dtype=jnp.int32))
    return order
