"""Categories of items as codes, and the distribution of categories in lists of items."""

from itertools import pairwise
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy import sparse

from jaxrec.data.features import features
from jaxrec.errors import InputError


class ItemCategories(NamedTuple):
    """Categories of items: item i has those of the codes `codes[i]`.

    Attributes:
        names: names of the categories; the name at place c has code c + 1
        codes: int32 [I, L], each at most once per item; 0 is unknown, and padding
    """

    names: tuple[str, ...]
    codes: np.ndarray

    def mixes(self, offsets: np.ndarray, items: np.ndarray) -> sparse.csr_array:
        """Return the category distribution of lists of items, float32 [R, G]: the mean over items with a category.

        Rows sum to 1, or are 0 without such an item.

        Args:
            offsets: bounds of the lists.
            items: items of all lists; an item that occurs twice counts twice.
        """
        listed = sparse.csr_array((np.ones(len(items)), items, offsets), shape=(len(offsets) - 1, len(self.codes)))
        total = sparse.csr_array(listed @ self._shares())
        size = np.asarray(total.sum(axis=1))
        total.data /= np.repeat(size, np.diff(total.indptr))
        return total.astype(np.float32)

    def _shares(self) -> sparse.csr_array:
        """Return the share of each category in each item [I, G]: equal ones, which sum to 1."""
        item, place = np.nonzero(self.codes)
        n = np.bincount(item, minlength=len(self.codes))
        shape = len(self.codes), len(self.names)
        return sparse.csr_array((1 / n[item], (item, self.codes[item, place] - 1)), shape=shape)


def item_categories(column: pd.Series, fitted: np.ndarray, key: str) -> ItemCategories:
    """Return the categories of a column of item features; numbers are binned into quartiles.

    Args:
        column: a column of categories, of lists of categories, or of numbers.
        fitted: items with known interactions; categories of other items alone are unknown.
        key: setting that names the column, for error messages.

    Raises:
        InputError: the column has no categories, e.g. free text.
    """
    if pd.api.types.is_numeric_dtype(column) and not pd.api.types.is_bool_dtype(column):
        column = _quartiles(column, fitted)
    encoded = features(column.to_frame(), fitted)
    if encoded.schema.bags:
        return ItemCategories(tuple(encoded.schema.bags[0].names), encoded.bags[:, 0])
    if encoded.schema.categories:
        return ItemCategories(tuple(encoded.schema.categories[0].names), encoded.categories)
    why = next(iter(encoded.schema.left_out.values()), "numbers")
    raise InputError(f"{key}={column.name} is not a category column: {why}")


def _quartiles(column: pd.Series, fitted: np.ndarray) -> pd.Series:
    """Bin numbers into the quartiles of the fitted items."""
    values = column.to_numpy(np.float64, na_value=np.nan)
    edges = np.unique(np.nanquantile(values[fitted], [0.25, 0.5, 0.75]))
    names = [f"up to {edges[0]:g}", *(f"{a:g} to {b:g}" for a, b in pairwise(edges))]
    names.append(f"above {edges[-1]:g}")
    codes = np.where(np.isnan(values), -1, np.searchsorted(edges, values))
    return pd.Series(pd.Categorical.from_codes(codes.astype(np.int64), pd.Index(names)), name=column.name)
