"""Losses: pure functions of scores that return one number per example, reduced by the caller.

`positive` [B] are the scores of the positives, `negatives` [B, N] those of their negatives, and `used` [B, N] is 1 for
negatives in use, else 0. For an example without negatives in use, `bpr` and `softmax` are 0.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxrec.hyper import Swept


def bpr(positive: Float[Array, "B"], negatives: Float[Array, "B N"], used: Float[Array, "B N"]) -> Float[Array, "B"]:
    """Bayesian personalized ranking: mean over j of -log sigmoid(s_i - s_j).   [Rendle et al. 2009]"""
    loss = jax.nn.softplus(negatives - positive[:, None])
    return jnp.sum(loss * used, axis=1) / jnp.maximum(jnp.sum(used, axis=1), 1)


def bce(positive: Float[Array, "B"], negatives: Float[Array, "B N"], used: Float[Array, "B N"]) -> Float[Array, "B"]:
    """Binary cross-entropy, mean over the 1 + N labeled pairs.   [He et al. 2017, eq. 7]"""
    loss = jax.nn.softplus(-positive) + jnp.sum(jax.nn.softplus(negatives) * used, axis=1)
    return loss / (1 + jnp.sum(used, axis=1))


def gbce(
    positive: Float[Array, "B"],
    negatives: Float[Array, "B N"],
    used: Float[Array, "B N"],
    n_items: int,
    t: float | Swept,
) -> Float[Array, "B"]:
    """Generalized binary cross-entropy: positives have weight 1 - t (1 - a), with the sampling rate a = N / (I - 1).

    With few negatives, plain binary cross-entropy is overconfident: predicted probabilities are far too high and the
    top items hard to distinguish. t = 1 corrects for sampling, t = 0 is `bce`.   [Petrov and Macdonald 2023, gSASRec,
    eq. 15]
    """
    n = jnp.sum(used, axis=1)
    weight = 1 - t * (1 - n / (n_items - 1))
    loss = weight * jax.nn.softplus(-positive) + jnp.sum(jax.nn.softplus(negatives) * used, axis=1)
    return loss / (1 + n)


def softmax(
    positive: Float[Array, "B"], negatives: Float[Array, "B N"], used: Float[Array, "B N"]
) -> Float[Array, "B"]:
    """Sampled softmax: cross-entropy of the positive among itself and its negatives; full softmax for all negatives.

    -s_i + log(exp s_i + sum_j exp s_j). Uniform negatives need no logQ correction, because their log-probability only
    shifts every s_j by a constant.   [Jean et al. 2015]
    """
    others = jax.nn.logsumexp(jnp.where(used > 0, negatives, -jnp.inf), axis=1)
    return jnp.logaddexp(positive, others) - positive


def multinomial(scores: Float[Array, "B I"], chosen: Float[Array, "B I"]) -> Float[Array, "B"]:
    """Multinomial negative log-likelihood: -sum over a user's items of log softmax(s)_i; 0 for a user without items.

    Equals `softmax` over the whole catalog summed over the user's interactions, at the cost of one.
    [Liang et al. 2018, eq. 2]
    """
    return jnp.sum(chosen, axis=1) * jax.nn.logsumexp(scores, axis=1) - jnp.sum(chosen * scores, axis=1)


def squared_error(scores: Float[Array, "B"], values: Float[Array, "B"]) -> Float[Array, "B"]:
    """Squared error (value - score)^2; the score is the prediction."""
    return jnp.square(values - scores)


def logistic(scores: Float[Array, "B"], labels: Float[Array, "B"]) -> Float[Array, "B"]:
    """Logistic loss: negative log-likelihood of the label, 0 or 1; the probability of a 1 is sigmoid(score)."""
    return jax.nn.softplus(scores) - labels * scores
