"""Categories of histories and lists, for metrics of categories such as `calibration_error`."""

from itertools import pairwise
from typing import NamedTuple
from weakref import WeakKeyDictionary

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
from jaxtyping import Array, Float, Int

from jaxrec.data.interactions import Interactions
from jaxrec.data.item_categories import ItemCategories, item_categories
from jaxrec.data.item_labels import category_column
from jaxrec.errors import InputError
from jaxrec.ranking import QueryRows

ENTRIES = 1 << 22  # entries of histories that are counted at a time
ROWS = 4096  # lists that are compared with histories at a time


class HistoryCategories(NamedTuple):
    """Categories of the items, and the distribution of the categories of each row's history.

    Attributes:
        of_items: codes of each item from 1, padded with 0
        codes: codes of the categories of each history, padded with 0
        shares: their shares in the history, which sum to 1; 0 for a history without categories
    """

    of_items: Int[Array, "I L"]
    codes: Int[Array, "R C"]
    shares: Float[Array, "R C"]

    def of_lists(self, items: Int[Array, "R K"]) -> Float[Array, "R C"]:
        """Shares of the history's categories in a list: means over its items with a category; NaN without any."""

        def mix(row: tuple[Int[Array, "K"], Int[Array, "C"]]) -> Float[Array, "C"]:
            listed, own = row
            codes = jnp.where((listed >= 0)[:, None], self.of_items[listed], 0)
            n = (codes > 0).sum(axis=1, dtype=jnp.float32)
            share = jnp.where(n > 0, 1 / jnp.maximum(n, 1), 0.0)
            is_same = (codes[None, :, :] == own[:, None, None]) & (own > 0)[:, None, None]
            total = jnp.where(is_same, share[None, :, None], 0.0).sum(axis=(1, 2))
            n_known = (n > 0).sum(dtype=jnp.float32)
            return total / jnp.where(n_known > 0, n_known, jnp.nan)

        return jax.lax.map(mix, (items, self.codes), batch_size=ROWS)


def history_categories(categories: ItemCategories, queries: QueryRows) -> HistoryCategories:
    """Count the categories of the history of each row."""
    n = queries.end - queries.start
    ends = np.cumsum(n)
    bounds = np.unique([0, *np.searchsorted(ends, np.arange(ENTRIES, ends[-1], ENTRIES)), len(n)])
    codes: list[np.ndarray] = []
    shares: list[np.ndarray] = []
    for first, last in pairwise(bounds.tolist()):
        offsets = np.concatenate([[0], np.cumsum(n[first:last])])
        places = np.arange(offsets[-1]) + np.repeat(queries.start[first:last] - offsets[:-1], n[first:last])
        mixes = categories.mixes(offsets, queries.known.items[places])
        width = np.diff(mixes.indptr)
        row = np.repeat(np.arange(last - first), width)
        place = np.arange(len(row)) - mixes.indptr[row]
        for parts, values in ((codes, mixes.indices + 1), (shares, mixes.data)):
            part = np.zeros((last - first, max(1, width.max(initial=0))), values.dtype)
            part[row, place] = values
            parts.append(part)
    of_items = jnp.asarray(categories.codes, jnp.int32)
    return HistoryCategories(
        of_items, jnp.asarray(_stacked(codes), jnp.int32), jnp.asarray(_stacked(shares), jnp.float32)
    )


def _stacked(parts: list[np.ndarray]) -> np.ndarray:
    """Return rows of several widths as one array, padded with 0."""
    width = max(part.shape[1] for part in parts)
    return np.concatenate([np.pad(part, ((0, 0), (0, width - part.shape[1]))) for part in parts])


def has_categories(known: Interactions, column: str | None) -> bool:
    """Return whether the items have categories; see `categories_of`."""
    return _found_in(known, column) is not None


def categories_of(known: Interactions, column: str | None) -> ItemCategories:
    """Return the categories of the items.

    Args:
        known: known interactions, with the item features.
        column: column of the item features; None: the first with a usual name, such as genres.

    Raises:
        InputError: there is no such column, or it has no categories.
    """
    if (found := _found_in(known, column)) is None:
        features = known.item_features
        available = "none" if features is None else ", ".join(map(str, features))
        raise InputError(
            "metrics of categories, such as calibration_error, need a column of categories in the item features of "
            f"{known.name}: set eval.category to one of these: {available}; or leave them out of eval.metrics and "
            "eval.test_metrics"
        )
    return found


def _found_in(known: Interactions, column: str | None) -> ItemCategories | None:
    found = _found.setdefault(known, {})
    if column not in found:
        found[column] = _read(known, column)
    return found[column]


_found: WeakKeyDictionary[Interactions, dict[str | None, ItemCategories | None]] = WeakKeyDictionary()


def _read(known: Interactions, column: str | None) -> ItemCategories | None:
    frame, fitted = known.item_features, np.unique(known.item)
    if column is not None:
        if frame is None or column not in frame:
            available = "none" if frame is None else ", ".join(map(str, frame))
            raise InputError(f"eval.category={column}: no such column in the item features; available: {available}")
        return item_categories(frame[column], fitted, "eval.category")
    usual = None if frame is None else category_column(frame)
    if usual is None or pd.api.types.is_numeric_dtype(usual):
        return None
    try:
        return item_categories(usual, fitted, "eval.category")
    except InputError:  # no categories, e.g. free text
        return None
