"""Lists that give groups of items their share: exposure within a band, and a user's own mix of categories."""

from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from jaxrec.rerank.greedy import Number, each, greedy, relevance

SMOOTHING = 0.01  # share of the user's own mix in that of a list, so that a missing category costs no infinity


def attention(k: int) -> Float[Array, "K"]:
    """Exposure of each rank, 1 / log2(rank + 1): that of NDCG.   [Singh and Joachims 2018]"""
    return 1 / jnp.log2(jnp.arange(2, k + 2, dtype=jnp.float32))


@partial(jax.jit, static_argnames="k")
def within_band(
    scores: Float[Array, "B C"], groups: Int[Array, "B C"], target: Float[Array, "G"], band: Number, *, k: int
) -> Int[Array, "B K"]:
    """The best by score, with each group's share of exposure held in target ± band down to every rank.

    At a rank of exposure w, E with all those above it, groups that have e of it:

    due    e + w <= (target - band) E: the best candidate of such a group comes first
    closed e >= (target + band) E: its candidates come last

    As in DetGreedy, with exposure for counts. So a group leaves the band by one item at most, where two groups have
    candidates enough; with more groups, or too few candidates, it may leave it by more. A band of 1 is the order by
    score.   [Geyik, Ambler and Kenthapadi 2019; exposure: Singh and Joachims 2018]
    """
    of_user = partial(_within_band, k=k)
    return jax.vmap(of_user, in_axes=(0, 0, None, 0))(relevance(scores), groups, target, each(band, scores))


def _within_band(
    gains: Float[Array, "C"], groups: Int[Array, "C"], target: Float[Array, "G"], band: Float[Array, ""], k: int
) -> Int[Array, "K"]:
    weights = attention(k)
    sums = jnp.cumsum(weights)

    def gain(exposure: Float[Array, "G"], rank: Int[Array, ""]) -> Float[Array, "C"]:
        due = exposure + weights[rank] <= (target - band) * sums[rank]
        closed = exposure >= (target + band) * sums[rank]
        return gains + 2 * (due.astype(jnp.float32) - closed.astype(jnp.float32))[groups]

    def add(exposure: Float[Array, "G"], rank: Int[Array, ""], pick: Int[Array, ""]) -> Float[Array, "G"]:
        return exposure.at[groups[pick]].add(weights[rank])

    return greedy(gains, jnp.zeros(len(target)), gain, add, k)


def divergence(own: Float[Array, "*B G"], listed: Float[Array, "*B G"]) -> Float[Array, "*B"]:
    """KL(p || (1 - a) q + a p), a = .01: how far a list's mix q is from the user's own p; both sum to 1.   [Steck 2018]

    0 for a user of whom no category is known; a list without categories has q = 0.
    """
    smooth = (1 - SMOOTHING) * listed + SMOOTHING * own
    ratio = jnp.where(own > 0, own / jnp.where(own > 0, smooth, 1.0), 1.0)
    return jnp.sum(own * jnp.log(ratio), axis=-1)


@partial(jax.jit, static_argnames="k")
def calibrated(
    scores: Float[Array, "B C"],
    mixes: Float[Array, "B C G"],
    own: Float[Array, "B G"],
    strength: Number,
    *,
    k: int,
) -> Int[Array, "B K"]:
    """Lists whose mix of categories is that of the user's history: each item adds most to

    (1 - strength) sum_i relevance_i - strength KL(p, q)

    mixes: each candidate's categories as shares; own: those of the user's history, p; q is the mean over the list, see
    `divergence`.   [Steck 2018, Calibrated recommendations]
    """
    of_user = partial(_calibrated, k=k)
    return jax.vmap(of_user)(relevance(scores), mixes, own, each(strength, scores))


def _calibrated(
    gains: Float[Array, "C"],
    mixes: Float[Array, "C G"],
    own: Float[Array, "G"],
    strength: Float[Array, ""],
    k: int,
) -> Int[Array, "K"]:
    def gain(total: Float[Array, "G"], rank: Int[Array, ""]) -> Float[Array, "C"]:
        listed = (total[None, :] + mixes) / (rank + 1).astype(jnp.float32)
        return (1 - strength) * gains - strength * divergence(jnp.broadcast_to(own, mixes.shape), listed)

    def add(total: Float[Array, "G"], rank: Int[Array, ""], pick: Int[Array, ""]) -> Float[Array, "G"]:
        return total + mixes[pick]

    return greedy(gains, jnp.zeros(len(own)), gain, add, k)
