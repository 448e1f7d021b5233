"""Metrics of rankings: pure functions of arrays; those of predictions are in `jaxrec.prediction_metrics`.

`METRICS` names all of them, and `jaxrec.metric_names` finds them by name.

The names of the first two parameters determine the kind of a metric; all others are its parameters and have defaults:

hits [B, K], n_relevant [B] → [B]   per list: `hits[b, k]` is True if position k (rank k + 1) holds a relevant item,
                                    `n_relevant[b]` (n below) is the number of relevant items of the user, in the list
                                    or not. K is the length of the list
items [B, K], shares [I] → [B]      per list: item ids, padded with -1; `shares[i]` is the share of users who already
                                    had item i, above 0
hits [B, K], expected [B, K] → [B]  per list: `expected[b, k]` is True if the item at position k is also in the list of
                                    the K most popular items for this user
popularity [B, K], own_popularity [B] → [B]   per list: shares of users who already had the item at position k, NaN for
                                    padding; and their mean over the user's history, NaN without a history
mix [B, C], own_mix [B, C] → [B]    per list: shares of categories among its items, NaN if these have none; and in the
                                    user's history, which sum to 1, or are 0 without. Categories that the history lacks
                                    may be left out
items [B, K], n_items → scalar      all lists together: item ids, padded with -1
predictions [N], targets [N] → scalar   held-out values, measured with eval=values
scores [N], labels [N] → scalar     held-out labels, 0 or 1, and scores as logits, measured with eval=clicks
"""

from collections.abc import Callable
from typing import Annotated

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int
from pydantic import Field

from jaxrec.arguments import smaller_is_better
from jaxrec.prediction_metrics import auc, log_loss, mae, mse, rmse

Probability = Annotated[float, Field(gt=0, lt=1)]
SMOOTHING = 0.01  # weight of the user's own categories in those of a list, so that their divergence stays finite


def ndcg(hits: Bool[Array, "B K"], n_relevant: Int[Array, "B"]) -> Float[Array, "B"]:
    """Binary NDCG@K of each user; NaN for a user without relevant items.

    sum_k hits_k / log2(rank_k + 1), divided by the same sum for a list that starts with min(n, K) hits.
    [Järvelin and Kekäläinen 2002]
    """
    positions = jnp.arange(hits.shape[1], dtype=n_relevant.dtype)
    ideal = positions[None, :] < n_relevant[:, None]
    return _defined(_dcg(hits) / _dcg(ideal), n_relevant)


def hit_rate(hits: Bool[Array, "B K"], n_relevant: Int[Array, "B"]) -> Float[Array, "B"]:
    """Hit rate: 1 if the list contains any relevant item, else 0; NaN for a user without relevant items."""
    return _defined(hits.any(axis=1).astype(jnp.float32), n_relevant)


def precision(hits: Bool[Array, "B K"], n_relevant: Int[Array, "B"]) -> Float[Array, "B"]:
    """Precision: hits / K; NaN for a user without relevant items. Its maximum is below 1 if n < K."""
    return _defined(_count(hits) / hits.shape[1], n_relevant)


def recall(hits: Bool[Array, "B K"], n_relevant: Int[Array, "B"]) -> Float[Array, "B"]:
    """Recall: hits / n; NaN for a user without relevant items. Its maximum is below 1 if n > K."""
    return _defined(_count(hits) / n_relevant.astype(jnp.float32), n_relevant)


def recall_min(hits: Bool[Array, "B K"], n_relevant: Int[Array, "B"]) -> Float[Array, "B"]:
    """Hits / min(n, K), the "recall" of Mult-VAE; NaN for a user without relevant items.  [Liang et al. 2018]"""
    return _defined(_count(hits) / _findable(hits, n_relevant), n_relevant)


def average_precision(hits: Bool[Array, "B K"], n_relevant: Int[Array, "B"]) -> Float[Array, "B"]:
    """Average precision; NaN for a user without relevant items. Its mean over users is reported as `map@K`.

    sum_k hits_k precision@rank_k / min(n, K): a perfect list scores 1 for any n. `average_precision_of_all` divides by
    n; some implementations divide by the number of hits.
    """
    return _defined(_precision_at_hits(hits) / _findable(hits, n_relevant), n_relevant)


def average_precision_of_all(hits: Bool[Array, "B K"], n_relevant: Int[Array, "B"]) -> Float[Array, "B"]:
    """Average precision of TREC; NaN for a user without relevant items. Its mean over users is `map_all@K`.

    sum_k hits_k precision@rank_k / n, where relevant items below rank K count as never found: the maximum is below 1 if
    n > K.   [Voorhees and Harman 2005; `map_cut` of trec_eval]
    """
    return _defined(_precision_at_hits(hits) / n_relevant.astype(jnp.float32), n_relevant)


def mrr(hits: Bool[Array, "B K"], n_relevant: Int[Array, "B"]) -> Float[Array, "B"]:
    """Reciprocal rank of the first hit, 0 without a hit; NaN for a user without relevant items.  [Voorhees 1999]"""
    reciprocal = 1.0 / _ranks(hits.shape[1])
    return _defined(jnp.where(hits, reciprocal[None, :], 0.0).max(axis=1), n_relevant)


def rbp(hits: Bool[Array, "B K"], n_relevant: Int[Array, "B"], p: Probability = 0.8) -> Float[Array, "B"]:
    """Rank-biased precision with persistence p; NaN for a user without relevant items.

    (1 - p) sum_k hits_k p^(rank_k - 1). A list of K hits scores 1 - p^K; the remainder belongs to ranks below K.
    [Moffat and Zobel 2008]

    Args:
        hits: whether the item at each rank is relevant.
        n_relevant: number of relevant items.
        p: probability of looking one rank further.
    """
    weights = (1 - p) * p ** (_ranks(hits.shape[1]) - 1)
    return _defined(jnp.where(hits, weights[None, :], 0.0).sum(axis=1), n_relevant)


def err(hits: Bool[Array, "B K"], n_relevant: Int[Array, "B"], stop: Probability = 0.5) -> Float[Array, "B"]:
    """Expected reciprocal rank at which a user stops; NaN for a user without relevant items.

    sum_k hits_k stop (1 - stop)^(hits above k) / rank_k. A single hit at rank 1 scores `stop`; the metric is always
    below 1.   [Chapelle et al. 2009]

    Args:
        hits: whether the item at each rank is relevant.
        n_relevant: number of relevant items.
        stop: probability that a relevant item ends the search, 1/2 for binary grades in the paper.
    """
    above = jnp.cumsum(hits, axis=1, dtype=jnp.float32) - hits.astype(jnp.float32)
    stops = stop * (1 - stop) ** above / _ranks(hits.shape[1])[None, :]
    return _defined(jnp.where(hits, stops, 0.0).sum(axis=1), n_relevant)


def coverage(items: Int[Array, "B K"], n_items: int) -> Float[Array, ""]:
    """Share of the catalog that is in at least one list; ids outside 0 … n_items - 1, such as padding, are ignored."""
    return (appearances(items, n_items) > 0).mean(dtype=jnp.float32)


@smaller_is_better
def gini(items: Int[Array, "B K"], n_items: int) -> Float[Array, ""]:
    """Gini coefficient of how often items are in lists: 0 if equally often, near 1 if all lists are the same item.

    NaN without lists. See `inequality`.
    """
    return inequality(appearances(items, n_items))


def appearances(lists: Int[Array, "B K"], n_items: int) -> Float[Array, "I"]:
    """Number of lists that contain each item; ids outside 0 … n_items - 1, such as padding, are ignored."""
    dropped = jnp.where(lists < 0, n_items, lists)  # a negative index would count from the end
    return jnp.zeros(n_items).at[dropped].add(1.0, mode="drop")


def inequality(counts: Float[Array, "I"]) -> Float[Array, ""]:
    """Gini coefficient of counts: 0 if they are equal, near 1 if one item has all; NaN if all are 0.

    sum_j (2 j - I - 1) c_j / (I sum c) with counts c in ascending order.
    [Gini 1912; for recommenders Fleder and Hosanagar 2009]
    """
    n = len(counts)
    weights = jnp.arange(1 - n, n, 2, dtype=jnp.float32) / n
    total = counts.sum()
    return jnp.sum(weights * jnp.sort(counts)) / jnp.where(total > 0, total, jnp.nan)


def novelty(items: Int[Array, "B K"], shares: Float[Array, "I"]) -> Float[Array, "B"]:
    """Mean self-information -log2(share of users who already had the item) of a list, in bits; NaN if it is empty.

    [Zhou et al. 2010; Vargas and Castells 2011]
    """
    return _mean_of_listed(items, -jnp.log2(shares))


@smaller_is_better
def average_popularity(items: Int[Array, "B K"], shares: Float[Array, "I"]) -> Float[Array, "B"]:
    """Mean popularity of a list: the mean share of users who already had its items; NaN if it is empty.

    [Average recommendation popularity: Yin et al. 2012]
    """
    return _mean_of_listed(items, shares)


def serendipity(hits: Bool[Array, "B K"], expected: Bool[Array, "B K"]) -> Float[Array, "B"]:
    """Share of the K positions with an unexpected hit: a relevant item that popularity alone would not have listed.

    [Murakami, Mori and Orihara 2008; Ge, Delgado-Battenfeld and Jannach 2010]
    """
    return (hits & ~expected).sum(axis=1, dtype=jnp.float32) / hits.shape[1]


@smaller_is_better
def popularity_bias(popularity: Float[Array, "B K"], own_popularity: Float[Array, "B"]) -> Float[Array, "B"]:
    """Popularity lift: mean popularity of a list divided by that of the user's history, minus 1; NaN if one is empty.

    Positive values mean that a user gets more popular items than they chose.
    [Abdollahpouri, Mansoury, Burke and Mobasher 2020]
    """
    return jnp.nanmean(popularity, axis=1) / own_popularity - 1


@smaller_is_better
def calibration_error(mix: Float[Array, "B C"], own_mix: Float[Array, "B C"]) -> Float[Array, "B"]:
    """KL divergence of a list's categories from those of the user's history; NaN if either has none.

    0 for a list with the same shares of categories, ln(100) = 4.6 for one without any of the user's. See `divergence`.
    [Steck 2018]
    """
    return jnp.where(own_mix.sum(axis=1) > 0, divergence(own_mix, mix), jnp.nan)


def divergence(own: Float[Array, "*B G"], of_list: Float[Array, "*B G"]) -> Float[Array, "*B"]:
    """KL divergence of a list's category distribution q from the user's own p: KL(p || (1 - a) q + a p), a = .01.

    Both sum to 1. The divergence is 0 for a user without categories (p = 0); a list without categories has q = 0.
    [Steck 2018]
    """
    smooth = (1 - SMOOTHING) * of_list + SMOOTHING * own
    ratio = jnp.where(own > 0, own / jnp.where(own > 0, smooth, 1.0), 1.0)
    return jnp.sum(own * jnp.log(ratio), axis=-1)


METRICS: dict[str, Callable[..., Array]] = {
    "ndcg": ndcg,
    "hit_rate": hit_rate,
    "precision": precision,
    "recall": recall,
    "recall_min": recall_min,
    "map": average_precision,
    "map_all": average_precision_of_all,
    "mrr": mrr,
    "rbp": rbp,
    "err": err,
    "coverage": coverage,
    "gini": gini,
    "novelty": novelty,
    "average_popularity": average_popularity,
    "serendipity": serendipity,
    "popularity_bias": popularity_bias,
    "calibration_error": calibration_error,
    "mse": mse,
    "rmse": rmse,
    "mae": mae,
    "auc": auc,
    "log_loss": log_loss,
}
"""Metric functions by their name in settings and results."""


def _defined(values: Float[Array, "B"], n_relevant: Int[Array, "B"]) -> Float[Array, "B"]:
    """Values, with NaN for users without relevant items."""
    return jnp.where(n_relevant > 0, values, jnp.nan)


def _dcg(hits: Bool[Array, "B K"]) -> Float[Array, "B"]:
    """sum_k hits_k / log2(rank_k + 1); a sum, because accelerators run matrix products at lower precision."""
    gains = 1.0 / jnp.log2(_ranks(hits.shape[1]) + 1.0)
    return jnp.where(hits, gains[None, :], 0.0).sum(axis=1)


def _count(hits: Bool[Array, "B K"]) -> Float[Array, "B"]:
    """Number of hits in each list."""
    return hits.sum(axis=1, dtype=jnp.float32)


def _findable(hits: Bool[Array, "B K"], n_relevant: Int[Array, "B"]) -> Float[Array, "B"]:
    """Number of hits in a perfect list, min(n, K)."""
    return jnp.minimum(n_relevant, hits.shape[1]).astype(jnp.float32)


def _mean_of_listed(items: Int[Array, "B K"], of_items: Float[Array, "I"]) -> Float[Array, "B"]:
    """Mean of a number of each item over a list; NaN if it is empty."""
    listed = items >= 0
    n = listed.sum(axis=1, dtype=jnp.float32)
    return jnp.where(listed, of_items[jnp.maximum(items, 0)], 0.0).sum(axis=1) / jnp.where(n > 0, n, jnp.nan)


def _precision_at_hits(hits: Bool[Array, "B K"]) -> Float[Array, "B"]:
    """Sum of the precision at the rank of each hit."""
    precision_at = jnp.cumsum(hits, axis=1, dtype=jnp.float32) / _ranks(hits.shape[1])[None, :]
    return jnp.where(hits, precision_at, 0.0).sum(axis=1)


def _ranks(width: int) -> Float[Array, "K"]:
    """Ranks 1 … K."""
    return jnp.arange(1, width + 1, dtype=jnp.float32)
