"""Lists made item by item: what is next is what adds most to those before it."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PyTree, Shaped

Number = float | Float[Array, ""] | Float[Array, "B"]
"""One number for all users or one each; traced."""


def relevance(scores: Float[Array, "*B C"]) -> Float[Array, "*B C"]:
    """Scores of each list between 0 (its worst) and 1 (its best), 0 where all are equal; -inf stays.

    Models score on scales of their own; strengths would mean nothing without this.
    """
    known = scores > -jnp.inf
    low = jnp.where(known, scores, jnp.inf).min(axis=-1, keepdims=True)
    high = jnp.where(known, scores, -jnp.inf).max(axis=-1, keepdims=True)
    width = jnp.where(high > low, high - low, 1.0)
    return jnp.where(known, (scores - low) / width, -jnp.inf)


def unit(vectors: Float[Array, "*B D"]) -> Float[Array, "*B D"]:
    """Vectors of length 1, whose dot products are cosines; zero, an item of which nothing is known, stays zero."""
    length = jnp.sqrt(jnp.square(vectors).sum(axis=-1, keepdims=True))
    return vectors / jnp.where(length > 0, length, 1.0)


def each(number: PyTree, lists: Shaped[Array, "B C"]) -> Float[Array, "B"]:
    """A number of every user."""
    return jnp.broadcast_to(jnp.asarray(number, jnp.float32), lists.shape[:1])


def greedy(
    scores: Float[Array, "C"],
    state: PyTree,
    gain: Callable[[PyTree, Int[Array, ""]], Float[Array, "C"]],
    add: Callable[[PyTree, Int[Array, ""], Int[Array, ""]], PyTree],
    k: int,
) -> Int[Array, "K"]:
    """Of one user: k candidates, each the one of the largest gain given those before it; equal gains by position.

    gain: (state, rank from 0) → what each candidate would add, finite
    add:  (state, rank, pick) → the state with this candidate in the list
    """
    if k > len(scores):
        raise ValueError(f"a list of {k} cannot be made of {len(scores)} candidates")

    def step(carry: tuple[PyTree, Bool[Array, "C"]], rank: Int[Array, ""]) -> tuple[PyTree, Int[Array, ""]]:
        state, left = carry
        # What is no candidate comes behind all that are, and before what was taken.
        behind = jnp.where(left, jnp.finfo(jnp.float32).min, -jnp.inf)
        pick = jnp.argmax(jnp.where(left & (scores > -jnp.inf), gain(state, rank), behind)).astype(jnp.int32)
        return (add(state, rank, pick), left.at[pick].set(False)), pick

    _, order = jax.lax.scan(step, (state, jnp.ones(len(scores), bool)), jnp.arange(k, dtype=jnp.int32))
    return order
