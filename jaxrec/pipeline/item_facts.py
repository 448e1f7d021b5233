"""Item properties for re-ranking and its metrics: similarity, categories, groups, ages, availability."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pandas as pd
from pydantic import PositiveFloat
from scipy import sparse

from jaxrec.data.id_checks import few_matched
from jaxrec.data.ids import as_array, exact, texts
from jaxrec.data.interactions import Interactions, aligned, targets
from jaxrec.data.item_age import ages
from jaxrec.data.item_categories import ItemCategories, item_categories
from jaxrec.data.reading.feature_files import Columns, feature_columns
from jaxrec.data.reading.tables import place, plain
from jaxrec.data.reading.times import DAY
from jaxrec.data.splits.assembly import HeldOut
from jaxrec.errors import InputError
from jaxrec.evaluation.groups import item_groups
from jaxrec.ranking import QueryRows
from jaxrec.recommend.item_similarity import By, Vectors, item_similarity
from jaxrec.recommend.recommender import Recommender
from jaxrec.rerank.shortlist import Items, Mixes


@dataclass(frozen=True)
class Facts:
    """Item properties on the device, names of categories and groups, and the number of training users."""

    items: Items
    categories: tuple[str, ...]
    groups: tuple[str, ...]
    n_users: int

    def category_shares(self, query_rows: QueryRows) -> sparse.csr_array:
        """Return the category distribution of the known targets of each row's user [R, G]."""
        assert isinstance(self.items.mixes, Mixes)  # on the host
        categories = ItemCategories(self.categories, np.asarray(self.items.mixes.codes))
        return categories.mixes(*query_rows.known.masked(query_rows.users))

    def mean_popularity(self, query_rows: QueryRows) -> np.ndarray:
        """Return the mean interaction count of the items of each row's history [R]; NaN for an empty history."""
        histories = _histories(query_rows, len(self.items.counts))
        n = np.asarray(histories.sum(axis=1), np.float64)
        total = histories @ np.asarray(self.items.counts, np.float64)
        return np.divide(total, n, out=np.full(len(n), np.nan), where=n > 0).astype(np.float32)


@dataclass(frozen=True)
class ItemFacts:
    """Sources of the item properties; columns come from `file` and from the item features of the run's data.

    Args:
        file: a file with one row per item and its id in column item_id; None: no file.
        category: a column of categories or multi-valued categories; numbers are binned into quartiles. None: no
            categories.
        vectors: item similarity: `category` (shared categories, of `category` or else of the run), `model` (its item
            vectors) or `interactions` (common users). None: the first of these that is available, as on the server.
        group: groups of the exposure metrics: `popularity` (head and tail, see `evaluation.groups`), or a column.
        target: target share of exposure by group name; None: the group's share of the training interactions.
        born: release date: a column of dates, or of numbers such as years; None: the first known interaction, if the
            data has times.
        half_life: half-life of freshness, in days or in the unit of `born`.
        available: a boolean column (yes/no, true/false, 1/0); None: all items are available.
        without: categories that are never recommended.
    """

    file: str | None = None
    category: str | None = None
    vectors: By | None = None
    group: str = "popularity"
    target: Mapping[str, float] | None = None
    born: str | None = None
    half_life: PositiveFloat = 30.0
    available: str | None = None
    without: tuple[str, ...] = ()

    def __call__(self, held: HeldOut, train: Interactions, recommender: Recommender) -> Facts:
        """Return the item properties at the time of `held`; raise InputError for a missing or unusable column."""
        positives = targets(train)
        counts = np.bincount(positives.item, minlength=train.n_items).astype(np.float32)
        seen, features = np.flatnonzero(counts), self._features(train)
        categories, mixes = self._mixes(features, seen, train.n_items)
        groups, names = self._groups(train, features, seen)
        available = self._available(features, train.n_items)
        if self.without and self.category is None:
            raise InputError(f"items.without={list(self.without)} needs categories: set items.category to their column")
        if unknown := [name for name in self.without if name not in categories]:
            raise InputError(
                f"items.without={unknown[0]}: not a category of items.category={self.category}; "
                f"available: {', '.join(categories) or 'none'}"
            )
        available = available & ~np.isin(mixes.codes, [1 + categories.index(name) for name in self.without]).any(axis=1)
        items = Items(
            vectors=self._vectors(targets(held.known), mixes if self.category else None, recommender),
            mixes=mixes,
            groups=jnp.asarray(groups, jnp.int32),
            target=jnp.asarray(self._target(names, np.bincount(groups, counts, len(names))), jnp.float32),
            counts=jnp.asarray(counts),
            ages=jnp.asarray(self._ages(held.known, features, seen)),
            half_life=jnp.float32(self.half_life),
            available=jnp.asarray(available),
        )
        return Facts(items, categories, names, len(np.unique(positives.user)))

    def _features(self, train: Interactions) -> pd.DataFrame | None:
        """Return the item features of the data, overridden by columns of the file."""
        own = train.item_features
        if self.file is None:
            return own
        ids, columns, _ = feature_columns(Path(self.file), "items.file", "item_id", Columns())
        path = Path(self.file)
        item_ids = as_array(exact(plain(ids), f"items.file={path}, column 'item_id'", partial(place, path)))
        added = aligned(columns.assign(item_id=item_ids), "item_id", train.item_ids)
        few_matched(texts(item_ids), texts(train.item_ids), "item", f"items.file={path}", train.name)
        assert added is not None
        return added if own is None else pd.concat([own.drop(columns=added.columns, errors="ignore"), added], axis=1)

    def _mixes(self, frame: pd.DataFrame | None, seen: np.ndarray, n_items: int) -> tuple[tuple[str, ...], Mixes]:
        if self.category is None:
            return (), Mixes(jnp.zeros((n_items, 0), jnp.int32), 0)
        column = _column(frame, self.category, "items.category")
        names, codes = item_categories(column, seen, "items.category")
        return names, Mixes(jnp.asarray(codes, jnp.int32), len(names))

    def _vectors(self, known: Interactions, mixes: Mixes | None, recommender: Recommender) -> Vectors:
        vectors = item_similarity(recommender, (known.user, known.item), mixes, self.vectors)
        if vectors is None:
            missing = {
                "category": "there are no categories: set items.category=COLUMN, or choose model or interactions",
                "model": "this model has no item vectors; choose interactions or category",
            }
            raise InputError(
                f"items.vectors={self.vectors}: {missing.get(self.vectors or '', 'too few users and items to compare')}"
            )
        return vectors

    def _groups(
        self, train: Interactions, frame: pd.DataFrame | None, seen: np.ndarray
    ) -> tuple[np.ndarray, tuple[str, ...]]:
        if self.group == "popularity":
            return item_groups(train)["tail"].astype(np.int32), ("head", "tail")
        column = _column(frame, self.group, "items.group")
        names, codes = item_categories(column, seen, "items.group")
        if codes.shape[1] > 1:
            raise InputError(f"items.group={self.group}: has several values per item; a group column must have one")
        return codes[:, 0], ("unknown", *names)

    def _target(self, names: tuple[str, ...], counts: np.ndarray) -> np.ndarray:
        if self.target is None:
            return counts / counts.sum()
        if set(self.target) != set(names) - ({"unknown"} - set(self.target)):
            raise InputError(f"items.target has groups {', '.join(self.target)}; expected {', '.join(names)}")
        shares = np.array([self.target.get(name, 0.0) for name in names])
        if (shares < 0).any() or abs(shares.sum() - 1) > 1e-6:
            raise InputError(f"items.target={dict(self.target)}: shares must be nonnegative and sum to 1")
        return shares

    def _ages(self, known: Interactions, frame: pd.DataFrame | None, seen: np.ndarray) -> np.ndarray:
        if self.born is not None:
            born, dates = _release_times(_column(frame, self.born, "items.born"))
            now = np.nanmax(born[seen])
            if dates and known.time is not None:
                now = known.time.max() / DAY
            return (now - born).astype(np.float32)
        first_seen = ages(known)
        return np.full(known.n_items, np.nan, np.float32) if first_seen is None else first_seen

    def _available(self, frame: pd.DataFrame | None, n_items: int) -> np.ndarray:
        if self.available is None:
            return np.ones(n_items, bool)
        column = _column(frame, self.available, "items.available")
        text = column.astype(str).str.lower()
        yes, no = text.isin(["true", "1", "1.0", "yes"]), text.isin(["false", "0", "0.0", "no"])
        if (~(yes | no) & column.notna()).any():
            value = column[~(yes | no) & column.notna()].iloc[0]
            raise InputError(f"items.available={self.available}: {value!r} is not yes/no, true/false or 1/0")
        return yes.to_numpy()


def _column(frame: pd.DataFrame | None, name: str, key: str) -> pd.Series:
    if frame is None or name not in frame:
        available = "none" if frame is None else ", ".join(map(str, frame))
        raise InputError(
            f"{key}={name}: no such column in the item features of the run's data or in items.file; available: "
            f"{available}"
        )
    return frame[name]


def _release_times(column: pd.Series) -> tuple[np.ndarray, bool]:
    """Return numbers unchanged and dates as days since 1970, and whether they are dates."""
    if pd.api.types.is_numeric_dtype(column):
        return column.to_numpy(np.float64, na_value=np.nan), False
    try:
        days = (pd.to_datetime(column, utc=True) - pd.Timestamp(0, tz="UTC")) / pd.Timedelta(days=1)
    except (ValueError, TypeError) as error:
        raise InputError(f"items.born={column.name} has neither numbers nor dates: {error}") from error
    return days.to_numpy(np.float64), True


def _histories(query_rows: QueryRows, n_items: int) -> sparse.csr_array:
    """Return a rows x items matrix that counts the user's known targets, i.e. the masked items."""
    offsets, items = query_rows.known.masked(query_rows.users)
    ones = np.ones(len(items))
    return sparse.csr_array((ones, items, offsets), shape=(len(query_rows.users), n_items))
