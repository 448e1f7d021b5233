"""Losses: pure functions of scores that return one number per example, reduced by the caller.

Args:
    positive: scores of the positives, [B].
    negatives: scores of their negatives, [B, N].
    used: 1 for negatives in use, else 0, [B, N]. For an example without any, losses are 0, except `bce`, `gbce` and
        `ccl`, which then consist of the positive's part.
"""

from typing import Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float
from pydantic import NonNegativeFloat, PositiveFloat, PositiveInt

from jaxrec.arguments import compares_cosines
from jaxrec.hyper import Swept, Traced


def bpr(positive: Float[Array, "B"], negatives: Float[Array, "B N"], used: Float[Array, "B N"]) -> Float[Array, "B"]:
    """Bayesian personalized ranking: mean over j of -log sigmoid(s_i - s_j).   [Rendle et al. 2009]

    Args:
        positive, negatives, used: see above.
    """
    loss = jax.nn.softplus(negatives - positive[:, None])
    return jnp.sum(loss * used, axis=1) / jnp.maximum(jnp.sum(used, axis=1), 1)


def bce(positive: Float[Array, "B"], negatives: Float[Array, "B N"], used: Float[Array, "B N"]) -> Float[Array, "B"]:
    """Binary cross-entropy, mean over the 1 + N labeled pairs.   [He et al. 2017, eq. 7]

    Args:
        positive, negatives, used: see above.
    """
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
    top items hard to distinguish.   [Petrov and Macdonald 2023, gSASRec, eq. 15]

    Args:
        positive, negatives, used: see above.
        n_items: I, size of the catalog.
        t: calibration: 1 corrects for sampling, 0 is `bce`.
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

    Args:
        positive, negatives, used: see above.
    """
    others = jax.nn.logsumexp(jnp.where(used > 0, negatives, -jnp.inf), axis=1)
    return jnp.logaddexp(positive, others) - positive


def bsl(
    positive: Float[Array, "B"],
    negatives: Float[Array, "B N"],
    used: Float[Array, "B N"],
    temperature: PositiveFloat | Traced = 0.2,
    positive_temperature: PositiveFloat | Traced = 0.2,
) -> Float[Array, "B"]:
    """Bilateral softmax loss: -s_i / t_1 + (t_2 / t_1) log mean_j exp(s_j / t_2), for cosines.

    Equal temperatures are the softmax loss without the positive in its denominator.
    [Wu et al. 2024, BSL: Understanding and improving softmax loss for recommendation; here with one positive]

    Args:
        positive, negatives, used: see above.
        temperature: t_2; the lower, the more the loss concentrates on hard negatives.
        positive_temperature: t_1; weighs positives against negatives.
    """
    others = _log_mean_exp(negatives / temperature, used)
    return jnp.where(_any(used), (temperature * others - positive) / positive_temperature, 0.0)


@compares_cosines
def psl(
    positive: Float[Array, "B"],
    negatives: Float[Array, "B N"],
    used: Float[Array, "B N"],
    temperature: PositiveFloat | Traced = 0.1,
    activation: Literal["tanh", "atan", "relu"] = "tanh",
) -> Float[Array, "B"]:
    """Pairwise softmax loss: log mean_j f(d_j)^(1 / t) with d_j = (s_j - s_i) / 2, for cosines.

    f is closer to a step than the exp(d) of the softmax loss, so the loss is closer to NDCG and less sensitive to false
    negatives.
    [Yang et al. 2024, PSL: Rethinking and improving softmax loss from pairwise perspective for recommendation]

    Args:
        positive, negatives, used: see above.
        temperature: t.
        activation: f(d) is tanh(d) + 1, arctan(d) + 1 (atan), or max(d + 1, 0) (relu).
    """
    d = (negatives - positive[:, None]) / 2
    f = {"tanh": jnp.tanh, "atan": jnp.arctan, "relu": lambda d: d}[activation]
    # Cosines keep d between -1 and 1; the bound keeps the gradient of relu finite at -1.
    logs = jnp.log(jnp.maximum(f(d) + 1, 1e-6))
    return jnp.where(_any(used), _log_mean_exp(logs / temperature, used), 0.0)


def slatk(
    positive: Float[Array, "B"],
    negatives: Float[Array, "B N"],
    used: Float[Array, "B N"],
    k: PositiveInt = 20,
    temperature: PositiveFloat | Traced = 0.2,
    weight_temperature: PositiveFloat | Traced = 1.0,
) -> Float[Array, "B"]:
    """SL@K: sigmoid((s_i - b) / t_w) log sum_j exp((s_j - s_i) / t), for cosines; a surrogate of NDCG@K.

    b is the k-th highest score, so that positives within reach of the top k count most. It is estimated without
    gradient from the positive and its negatives. The authors' estimate also has the user's other positives, and is
    updated every few epochs.
    [Yang et al. 2025, Breaking the top-K barrier: Advancing top-K ranking metrics optimization in recommender systems]

    Args:
        positive, negatives, used: see above.
        k: rank among positive and negatives; with N of I items sampled, it is about rank k I / N of the catalog.
        temperature: t.
        weight_temperature: t_w.
    """
    scores = jnp.concatenate([positive[:, None], jnp.where(used > 0, negatives, -jnp.inf)], axis=1)
    top = jax.lax.top_k(jax.lax.stop_gradient(scores), min(k, scores.shape[1]))[0]
    last = jnp.min(jnp.where(jnp.isfinite(top), top, jnp.inf), axis=1)  # with fewer than k, the lowest
    weight = jax.nn.sigmoid((positive - last) / weight_temperature)
    others = _log_mean_exp((negatives - positive[:, None]) / temperature, used)
    return jnp.where(_any(used), weight * (others + jnp.log(jnp.maximum(jnp.sum(used, axis=1), 1))), 0.0)


@compares_cosines
def ccl(
    positive: Float[Array, "B"],
    negatives: Float[Array, "B N"],
    used: Float[Array, "B N"],
    margin: NonNegativeFloat | Traced = 0.5,
    weight: NonNegativeFloat | Traced = 1.0,
) -> Float[Array, "B"]:
    """Cosine contrastive loss: 1 - s_i + weight * mean_j max(0, s_j - margin).

    [Mao et al. 2021, SimpleX]

    Args:
        positive, negatives, used: see above.
        margin: cosine below which negatives are easy and cost nothing.
        weight: weight of the negatives.
    """
    hard = jnp.maximum(negatives - margin, 0) * used
    return 1 - positive + weight * jnp.sum(hard, axis=1) / jnp.maximum(jnp.sum(used, axis=1), 1)


def _any(used: Float[Array, "B N"]) -> Array:
    """Whether an example has negatives in use."""
    return jnp.sum(used, axis=1) > 0


def _log_mean_exp(x: Float[Array, "B N"], used: Float[Array, "B N"]) -> Float[Array, "B"]:
    """Log of the mean of exp(x) over the negatives in use; finite, with finite gradients, without any."""
    x = jnp.where(used > 0, x, -1e9)
    return jax.nn.logsumexp(x, axis=1) - jnp.log(jnp.maximum(jnp.sum(used, axis=1), 1))


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
