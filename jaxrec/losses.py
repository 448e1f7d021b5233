"""Losses: pure functions of scores, one number an example, reduced by the caller.

`positive` [B] is the score of the item that was chosen, `negatives` [B, N] those of items it is held against, `used`
[B, N] is 1 for those that count, else 0. An example none of whose negatives count has a loss of 0 for `bpr` and for
`softmax`.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxrec.hyper import Traced


def bpr(positive: Float[Array, "B"], negatives: Float[Array, "B N"], used: Float[Array, "B N"]) -> Float[Array, "B"]:
    """Bayesian personalised ranking: mean over j of -log sigmoid(s_i - s_j).   [Rendle et al. 2009]"""
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
    t: float | Traced,
) -> Float[Array, "B"]:
    """Binary cross-entropy in which positives weigh 1 - t (1 - a), a = N / (I - 1) being the share that is sampled.

    With few negatives, plain binary cross-entropy learns probabilities that are far too high and tells the best items
    badly apart; t = 1 makes up for the sampling, t = 0 is `bce`.   [Petrov and Macdonald 2023, gSASRec, eq. 15]
    """
    n = jnp.sum(used, axis=1)
    weight = 1 - t * (1 - n / (n_items - 1))
    loss = weight * jax.nn.softplus(-positive) + jnp.sum(jax.nn.softplus(negatives) * used, axis=1)
    return loss / (1 + n)


def softmax(
    positive: Float[Array, "B"], negatives: Float[Array, "B N"], used: Float[Array, "B N"]
) -> Float[Array, "B"]:
    """Cross-entropy of the positive among itself and its negatives: the full softmax if these are the whole catalog.

    -s_i + log(exp s_i + sum_j exp s_j). Uniform negatives need no correction: their log-probability is a constant
    that only shifts every s_j.   [Jean et al. 2015]
    """
    others = jax.nn.logsumexp(jnp.where(used > 0, negatives, -jnp.inf), axis=1)
    return jnp.logaddexp(positive, others) - positive


def multinomial(scores: Float[Array, "B I"], chosen: Float[Array, "B I"]) -> Float[Array, "B"]:
    """-sum over a user's items of log softmax(s)_i; 0 for a user without items.   [Liang et al. 2018, eq. 2]

    The same objective as `softmax` over the catalog summed over the user's interactions, for the price of one.
    """
    return jnp.sum(chosen, axis=1) * jax.nn.logsumexp(scores, axis=1) - jnp.sum(chosen * scores, axis=1)


def squared_error(scores: Float[Array, "B"], values: Float[Array, "B"]) -> Float[Array, "B"]:
    """(value - score)^2: the score is the prediction."""
    return jnp.square(values - scores)


def logistic(scores: Float[Array, "B"], labels: Float[Array, "B"]) -> Float[Array, "B"]:
    """-log of the probability given to the label, 0 or 1; the probability of a 1 is sigmoid(score)."""
    return jax.nn.softplus(scores) - labels * scores
