"""Diversification: maximal marginal relevance and determinantal point processes."""

from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from jaxrec.models.cosine import unit
from jaxrec.rerank.greedy import Number, greedy, per_user, relevance

MIN_DISTANCE = 1e-6  # squared distances below this are 0 up to single-precision rounding
dot = partial(jnp.dot, precision=jax.lax.Precision.HIGHEST)


@partial(jax.jit, static_argnames="k")
def mmr(scores: Float[Array, "B C"], vectors: Float[Array, "B C D"], strength: Number, *, k: int) -> Int[Array, "B K"]:
    """Maximal marginal relevance: greedily add the item with the best trade-off of relevance and novelty.

    argmax_i (1 - strength) relevance_i - strength max_{j selected} cos(v_i, v_j)

    Relevance is the score scaled to 0 (worst candidate) .. 1 (best candidate). A zero vector (an item without
    attributes) has similarity 0 to all items.   [Carbonell and Goldstein 1998, with lambda = 1 - strength]

    Args:
        scores: scores of the candidates; -inf marks padding.
        vectors: vectors of the candidates.
        strength: 0 is relevance only, 1 diversity only.
        k: length of the list.

    Returns:
        positions of the candidates by rank.
    """
    return jax.vmap(partial(_mmr, k=k))(relevance(scores), unit(vectors), per_user(strength, scores))


def _mmr(gains: Float[Array, "C"], units: Float[Array, "C D"], strength: Float[Array, ""], k: int) -> Int[Array, "K"]:
    def gain(nearest: Float[Array, "C"], rank: Int[Array, ""]) -> Float[Array, "C"]:
        return (1 - strength) * gains - strength * nearest

    def add(nearest: Float[Array, "C"], rank: Int[Array, ""], pick: Int[Array, ""]) -> Float[Array, "C"]:
        return jnp.maximum(nearest, dot(units, units[pick]))

    # Start from the smallest possible cosine, equal for all items: the first item is the most relevant one.
    return greedy(gains, jnp.full(len(gains), -1.0), gain, add, k)


@partial(jax.jit, static_argnames="k")
def dpp(scores: Float[Array, "B C"], vectors: Float[Array, "B C D"], strength: Number, *, k: int) -> Int[Array, "B K"]:
    """Greedy MAP inference for a determinantal point process.

    Each item is the one that most increases

    (1 - strength) sum_{i selected} relevance_i + strength log det S,   S_ij = cos(v_i, v_j) of selected items

    log det S grows by log d_i^2, where d_i is the distance of an item's vector from the span of the selected ones. It
    is updated exactly by one row of the Cholesky factor per step, in O(C (D + K)). If the selected items span the
    space, or an item duplicates a selected one, d_i^2 is set to 1e-6 and relevance decides.
    [Chen, Zhang and Zhou 2018, with theta = 1 - strength]

    Args:
        scores: scores of the candidates; -inf marks padding.
        vectors: vectors of the candidates.
        strength: 0 is relevance only, 1 diversity only.
        k: length of the list.

    Returns:
        positions of the candidates by rank.
    """
    return jax.vmap(partial(_dpp, k=k))(relevance(scores), unit(vectors), per_user(strength, scores))


def _dpp(gains: Float[Array, "C"], units: Float[Array, "C D"], strength: Float[Array, ""], k: int) -> Int[Array, "K"]:
    State = tuple[Float[Array, "C"], Float[Array, "K C"]]  # squared distances, rows of the Cholesky factor

    def gain(state: State, rank: Int[Array, ""]) -> Float[Array, "C"]:
        return (1 - strength) * gains + strength * jnp.log(jnp.maximum(state[0], MIN_DISTANCE))

    def add(state: State, rank: Int[Array, ""], pick: Int[Array, ""]) -> State:
        distances, rows = state
        within = distances[pick] <= MIN_DISTANCE  # the item adds no direction
        scale = jnp.where(within, 0.0, 1 / jnp.sqrt(jnp.maximum(distances[pick], MIN_DISTANCE)))
        row = (dot(units, units[pick]) - dot(rows[:, pick], rows)) * scale
        return distances - jnp.square(row), rows.at[rank].set(row)

    # Zero vectors keep distance 1: an item without attributes counts as orthogonal to all others.
    return greedy(gains, (jnp.ones(len(gains)), jnp.zeros((k, len(gains)))), gain, add, k)
