"""Item titles and categories for display and grouping, stored with a run.

Taken from the first item feature whose name, ignoring case, is in `TITLE_COLUMNS` or `CATEGORY_COLUMNS`.
"""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import pandas as pd

TITLE_COLUMNS = ("title", "name", "product_name", "item_name", "description")
CATEGORY_COLUMNS = ("genres", "genre", "categories", "category", "department", "product_category", "cluster")
MAX_CHARACTERS = 100  # maximum number of characters of a title or category


class Categories(NamedTuple):
    """Categories of items in CSR form: item i has the categories `names[codes[offsets[i] : offsets[i + 1]]]`.

    Attributes:
        names: str [C], in alphabetical order.
        offsets: int64 [I + 1].
        codes: int32, each once per item; none for items without a category.
    """

    names: np.ndarray
    offsets: np.ndarray
    codes: np.ndarray

    def of(self, item: int) -> list[str]:
        """Return the category names of an item."""
        return self.names[self.codes[self.offsets[item] : self.offsets[item + 1]]].tolist()


class Labels(NamedTuple):
    """Titles, str [I], empty where missing, and categories; None if the data has no such column."""

    titles: np.ndarray | None = None
    categories: Categories | None = None


def labels(item_features: pd.DataFrame | None) -> Labels:
    """Return the labels of a frame with one row per item, such as `Interactions.item_features`."""
    if item_features is None:
        return Labels()
    title, category = _column(item_features, TITLE_COLUMNS), category_column(item_features)
    return Labels(
        None if title is None else _text(title).fillna("").to_numpy(object),
        None if category is None else _categories(category),
    )


def category_column(item_features: pd.DataFrame) -> pd.Series | None:
    """Return the first column of categories by its name."""
    return _column(item_features, CATEGORY_COLUMNS)


def labels_to_store(of: Labels) -> dict[str, np.ndarray]:
    """Return labels as name → array; labels that are None are omitted."""
    values = {} if of.titles is None else {"titles": of.titles}
    parts = {} if of.categories is None else of.categories._asdict()
    return values | {f"categories_{name}": part for name, part in parts.items()}


def restore_labels(values: Mapping[str, object]) -> Labels:
    """Return the labels that `stored` serialized."""
    parts = {name: values.get(f"categories_{name}") for name in Categories._fields}
    categories = None if parts["names"] is None else Categories(**{name: np.asarray(p) for name, p in parts.items()})
    titles = values.get("titles")
    return Labels(None if titles is None else np.asarray(titles), categories)


def _column(frame: pd.DataFrame, names: tuple[str, ...]) -> pd.Series | None:
    found = {str(column).lower(): column for column in reversed(frame.columns)}
    return next((frame[found[name]] for name in names if name in found and frame[found[name]].notna().any()), None)


def _categories(column: pd.Series) -> Categories:
    entries = _text(column.reset_index(drop=True).explode()).dropna()
    entries = entries[~pd.DataFrame({"row": entries.index, "text": entries.to_numpy()}).duplicated().to_numpy()]
    codes, names = pd.factorize(entries, sort=True)
    counts = np.bincount(entries.index.to_numpy(np.int64), minlength=len(column))
    return Categories(np.asarray(names, object), np.concatenate([[0], np.cumsum(counts)]), codes.astype(np.int32))


def _text(column: pd.Series) -> pd.Series:
    """Return text of at most `MAX_CHARACTERS` characters, missing where missing or blank."""
    text = column.astype(object).where(column.notna()).map(str, na_action="ignore").astype(object)
    text = text.map(lambda value: " ".join(value.split())[:MAX_CHARACTERS], na_action="ignore")
    return text.where(text != "")
