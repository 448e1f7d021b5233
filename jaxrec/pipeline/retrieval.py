"""Candidate generation, the first stage: candidates per user from one or several sources."""

from dataclasses import dataclass
from typing import Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from pydantic import NonNegativeInt, PositiveFloat, PositiveInt
from scipy import sparse

from jaxrec.data.interactions import Interactions, targets
from jaxrec.data.reading.times import DAY
from jaxrec.errors import InputError
from jaxrec.models.model import Model
from jaxrec.models.popularity import Popularity
from jaxrec.pipeline.approximate import Index
from jaxrec.query import Query
from jaxrec.ranking import QueryRows, sources_of
from jaxrec.recommend.fitted import Fitted
from jaxrec.rerank.shortlist import Mixes


@dataclass(frozen=True)
class CandidateSet:
    """Candidate generation: merged, deduplicated sources without the user's seen items, all scored by the model.

    Args:
        n: number of candidates from the model's own ranking.
        search: `exact` (full catalog, by blocks) or `faiss` (inverted index of item vectors, extra `ann`), which also
            reports its recall against exact search.
        lists: number of lists of the faiss index.
        probes: number of lists searched per query by faiss.
        popular: number of most popular items to add.
        window_days: popularity window in days before the latest interaction; None: all interactions.
        category: number of most popular items in the user's categories to add, weighted by the user's category shares.
    """

    n: PositiveInt = 100
    search: Literal["exact", "faiss"] = "exact"
    lists: PositiveInt = 64
    probes: PositiveInt = 8
    popular: NonNegativeInt = 0
    window_days: PositiveFloat | None = None
    category: NonNegativeInt = 0

    def __call__(
        self,
        fitted: Fitted,
        query_rows: QueryRows,
        known: Interactions,
        own: sparse.csr_array,
        mixes: Mixes,
        exclude_known: bool = True,
    ) -> tuple[np.ndarray, np.ndarray, dict[str, float]]:
        """Return the candidates of each row.

        Args:
            fitted: the model with its parameters.
            query_rows: the rows.
            known: known interactions.
            own: category distribution of each row's history.
            mixes: category distribution of each item [I, G].
            exclude_known: filter seen items.

        Returns:
            Items and model scores [R, C], best first, padded with -1 and -inf; and statistics by name.
        """
        n_items, statistics = mixes.shape[0], {}
        for name in ("n", "popular", "category"):
            if (number := getattr(self, name)) > n_items:
                raise InputError(
                    f"candidates.{name}={number} exceeds the {n_items} items of the catalog: set candidates.{name}="
                    f"{n_items} or less"
                )
        if self.search == "exact":
            items, scores = fitted.rank(query_rows, self.n, exclude_known)
        else:
            index = Index(fitted.model, fitted.params, lists=self.lists, probes=self.probes)
            items = index.search(query_rows, self.n, exclude_known)
            exact = fitted.rank(query_rows, self.n, exclude_known)[0]
            sources, _ = sources_of(fitted.model, query_rows, fitted.fallback)
            if sources is not None:  # the model has no vectors of users it does not know
                items = np.where(np.asarray(sources.by_model)[:, None], items, exact)
            statistics["recall of faiss against exact"] = overlap(items, exact)
        item_lists = [items]
        if self.popular:
            item_lists.append(self._popular(query_rows, known, n_items, exclude_known))
        if self.category:
            if not mixes.shape[1]:
                raise InputError("candidates.category needs item categories: set items.category to their column")
            item_lists.append(self._of_category(query_rows, known, own, mixes, exclude_known))
        if self.search == "exact" and len(item_lists) == 1:
            return items, scores, statistics
        merged = union(item_lists)
        statistics["mean candidates per user"] = float((merged >= 0).sum(axis=1).mean())
        scores = fitted.score(query_rows, merged)
        order = np.argsort(-scores, axis=1, kind="stable")
        return np.take_along_axis(merged, order, 1), np.take_along_axis(scores, order, 1), statistics

    def _counts(self, known: Interactions) -> np.ndarray:
        rows = targets(known)
        if self.window_days is not None:
            if rows.time is None:
                raise InputError(
                    "candidates.window_days needs data with times: set it to null to count all interactions"
                )
            rows = rows.take(rows.time > rows.time.max() - self.window_days * DAY)
        return np.bincount(rows.item, minlength=rows.n_items).astype(np.float32)

    def _popular(self, query_rows: QueryRows, known: Interactions, n_items: int, exclude_known: bool) -> np.ndarray:
        popular = Fitted(Popularity(n_items=n_items), {"params": {"count": jnp.asarray(self._counts(known))}})
        return popular.rank(query_rows, self.popular, exclude_known)[0]

    def _of_category(
        self, query_rows: QueryRows, known: Interactions, own: sparse.csr_array, mixes: Mixes, exclude_known: bool
    ) -> np.ndarray:
        n = np.diff(own.indptr)
        row, place = np.repeat(np.arange(len(n)), n), np.arange(own.nnz) - np.repeat(own.indptr[:-1], n)
        user = query_rows.users[row]
        codes = np.zeros((len(known.user_ids), max(1, int(n.max(initial=0)))), np.int32)
        shares = np.zeros(codes.shape, np.float32)
        codes[user, place], shares[user, place] = own.indices + 1, own.data
        popular = PopularOfCategories(
            n_users=codes.shape[0],
            most_of_user=codes.shape[1],
            n_items=mixes.shape[0],
            most_of_item=mixes.codes.shape[1],
            n_categories=mixes.n_categories,
        )
        params = {"own": codes, "shares": shares, "codes": mixes.codes, "counts": self._counts(known)}
        return Fitted(popular, {"params": params}).rank(query_rows, self.category, exclude_known)[0]


class PopularOfCategories(Model):
    """Popularity weighted by the user's shares of the item's categories; categories are codes, 0 is none."""

    n_users: int
    most_of_user: int
    n_items: int
    most_of_item: int
    n_categories: int

    def setup(self) -> None:
        """Declare the constant parameters."""
        zeros, of_user = nn.initializers.zeros, (self.n_users, self.most_of_user)
        self.own = self.param("own", zeros, of_user, jnp.int32)
        self.shares = self.param("shares", zeros, of_user)
        self.codes = self.param("codes", zeros, (self.n_items, self.most_of_item), jnp.int32)
        self.counts = self.param("counts", zeros, (self.n_items,))

    def score_catalog(self, query: Query) -> Float[Array, "B I"]:
        """Return the mean share of an item's categories in the user's history, times its interaction count."""
        own, shares = self.own[query.user], self.shares[query.user]
        rows = jnp.arange(len(own))[:, None]
        of_category = jnp.zeros((len(own), self.n_categories + 1)).at[rows, own].set(shares)

        def add(total: Array, code: Array) -> tuple[Array, None]:
            return total + of_category[:, code], None

        total, _ = jax.lax.scan(add, jnp.zeros((len(own), self.n_items)), self.codes.T)
        n = jnp.maximum((self.codes > 0).sum(axis=1, dtype=jnp.float32), 1.0)
        return total * (self.counts / n)[None, :]


def union(sources: list[np.ndarray]) -> np.ndarray:
    """Merge the items of all sources per row [R, C], deduplicated in order of first occurrence, padded with -1."""
    items = np.concatenate(sources, axis=1)
    order = np.argsort(items, axis=1, kind="stable")
    ordered = np.take_along_axis(items, order, 1)
    repeated = np.zeros(items.shape, bool)
    np.put_along_axis(repeated, order[:, 1:], ordered[:, 1:] == ordered[:, :-1], 1)
    items = np.where(repeated, -1, items)
    items = np.take_along_axis(items, np.argsort(items < 0, axis=1, kind="stable"), 1)
    return items[:, : max(1, int((items >= 0).sum(axis=1).max()))]


def overlap(found: np.ndarray, exact: np.ndarray) -> float:
    """Return the recall of `found` against the exact lists, over all rows."""
    wide = max(int(found.max()), int(exact.max())) + 1
    row = np.arange(len(exact))[:, None] * np.int64(wide)
    return float(np.isin((exact + row)[exact >= 0], (found + row)[found >= 0]).mean())
