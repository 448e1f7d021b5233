"""Test metrics by user group and item group."""

from collections.abc import Mapping

import jax
import numpy as np
from jaxtyping import Array, PyTree

from jaxrec.data.interactions import Interactions
from jaxrec.evaluation.evaluation import Evaluation
from jaxrec.metrics import ndcg, recall

HEAD = 0.5  # share of training interactions covered by head items

DEFINITIONS = {
    "warm": "items with training interactions",
    "cold": "items without training interactions",
    "head": "the fewest most popular items that cover half of the training interactions",
    "tail": "all other items, including cold ones",
    "new": "users without known interactions",
    "low": "the third of the other users with the fewest known interactions",
    "middle": "the middle third",
    "high": "the third with the most known interactions",
}


def item_groups(train: Interactions) -> dict[str, np.ndarray]:
    """Masks of item groups over the catalog [I].

    warm and cold: with and without training interactions. head: the fewest most popular items that cover the share HEAD
    of the rows of train; ties in the order of the item table, which is shuffled. tail: all others, including cold ones.
    """
    count = np.bincount(train.item, minlength=train.n_items)
    order = np.argsort(-count, kind="stable")
    before = np.cumsum(count[order]) - count[order]
    head = np.zeros(train.n_items, bool)
    head[order[before < HEAD * len(train)]] = True
    return {"warm": count > 0, "cold": count == 0, "head": head, "tail": ~head}


def activity_groups(users: np.ndarray, n_known: np.ndarray) -> dict[str, np.ndarray]:
    """Masks of user groups over rows [R] by the number of interactions known for each row.

    new: none. low, middle, high: thirds of the other users, or of the other steps of sessions, where a user counts once
    per number. Rows with equal numbers are in the same, lower group, so groups may differ in size or be empty.
    """
    some = n_known > 0
    if not some.any():
        return {"new": ~some}
    width = np.int64(n_known.max()) + 1
    numbers = np.unique(users[some] * width + n_known[some]) % width
    third, two_thirds = np.quantile(numbers, [1 / 3, 2 / 3], method="inverted_cdf")
    low, high = n_known <= third, n_known > two_thirds
    return {"new": ~some, "low": some & low, "middle": some & ~low & ~high, "high": some & high}


def by_group(evaluation: Evaluation, train: Interactions, k: int) -> list[dict[str, object]]:
    """ndcg@k and recall@k of every member by group: {"items": {group: …}, "users": {group: …}}.

    Lists are always those of the whole catalog. For a group of items, only its items count as relevant, and users
    without one are excluded. For a group of users, metrics are means over its users. Empty groups are left out.

    Returns:
        for each member and group: the means, `users` and `rows`, the number of users and of evaluated rows (more if
        users have several), and for user groups `known`, the smallest and largest number of known interactions.
    """
    of_items = item_groups(train)
    of_users = activity_groups(evaluation.users, evaluation.ground_truth.n_known)
    return [_of_member(evaluation, member, k, of_items, of_users) for member in range(len(evaluation.lists))]


def _of_member(
    evaluation: Evaluation,
    member: int,
    k: int,
    of_items: Mapping[str, np.ndarray],
    of_users: Mapping[str, np.ndarray],
) -> dict[str, object]:
    ground_truth, keys = evaluation.ground_truth, [f"{evaluation.prefix}{name}@{k}" for name in ("ndcg", "recall")]
    n_rows = len(evaluation.users)
    row = np.repeat(np.arange(n_rows), np.diff(ground_truth.offsets))
    lists = np.asarray(evaluation.lists[member, :, :k])
    # Encode (row, item) as one integer; ground truth is ordered by row and item, so `relevant` is sorted.
    n_items = max(len(mask) for mask in of_items.values())
    pair = np.arange(n_rows)[:, None] * n_items + lists
    relevant = row * n_items + ground_truth.items
    hits = (relevant[np.minimum(np.searchsorted(relevant, pair), len(relevant) - 1)] == pair) & (lists >= 0)
    nothing = 0.0 if evaluation.finite[member] else np.nan
    of_all = [values + nothing for values in _measured(hits, np.diff(ground_truth.offsets).astype(np.int32))]

    items: dict[str, object] = {}
    for name, mask in of_items.items():
        n_relevant = np.bincount(row[mask[ground_truth.items]], minlength=n_rows)
        values = _measured(hits & mask[lists], n_relevant.astype(np.int32))
        if (rows := n_relevant > 0).any():
            items[name] = _described(evaluation, rows, keys, [v + nothing for v in values])
    users = {
        name: {
            **_described(evaluation, rows, keys, of_all),
            "known": [int(ground_truth.n_known[rows].min()), int(ground_truth.n_known[rows].max())],
        }
        for name, rows in of_users.items()
        if rows.any()
    }
    return {"items": items, "users": users}


@jax.jit
def _measured(hits: Array, n_relevant: Array) -> PyTree:
    return ndcg(hits, n_relevant), recall(hits, n_relevant)


def _described(evaluation: Evaluation, rows: np.ndarray, keys: list[str], values: list[object]) -> dict[str, object]:
    means = {key: float(np.mean(np.asarray(v)[rows], dtype=np.float64)) for key, v in zip(keys, values, strict=True)}
    return {"users": len(np.unique(evaluation.users[rows])), "rows": int(np.count_nonzero(rows)), **means}
