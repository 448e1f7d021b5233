"""Fairness: exposure of item groups within a band, and calibration to the user's own category distribution."""

from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from jaxrec.metrics import divergence
from jaxrec.rerank.greedy import Number, greedy, per_user, relevance


def attention(k: int) -> Float[Array, "K"]:
    """Exposure of each rank, 1 / log2(rank + 1), as in NDCG.   [Singh and Joachims 2018]"""
    return 1 / jnp.log2(jnp.arange(2, k + 2, dtype=jnp.float32))


@partial(jax.jit, static_argnames="k")
def within_band(
    scores: Float[Array, "B C"], groups: Int[Array, "B C"], target: Float[Array, "G"], band: Number, *, k: int
) -> Int[Array, "B K"]:
    """Rank by score with each group's share of exposure within target ± band at every prefix of the list.

    For a rank with exposure w, cumulative exposure E, and a group's exposure e so far, a group is

    due    if e + w <= (target - band) E: its best candidate is ranked next
    closed if e >= (target + band) E: its candidates are ranked last

    This is DetGreedy with exposure instead of counts. With two groups and enough candidates, a group leaves the band
    by at most one item; with more groups or too few candidates it may deviate more. A band of 1 is the order by score.
    [Geyik, Ambler and Kenthapadi 2019; exposure: Singh and Joachims 2018]

    Args:
        scores: scores of the candidates; -inf marks padding.
        groups: group of each candidate.
        target: target share of exposure of each group.
        band: allowed deviation from the target.
        k: length of the list.

    Returns:
        positions of the candidates by rank.
    """
    of_user = partial(_within_band, k=k)
    return jax.vmap(of_user, in_axes=(0, 0, None, 0))(relevance(scores), groups, target, per_user(band, scores))


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


@partial(jax.jit, static_argnames="k")
def calibrated(
    scores: Float[Array, "B C"],
    mixes: Float[Array, "B C G"],
    own: Float[Array, "B G"],
    strength: Number,
    *,
    k: int,
) -> Int[Array, "B K"]:
    """Calibrate lists to the category distribution of the user's history.

    Each item is the one that most increases

    (1 - strength) sum_i relevance_i - strength KL(p, q)

    where q is the mean category distribution of the list, see `divergence`.   [Steck 2018, Calibrated recommendations]

    Args:
        scores: scores of the candidates; -inf marks padding.
        mixes: category distribution of each candidate.
        own: category distribution p of each user's history.
        strength: 0 is relevance only, 1 calibration only.
        k: length of the list.

    Returns:
        positions of the candidates by rank.
    """
    of_user = partial(_calibrated, k=k)
    return jax.vmap(of_user)(relevance(scores), mixes, own, per_user(strength, scores))


def _calibrated(
    gains: Float[Array, "C"],
    mixes: Float[Array, "C G"],
    own: Float[Array, "G"],
    strength: Float[Array, ""],
    k: int,
) -> Int[Array, "K"]:
    def gain(total: Float[Array, "G"], rank: Int[Array, ""]) -> Float[Array, "C"]:
        of_list = (total[None, :] + mixes) / (rank + 1).astype(jnp.float32)
        return (1 - strength) * gains - strength * divergence(jnp.broadcast_to(own, mixes.shape), of_list)

    def add(total: Float[Array, "G"], rank: Int[Array, ""], pick: Int[Array, ""]) -> Float[Array, "G"]:
        return total + mixes[pick]

    return greedy(gains, jnp.zeros(len(own)), gain, add, k)
