"""Lists whose items differ: maximal marginal relevance, and determinantal point processes."""

from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from jaxrec.rerank.greedy import Number, each, greedy, relevance, unit

NOTHING = 1e-6  # a squared distance to what was chosen that single precision cannot tell from 0
dot = partial(jnp.dot, precision=jax.lax.Precision.HIGHEST)


@partial(jax.jit, static_argnames="k")
def mmr(scores: Float[Array, "B C"], vectors: Float[Array, "B C D"], strength: Number, *, k: int) -> Int[Array, "B K"]:
    """Maximal marginal relevance: each item is the best by what it adds to those before it.

    argmax_i (1 - strength) relevance_i - strength max_{j chosen} cos(v_i, v_j)

    Relevance is the score between the worst candidate's, 0, and the best one's, 1; an item of which nothing is known
    (a zero vector) is like no other.   [Carbonell and Goldstein 1998, with lambda = 1 - strength]
    """
    return jax.vmap(partial(_mmr, k=k))(relevance(scores), unit(vectors), each(strength, scores))


def _mmr(gains: Float[Array, "C"], units: Float[Array, "C D"], strength: Float[Array, ""], k: int) -> Int[Array, "K"]:
    def gain(nearest: Float[Array, "C"], rank: Int[Array, ""]) -> Float[Array, "C"]:
        return (1 - strength) * gains - strength * nearest

    def add(nearest: Float[Array, "C"], rank: Int[Array, ""], pick: Int[Array, ""]) -> Float[Array, "C"]:
        return jnp.maximum(nearest, dot(units, units[pick]))

    # -1 is the least that a cosine can be, and the same for all: the first item is the most relevant.
    return greedy(gains, jnp.full(len(gains), -1.0), gain, add, k)


@partial(jax.jit, static_argnames="k")
def dpp(scores: Float[Array, "B C"], vectors: Float[Array, "B C D"], strength: Number, *, k: int) -> Int[Array, "B K"]:
    """The most probable list of a determinantal point process, found greedily: each item adds most to

    (1 - strength) sum_{i chosen} relevance_i + strength log det S,   S_ij = cos(v_i, v_j) of the chosen

    log det S grows by log d_i^2, the squared distance of an item's vector to the span of those before it, kept up to
    date by a row of the Cholesky factor a step: O(C (D + K)) a step, exact. Once the chosen span the space, or an
    item repeats one, d_i^2 is taken for 1e-6, and relevance decides.
    [Chen, Zhang and Zhou 2018, with theta = 1 - strength]
    """
    return jax.vmap(partial(_dpp, k=k))(relevance(scores), unit(vectors), each(strength, scores))


def _dpp(gains: Float[Array, "C"], units: Float[Array, "C D"], strength: Float[Array, ""], k: int) -> Int[Array, "K"]:
    State = tuple[Float[Array, "C"], Float[Array, "K C"]]  # squared distances, rows of the Cholesky factor

    def gain(state: State, rank: Int[Array, ""]) -> Float[Array, "C"]:
        return (1 - strength) * gains + strength * jnp.log(jnp.maximum(state[0], NOTHING))

    def add(state: State, rank: Int[Array, ""], pick: Int[Array, ""]) -> State:
        distances, rows = state
        within = distances[pick] <= NOTHING  # then it adds no direction
        scale = jnp.where(within, 0.0, 1 / jnp.sqrt(jnp.maximum(distances[pick], NOTHING)))
        row = (dot(units, units[pick]) - dot(rows[:, pick], rows)) * scale
        return distances - jnp.square(row), rows.at[rank].set(row)

    # Nothing known is a direction of its own: a zero vector keeps its distance of 1.
    return greedy(gains, (jnp.ones(len(gains)), jnp.zeros((k, len(gains)))), gain, add, k)
