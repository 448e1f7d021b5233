"""How good a ranking or a prediction is: pure functions of arrays, per user, reduced by the caller.

`hits[b, k]` says that position k (rank k + 1) of user b's list holds a relevant item, `n_relevant[b]` how many
relevant items there are to be found (n below), whether or not they made the list. K is the width of the list.
"""

from collections import OrderedDict
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int


def ndcg(hits: Bool[Array, "B K"], n_relevant: Int[Array, "B"]) -> Float[Array, "B"]:
    """Binary NDCG@K of each user, NaN for a user with nothing to find.

    sum_k hits_k / log2(rank_k + 1), over the same sum for a list that starts with min(n, K) hits.
    [Järvelin and Kekäläinen 2002]
    """
    positions = jnp.arange(hits.shape[1], dtype=n_relevant.dtype)
    ideal = positions[None, :] < n_relevant[:, None]
    return _defined(_dcg(hits) / _dcg(ideal), n_relevant)


def hit_rate(hits: Bool[Array, "B K"], n_relevant: Int[Array, "B"]) -> Float[Array, "B"]:
    """1 where the list holds any relevant item, else 0; NaN for a user with nothing to find."""
    return _defined(hits.any(axis=1).astype(jnp.float32), n_relevant)


def precision(hits: Bool[Array, "B K"], n_relevant: Int[Array, "B"]) -> Float[Array, "B"]:
    """Hits / K, NaN for a user with nothing to find; below 1 at best where n < K."""
    return _defined(_count(hits) / hits.shape[1], n_relevant)


def recall(hits: Bool[Array, "B K"], n_relevant: Int[Array, "B"]) -> Float[Array, "B"]:
    """Hits / n, NaN for a user with nothing to find; below 1 at best where n > K."""
    return _defined(_count(hits) / n_relevant.astype(jnp.float32), n_relevant)


def recall_min(hits: Bool[Array, "B K"], n_relevant: Int[Array, "B"]) -> Float[Array, "B"]:
    """Hits / min(n, K), NaN for a user with nothing to find: the "recall" of Mult-VAE.  [Liang et al. 2018]"""
    return _defined(_count(hits) / _findable(hits, n_relevant), n_relevant)


def average_precision(hits: Bool[Array, "B K"], n_relevant: Int[Array, "B"]) -> Float[Array, "B"]:
    """Average precision, NaN for a user with nothing to find; its mean over users is published as `map@K`.

    sum_k hits_k precision@rank_k / min(n, K). Some codes divide by n or by the number of hits instead; with min(n, K)
    a perfect list scores 1 whatever n is.
    """
    ranks = _ranks(hits.shape[1])
    precision_at = jnp.cumsum(hits, axis=1, dtype=jnp.float32) / ranks[None, :]
    return _defined(jnp.where(hits, precision_at, 0.0).sum(axis=1) / _findable(hits, n_relevant), n_relevant)


def mrr(hits: Bool[Array, "B K"], n_relevant: Int[Array, "B"]) -> Float[Array, "B"]:
    """1 / rank of the first hit, 0 without a hit, NaN for a user with nothing to find.  [Voorhees 1999]"""
    reciprocal = 1.0 / _ranks(hits.shape[1])
    return _defined(jnp.where(hits, reciprocal[None, :], 0.0).max(axis=1), n_relevant)


RANKING: dict[str, Callable[..., Array]] = {
    "ndcg": ndcg,
    "hit_rate": hit_rate,
    "precision": precision,
    "recall": recall,
    "recall_min": recall_min,
    "map": average_precision,
    "mrr": mrr,
}
"""Published key → function; `@k` follows the key in results."""


def per_user(
    hits: Bool[Array, "B K"], n_relevant: Int[Array, "B"], ks: tuple[int, ...]
) -> OrderedDict[str, Float[Array, "B"]]:
    """Every ranking metric at every k, NaN for a user with nothing to find; keys such as `ndcg@10`, k by k.

    K must reach max(ks). Under `jit`, `ks` is static. Ordered, because jit returns a plain dict sorted by key.
    """
    if max(ks) > hits.shape[1]:
        raise ValueError(f"lists of {hits.shape[1]} items cannot be measured at k = {max(ks)}")
    return OrderedDict((f"{key}@{k}", metric(hits[:, :k], n_relevant)) for k in ks for key, metric in RANKING.items())


def coverage(items: Int[Array, "B K"], n_items: int) -> Float[Array, ""]:
    """Share of the catalogue in at least one list; ids outside 0 … n_items - 1, such as padding by -1, do not count."""
    dropped = jnp.where(items < 0, n_items, items)  # a negative index would count from the end
    listed = jnp.zeros(n_items, bool).at[dropped].set(True, mode="drop")
    return listed.mean(dtype=jnp.float32)


def mse(predictions: Float[Array, "N"], targets: Float[Array, "N"]) -> Float[Array, ""]:
    """Mean squared error over all N ratings (a scalar, not per user); NaN if there are none."""
    return jnp.mean(jnp.square(predictions - targets))


def rmse(predictions: Float[Array, "N"], targets: Float[Array, "N"]) -> Float[Array, ""]:
    """Root of the mean squared error over all N ratings (a scalar, not per user); NaN if there are none."""
    return jnp.sqrt(mse(predictions, targets))


def mae(predictions: Float[Array, "N"], targets: Float[Array, "N"]) -> Float[Array, ""]:
    """Mean absolute error over all N ratings (a scalar, not per user); NaN if there are none."""
    return jnp.mean(jnp.abs(predictions - targets))


RATING: dict[str, Callable[..., Array]] = {"mse": mse, "rmse": rmse, "mae": mae}
"""Published key → function of predictions and targets."""


def log_loss(scores: Float[Array, "N"], labels: Float[Array, "N"]) -> Float[Array, ""]:
    """Mean over all N rows of -log of the probability given to the label, 0 or 1; NaN if there are none.

    The probability of a 1 is sigmoid(score): scores are logits.
    """
    return jnp.mean(jax.nn.softplus(scores) - labels * scores)


def auc(scores: Float[Array, "N"], labels: Float[Array, "N"]) -> Float[Array, ""]:
    """Share of pairs of a row labelled 1 and a row labelled 0 in which the 1 scores higher; NaN if a label is missing.

    Equal scores count half. All rows at once, not per user.   [Hanley and McNeil 1982]
    """
    zeros = jnp.sort(jnp.where(labels > 0, jnp.inf, scores))  # those of ones stand behind
    n_zeros = jnp.sum(labels <= 0)
    below, up_to = (jnp.minimum(jnp.searchsorted(zeros, scores, side=s), n_zeros) for s in ("left", "right"))
    wins = (below + up_to).astype(jnp.float32) / (2 * n_zeros).astype(jnp.float32)
    return jnp.sum(jnp.where(labels > 0, wins, 0.0)) / jnp.sum(labels > 0).astype(jnp.float32)


CLICK: dict[str, Callable[..., Array]] = {"auc": auc, "log_loss": log_loss}
"""Published key → function of scores and labels."""


def larger_is_better(key: str) -> bool:
    """Whether a larger value of this metric is the better one: not so for errors and losses."""
    return key not in {*RATING, "log_loss"}


MAX_UNITS = 10_000  # users beyond this are pooled before they are resampled
CHUNK = 1_000_000  # draws held at once: 8 MB of indices, 8 MB of values


def mean_and_interval(
    values: Float[np.ndarray, "U"],
    *,
    units: Int[np.ndarray, "U"] | None = None,
    confidence: float = 0.95,
    n_resamples: int = 1000,
    seed: int = 0,
) -> tuple[float, float, float]:
    """Mean over users whose value is not NaN, and its percentile bootstrap interval; all NaN where no user is left.

    The interval is for the mean over users drawn like these, with this model and this split as they are: it knows
    nothing of training seeds. One user gives an interval of zero width. Beyond 10,000 users, users are pooled at random
    into 10,000 groups and groups are resampled: the resampled mean keeps its mean and variance, the width of the
    interval is known to about 1 %, and the work stops growing.  [Efron 1979; Efron and Tibshirani 1993, chapter 13]

    Args:
        values: one metric of each user, in any float type; sums are float64.
        units: whose value each is, where users have several, such as the steps of a session: they are drawn together,
            and the interval is for the mean over values. None: each has one.
        confidence: share of repetitions whose interval should hold the true mean.
        n_resamples: bootstrap repetitions; the same seed gives the same interval.
        seed: of the draws.

    Returns:
        mean, low, high.
    """
    defined = ~np.isnan(values)
    known = values[defined].astype(np.float64)
    if known.size == 0:
        return np.nan, np.nan, np.nan
    rng = np.random.default_rng(seed)
    mean = known.mean()
    owner = np.arange(known.size) if units is None else np.unique(units[defined], return_inverse=True)[1]
    n_owners = int(owner.max()) + 1
    n_units = min(n_owners, MAX_UNITS)
    # Deviations, not values: groups may differ in size, and the mean of their sum is still zero.
    sums = np.bincount(rng.permutation(n_owners)[owner] % n_units, weights=known - mean, minlength=n_units)
    rows = max(1, CHUNK // n_units)
    deviations = np.concatenate(
        [
            sums[rng.integers(n_units, size=(min(rows, n_resamples - start), n_units))].sum(axis=1)
            for start in range(0, n_resamples, rows)
        ]
    )
    tail = (1 - confidence) / 2
    low, high = mean + np.quantile(deviations / known.size, [tail, 1 - tail])
    return float(mean), float(low), float(high)


def _defined(values: Float[Array, "B"], n_relevant: Int[Array, "B"]) -> Float[Array, "B"]:
    """Values, NaN for a user with nothing to find."""
    return jnp.where(n_relevant > 0, values, jnp.nan)


def _dcg(hits: Bool[Array, "B K"]) -> Float[Array, "B"]:
    """sum_k hits_k / log2(rank_k + 1); a sum and no matrix product, which accelerators run at lower precision."""
    gains = 1.0 / jnp.log2(_ranks(hits.shape[1]) + 1.0)
    return jnp.where(hits, gains[None, :], 0.0).sum(axis=1)


def _count(hits: Bool[Array, "B K"]) -> Float[Array, "B"]:
    """Hits in each list."""
    return hits.sum(axis=1, dtype=jnp.float32)


def _findable(hits: Bool[Array, "B K"], n_relevant: Int[Array, "B"]) -> Float[Array, "B"]:
    """min(n, K): the hits of a perfect list."""
    return jnp.minimum(n_relevant, hits.shape[1]).astype(jnp.float32)


def _ranks(width: int) -> Float[Array, "K"]:
    """1 … K."""
    return jnp.arange(1, width + 1, dtype=jnp.float32)
