"""The first stage: from the whole catalog to some candidates a user, of one source or of several."""

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
    """Whom the later stages choose from: sources merged, each item once; what a user has is left out.

    n:           of the model's own ranking of the whole catalog
    search:      how: `exact`, by blocks; `faiss`, an inverted index of item vectors (the extra `ann`), with its recall
                 against exact said
    lists, probes: of `faiss`: into how many lists items are dealt, and how many of them are searched
    popular:     so many of the most popular items besides
    window_days: they are counted in so many days before the newest interaction known; None: in all of it
    category:    so many of the most popular items of the categories of the user's history, by their shares

    The model scores all of them alike, whatever their source.
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
        asked: QueryRows,
        known: Interactions,
        own: sparse.csr_array,
        mixes: Mixes,
        exclude_known: bool = True,
    ) -> tuple[np.ndarray, np.ndarray, dict[str, float]]:
        """Items and the model's scores [R, C], best first, -1 and -inf behind the last; and what there is to say.

        own: the mix of categories of each row's history; mixes: of each item, [I, G]
        """
        n_items, said = mixes.shape[0], {}
        if (most := max(self.n, self.popular, self.category)) > n_items:
            raise InputError(f"candidates: {most} of one source are more than the {n_items} items of the catalog")
        if self.search == "exact":
            items, scores = fitted.rank(asked, self.n, exclude_known)
        else:
            index = Index(fitted.model, fitted.params, lists=self.lists, probes=self.probes)
            items = index.search(asked, self.n, exclude_known)
            exact = fitted.rank(asked, self.n, exclude_known)[0]
            sources, _ = sources_of(fitted.model, asked, fitted.fallback)
            if sources is not None:  # vectors say nothing of users whom the model does not know
                items = np.where(np.asarray(sources.own)[:, None], items, exact)
            said["recall of faiss against exact"] = overlap(items, exact)
        found = [items]
        if self.popular:
            found.append(self._popular(asked, known, n_items, exclude_known))
        if self.category:
            if not mixes.shape[1]:
                raise InputError("candidates.category needs categories: name their column in items.category")
            found.append(self._of_category(asked, known, own, mixes, exclude_known))
        if self.search == "exact" and len(found) == 1:
            return items, scores, said
        merged = union(found)
        said["candidates of a user in the mean"] = float((merged >= 0).sum(axis=1).mean())
        scores = fitted.score(asked, merged)
        order = np.argsort(-scores, axis=1, kind="stable")
        return np.take_along_axis(merged, order, 1), np.take_along_axis(scores, order, 1), said

    def _counts(self, known: Interactions) -> np.ndarray:
        rows = targets(known)
        if self.window_days is not None:
            if rows.time is None:
                raise InputError("candidates.window_days needs data with times; leave it null to count everything")
            rows = rows.take(rows.time > rows.time.max() - self.window_days * DAY)
        return np.bincount(rows.item, minlength=rows.n_items).astype(np.float32)

    def _popular(self, asked: QueryRows, known: Interactions, n_items: int, exclude_known: bool) -> np.ndarray:
        popular = Fitted(Popularity(n_items=n_items), {"params": {"count": jnp.asarray(self._counts(known))}})
        return popular.rank(asked, self.popular, exclude_known)[0]

    def _of_category(
        self, asked: QueryRows, known: Interactions, own: sparse.csr_array, mixes: Mixes, exclude_known: bool
    ) -> np.ndarray:
        n = np.diff(own.indptr)
        row, place = np.repeat(np.arange(len(n)), n), np.arange(own.nnz) - np.repeat(own.indptr[:-1], n)
        user = asked.users[row]
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
        return Fitted(popular, {"params": params}).rank(asked, self.category, exclude_known)[0]


class PopularOfCategories(Model):
    """Popularity of items weighted by the user's shares in their categories; categories are codes, 0 is none."""

    n_users: int
    most_of_user: int
    n_items: int
    most_of_item: int
    n_categories: int

    def setup(self) -> None:
        """Nothing is learned."""
        zeros, of_user = nn.initializers.zeros, (self.n_users, self.most_of_user)
        self.own = self.param("own", zeros, of_user, jnp.int32)
        self.shares = self.param("shares", zeros, of_user)
        self.codes = self.param("codes", zeros, (self.n_items, self.most_of_item), jnp.int32)
        self.counts = self.param("counts", zeros, (self.n_items,))

    def score_catalog(self, query: Query) -> Float[Array, "B I"]:
        """The mean share of an item's categories in the user's history, times how often the item was chosen."""
        own, shares = self.own[query.user], self.shares[query.user]
        rows = jnp.arange(len(own))[:, None]
        of_category = jnp.zeros((len(own), self.n_categories + 1)).at[rows, own].set(shares)

        def add(total: Array, code: Array) -> tuple[Array, None]:
            return total + of_category[:, code], None

        total, _ = jax.lax.scan(add, jnp.zeros((len(own), self.n_items)), self.codes.T)
        n = jnp.maximum((self.codes > 0).sum(axis=1, dtype=jnp.float32), 1.0)
        return total * (self.counts / n)[None, :]


def union(sources: list[np.ndarray]) -> np.ndarray:
    """Each row's items of all sources, [R, C], each once and where it stood first; -1 behind the last."""
    items = np.concatenate(sources, axis=1)
    order = np.argsort(items, axis=1, kind="stable")
    ordered = np.take_along_axis(items, order, 1)
    repeated = np.zeros(items.shape, bool)
    np.put_along_axis(repeated, order[:, 1:], ordered[:, 1:] == ordered[:, :-1], 1)
    items = np.where(repeated, -1, items)
    items = np.take_along_axis(items, np.argsort(items < 0, axis=1, kind="stable"), 1)
    return items[:, : max(1, int((items >= 0).sum(axis=1).max()))]


def overlap(found: np.ndarray, exact: np.ndarray) -> float:
    """The share of the exact lists' items that were found, all rows together."""
    wide = max(int(found.max()), int(exact.max())) + 1
    row = np.arange(len(exact))[:, None] * np.int64(wide)
    return float(np.isin((exact + row)[exact >= 0], (found + row)[found >= 0]).mean())
