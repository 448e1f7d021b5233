"""Metrics of predicted values and labels: pure functions of arrays over all held-out rows, not per user.

The names of the first two parameters determine the kind of a metric, see `jaxrec.metrics`.

predictions [N], targets [N] → scalar   held-out values, measured with eval=values
scores [N], labels [N] → scalar         held-out labels, 0 or 1, and scores as logits, measured with eval=clicks
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxrec.arguments import smaller_is_better


@smaller_is_better
def mse(predictions: Float[Array, "N"], targets: Float[Array, "N"]) -> Float[Array, ""]:
    """Mean squared error over all N ratings (a scalar, not per user); NaN if there are none."""
    return jnp.mean(jnp.square(predictions - targets))


@smaller_is_better
def rmse(predictions: Float[Array, "N"], targets: Float[Array, "N"]) -> Float[Array, ""]:
    """Root of the mean squared error over all N ratings (a scalar, not per user); NaN if there are none."""
    return jnp.sqrt(mse(predictions, targets))


@smaller_is_better
def mae(predictions: Float[Array, "N"], targets: Float[Array, "N"]) -> Float[Array, ""]:
    """Mean absolute error over all N ratings (a scalar, not per user); NaN if there are none."""
    return jnp.mean(jnp.abs(predictions - targets))


@smaller_is_better
def log_loss(scores: Float[Array, "N"], labels: Float[Array, "N"]) -> Float[Array, ""]:
    """Mean negative log-likelihood of the labels (0 or 1) over all N rows; NaN if there are none.

    Scores are logits: the probability of a 1 is sigmoid(score).
    """
    return jnp.mean(jax.nn.softplus(scores) - labels * scores)


def auc(scores: Float[Array, "N"], labels: Float[Array, "N"]) -> Float[Array, ""]:
    """Area under the ROC curve; NaN if one of the labels does not occur.

    Share of pairs of a row with label 1 and one with label 0 in which the former scores higher; ties count half. Over
    all rows, not per user.   [Hanley and McNeil 1982]
    """
    zeros = jnp.sort(jnp.where(labels > 0, jnp.inf, scores))  # scores of label 1 are sorted to the end
    n_zeros = jnp.sum(labels <= 0)
    below, up_to = (jnp.minimum(jnp.searchsorted(zeros, scores, side=s), n_zeros) for s in ("left", "right"))
    wins = (below + up_to).astype(jnp.float32) / (2 * n_zeros).astype(jnp.float32)
    return jnp.sum(jnp.where(labels > 0, wins, 0.0)) / jnp.sum(labels > 0).astype(jnp.float32)
