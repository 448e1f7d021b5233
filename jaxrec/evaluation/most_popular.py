"""Lists of the most popular items: the baseline of every evaluation, and what serendipity does not count."""

from weakref import WeakKeyDictionary

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from jaxrec.data.splits.split import HeldOut
from jaxrec.hyper import Hyper
from jaxrec.models.model import Params
from jaxrec.ranking import QueryRows, Ranked


class PopularityRanker:
    """Ranks the catalog by popularity, with the lists that `Ranker` has for `Popularity`; on the host.

    All rows have the same order of items, apart from those that are filtered. So item j of a list is the one of rank j
    plus the number of filtered items before it, and nothing is scored, sorted by row or compiled.

    Args:
        queries: rows to rank for.
        k: length of the lists.
        exclude_known: filter the items in `queries.masked`.
    """

    def __init__(self, queries: QueryRows, k: int, *, exclude_known: bool = True) -> None:
        self.k, self._n_rows = k, len(queries.users)
        offsets, self._masked = np.zeros(self._n_rows + 1, np.int64), np.zeros(0, np.int32)
        if exclude_known and queries.masked is not None:
            offsets, self._masked = queries.masked
        self._row = np.repeat(np.arange(self._n_rows), np.diff(offsets))

    def __call__(self, params: Params, hyper: Hyper, active: Bool[np.ndarray, "P"] | None = None) -> Ranked:
        """Lists of every member, from its counts; `hyper` has no effect. See `Ranker`."""
        counts = np.asarray(params["params"]["count"])
        lists = np.stack([self.lists(of_member) for of_member in counts])
        scores = np.stack([np.where(items < 0, -np.inf, own[items]) for own, items in zip(counts, lists, strict=True)])
        return Ranked(jnp.asarray(lists), jnp.asarray(scores), jnp.asarray(np.isfinite(counts).all(axis=1)))

    def lists(self, counts: Float[np.ndarray, "I"]) -> Int[np.ndarray, "R K"]:
        """The k items with the highest counts for each row, ties in order of item; padded with -1."""
        order = np.argsort(-counts, kind="stable").astype(np.int32)
        rank = np.argsort(order)
        n_items, first = len(counts), np.arange(self._n_rows)[:, None] * len(counts)
        filtered = np.unique(self._row * n_items + rank[self._masked])  # by row, then by rank; each item once
        row = filtered // n_items
        start = np.searchsorted(row, np.arange(self._n_rows))
        listed_before = filtered - (np.arange(len(filtered)) - start[row])  # row * n_items + unfiltered items before it
        places = np.arange(self.k)
        ranks = places + np.searchsorted(listed_before, first + places, side="right") - start[:, None]
        return np.where(ranks < n_items, order[np.minimum(ranks, n_items - 1)], -1)


def most_popular(held_out: HeldOut, queries: QueryRows, k: int, exclude_known: bool) -> Int[Array, "R K"]:
    """The k items with the most known interactions for each row, computed once for all models."""
    lists = _lists.setdefault(held_out, {})
    if (k, exclude_known) not in lists:
        counts = np.bincount(held_out.known.item, minlength=held_out.known.n_items).astype(np.float32)
        lists[k, exclude_known] = jnp.asarray(PopularityRanker(queries, k, exclude_known=exclude_known).lists(counts))
    return lists[k, exclude_known]


_lists: WeakKeyDictionary[HeldOut, dict[tuple[int, bool], Array]] = WeakKeyDictionary()
