"""Display names of metrics, such as NDCG@10 for `ndcg@10`, and one-line definitions."""

import re

from jaxrec.metric_names import SAMPLED

METRICS = {
    "ndcg": ("NDCG", "hits discounted by rank, relative to the ideal list"),
    "hit_rate": ("Hit rate", "share of users with at least one hit"),
    "precision": ("Precision", "share of the list that is relevant"),
    "recall": ("Recall", "share of the user's test items that are in the list"),
    "recall_min": ("Recall (min)", "hits relative to the most that the list can hold"),
    "map": ("MAP", "mean average precision"),
    "map_all": ("MAP (all)", "mean average precision, divided by the number of all relevant items"),
    "mrr": ("MRR", "mean reciprocal rank of the first hit"),
    "coverage": ("Coverage", "share of the catalog that appears in at least one list"),
    "rbp": ("RBP", "rank-biased precision: hits weighted by p^(rank - 1)"),
    "err": ("ERR", "expected reciprocal rank at which a user stops"),
    "mse": ("MSE", "mean squared error of the predicted values"),
    "rmse": ("RMSE", "root mean squared error of the predicted values"),
    "mae": ("MAE", "mean absolute error of the predicted values"),
    "auc": ("AUC", "probability that a positive scores above a negative"),
    "log_loss": ("Log loss", "cross-entropy of the predicted probabilities"),
    "diversity": ("Diversity", "mean of 1 - cosine similarity over the pairs of a list"),
    "novelty": ("Novelty", "mean of -log2 of the share of users who interacted with an item, in bits"),
    "average_popularity": ("Average popularity", "mean share of users who interacted with an item of the list"),
    "serendipity": ("Serendipity", "share of the list that is relevant and not in the list of most popular items"),
    "gini": ("Gini", "inequality of how often items are recommended; 0 is equal"),
    "popularity": ("Mean popularity", "mean number of training interactions of the listed items"),
    "popularity_bias": ("Popularity bias", "mean popularity of the list relative to the user's history, minus 1"),
    "exposure_disparity": ("Exposure disparity", "share of all exposure that goes to the wrong item group"),
    "list_exposure_disparity": ("Exposure disparity per list", "the same within each list, averaged"),
    "calibration_error": ("Calibration error", "KL divergence of the list's categories from the user's"),
    "freshness": ("Freshness", "mean of 2^(-age / half-life) of the listed items"),
}


def label(key: str) -> str:
    """Return the display name of a metric: `NDCG@10` for `ndcg@10`, `Sampled NDCG@10` for candidate rankings.

    A prefix such as `validation ` is kept, and a word after it is in lower case: `test hit rate@10`.
    """
    part, space, metric = key.rpartition(" ")
    name = _name(metric)
    rest = metric.removeprefix(SAMPLED).removeprefix(name)
    shown = METRICS.get(name, (name,))[0] + rest
    if metric.startswith(SAMPLED):
        shown = f"Sampled {_within(shown)}"
    return f"{part} {_within(shown)}" if space else shown


def _within(shown: str) -> str:
    """Return a name as it is written within a phrase: words in lower case, abbreviations unchanged."""
    return shown[:1].lower() + shown[1:] if shown[1:2].islower() else shown


def meaning(key: str) -> str:
    """Return the one-line definition of a metric; empty if unknown."""
    return METRICS.get(_name(key), ("", ""))[1]


def _name(metric: str) -> str:
    """Return the base name of a metric: `rbp` for `sampled_rbp(p=0.9)@10`."""
    return re.split("[(@]", metric.removeprefix(SAMPLED))[0]
