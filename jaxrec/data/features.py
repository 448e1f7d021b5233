"""Encoded features of users or items: category codes, bags of codes, and standardized numbers.

The dtype of a column determines its kind:

category, bool            categorical
text                      categorical, unless it is free text: more than half of the non-missing values occur once
lists, one per row        a bag: several values, unordered, each counted once
lists of decimal numbers  a dense vector, e.g. an embedding: its entries are numbers with one scale; all of one length
numbers, dates            numerical (dates as days since 1970); codes, e.g. of occupations, need `astype("category")`

Vocabularies, means and standard deviations are fitted on the rows of ids in train and applied to all rows.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

import numpy as np
import pandas as pd
from pydantic import PositiveInt

from jaxrec.data import dense_features
from jaxrec.data.dense_features import DenseScale
from jaxrec.data.feature_values import as_floats, as_text, is_lists, is_numerical, list_entries
from jaxrec.errors import InputError

FREE_TEXT = 0.5  # a text column is free text if a larger share of its values occurs only once


@dataclass(frozen=True, eq=False)
class Vocabulary:
    """Sorted names of a categorical column: the name at i has code i + 1; code 0 is missing, rare or unseen."""

    column: str
    names: pd.Index

    @property
    def size(self) -> int:
        """Number of codes including 0, i.e. rows of an embedding table."""
        return len(self.names) + 1

    def codes(self, text: pd.Series) -> np.ndarray:
        """Return the code of each name, int32 [N]."""
        return (self.names.get_indexer(pd.Index(text)) + 1).astype(np.int32)


@dataclass(frozen=True)
class Scale:
    """Mean and standard deviation of a numerical column over its non-missing values.

    Attributes:
        flagged: whether a 0/1 column marks missing values.
    """

    column: str
    mean: float
    deviation: float
    flagged: bool


@dataclass(frozen=True, eq=False)
class Schema:
    """Columns of `Features`, in the order of the frame it was fitted on.

    Attributes:
        left_out: excluded columns and the reason for each.
        bag_length: L, the length of the longest bag, at most the `max_bag` it was fitted with.
        max_text: number of characters at which names are truncated.
        dense: columns of vectors.
    """

    categories: tuple[Vocabulary, ...]
    bags: tuple[Vocabulary, ...]
    numbers: tuple[Scale, ...]
    left_out: Mapping[str, str]
    bag_length: int
    max_text: int
    dense: tuple[DenseScale, ...] = ()

    @property
    def number_names(self) -> tuple[str, ...]:
        """Column names of `Features.numbers`: the numbers, the missing flags, then the entries of vectors."""
        flags = (f"{scale.column} is missing" for scale in self.numbers if scale.flagged)
        return (*(scale.column for scale in self.numbers), *flags, *(n for scale in self.dense for n in scale.names))

    def encode(self, frame: pd.DataFrame) -> "Features":
        """Encode a frame with the same columns; names outside the vocabulary get code 0.

        Raises:
            InputError: a column of the schema is missing from the frame.
        """
        frame = frame.rename(columns=str)
        columns = [part.column for parts in (self.categories, self.bags) for part in parts]
        columns += [scale.column for scale in self.numbers] + [scale.column for scale in self.dense]
        if missing := [column for column in columns if column not in frame]:
            raise InputError(f"features lack the column {missing[0]!r}: the columns are {', '.join(map(repr, frame))}")
        frame = frame.reset_index(drop=True)
        categories = np.zeros((len(frame), len(self.categories)), np.int32)
        for place, vocabulary in enumerate(self.categories):
            categories[:, place] = vocabulary.codes(as_text(frame[vocabulary.column], self.max_text))
        bags, notes = self._encode_bags(frame)
        return Features(categories, bags, self._encode_numbers(frame), self, notes)

    def _encode_bags(self, frame: pd.DataFrame) -> tuple[np.ndarray, dict[str, int]]:
        bags = np.zeros((len(frame), len(self.bags), self.bag_length), np.int32)
        notes = {}
        for place, vocabulary in enumerate(self.bags):
            row, text = list_entries(frame[vocabulary.column], self.max_text)
            row, codes = _distinct(row, vocabulary.codes(text))
            position = np.arange(len(row)) - np.searchsorted(row, row)
            kept = position < self.bag_length
            bags[row[kept], place, position[kept]] = codes[kept]
            if cut := len(np.unique(row[~kept])):
                notes[f"rows with more than {self.bag_length} values of {vocabulary.column}, the first kept"] = cut
        return bags, notes

    def _encode_numbers(self, frame: pd.DataFrame) -> np.ndarray:
        numbers = np.zeros((len(frame), len(self.numbers)))
        for place, scale in enumerate(self.numbers):
            numbers[:, place] = (as_floats(frame[scale.column]) - scale.mean) / scale.deviation
        flags = np.isnan(numbers[:, [scale.flagged for scale in self.numbers]])
        limit = np.finfo(np.float32).max  # a value may lie far outside the fitted range
        vectors = [scale.encode(frame[scale.column]).clip(-limit, limit) for scale in self.dense]
        return np.concatenate([np.nan_to_num(numbers).clip(-limit, limit), flags, *vectors], axis=1).astype(np.float32)


@dataclass(frozen=True, eq=False)
class Features:
    """Encoded features, one row per id.

    Attributes:
        categories: int32 [n, C], codes of `schema.categories`.
        bags: int32 [n, G, L], codes of `schema.bags`, each at most once, right-padded with 0.
        numbers: float32 [n, F], columns `schema.number_names`: mean 0 and standard deviation 1 over the fitted rows,
            0 where missing.
        schema: the fitted vocabularies and scales.
        notes: truncations, as reason → number of rows.
    """

    categories: np.ndarray
    bags: np.ndarray
    numbers: np.ndarray
    schema: Schema
    notes: Mapping[str, int] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.categories)

    @property
    def sizes(self) -> "Sizes":
        """Vocabulary sizes and the number of numerical columns."""
        schema = self.schema
        return Sizes(
            tuple(c.size for c in schema.categories), tuple(b.size for b in schema.bags), self.numbers.shape[1]
        )


class Sizes(NamedTuple):
    """Feature dimensions that a model's embeddings need: codes per category, codes per bag, numerical columns."""

    categories: tuple[int, ...] = ()
    bags: tuple[int, ...] = ()
    numbers: int = 0


@dataclass(frozen=True, eq=False)
class Encoded:
    """Lazily encoded features of users and items; vocabularies are fitted on train.

    Attributes:
        users, items: feature frames as in `Interactions`, or None.
        seen_users, seen_items: positions of the ids that occur in train.
    """

    users: pd.DataFrame | None
    items: pd.DataFrame | None
    seen_users: np.ndarray
    seen_items: np.ndarray

    @classmethod
    def holding(cls, of_users: Features | None, of_items: Features | None) -> "Encoded":
        """Wrap features that are already encoded."""
        encoded = cls(None, None, np.empty(0, np.int64), np.empty(0, np.int64))
        encoded.__dict__.update(of_users=of_users, of_items=of_items)  # the storage of cached properties
        return encoded

    @cached_property
    def of_users(self) -> Features | None:
        """Encoded user features; None if the data has none."""
        return None if self.users is None else features(self.users, self.seen_users)

    @cached_property
    def of_items(self) -> Features | None:
        """Encoded item features; None if the data has none."""
        return None if self.items is None else features(self.items, self.seen_items)


def features(
    frame: pd.DataFrame,
    fitted: np.ndarray | None = None,
    *,
    min_count: PositiveInt = 1,
    max_bag: PositiveInt = 50,
    max_text: PositiveInt = 100,
) -> Features:
    """Fit vocabularies and scales on some rows of a feature frame and encode all rows.

    Args:
        frame: one row per id, such as `Interactions.user_features` or `.item_features`.
        fitted: rows (positions or a mask) to fit on, such as `np.unique(train.item)`; None: all.
        min_count: names with fewer rows are unknown, code 0.
        max_bag: number of values kept of each list, the first ones.
        max_text: number of characters kept of a name.

    Returns:
        Features of all rows; a frame without columns results in arrays without columns.

    Raises:
        InputError: a column occurs twice, or its values cannot be encoded.
    """
    frame = frame.rename(columns=str)
    if repeated := list(frame.columns[frame.columns.duplicated()]):
        raise InputError(f"the features have two columns {repeated[0]!r}: rename or drop one")
    seen = (frame if fitted is None else frame.iloc[fitted]).reset_index(drop=True)
    return _fit(seen, min_count, max_bag, max_text).encode(frame)


def _fit(frame: pd.DataFrame, min_count: int, max_bag: int, max_text: int) -> Schema:
    """Fit vocabularies and scales of a frame's columns; record why columns are left out."""
    categories, bags, numbers, dense = [], [], [], []
    left_out: dict[str, str] = {}
    longest = 0
    for name, column in frame.items():
        name = str(name)  # mypy infers Hashable
        if not column.notna().any():
            left_out[name] = "no known value"
        elif is_lists(column) and dense_features.is_dense(column):
            vectors = dense_features.fitted(name, column)
            if vectors.deviation > 0:
                dense.append(vectors)
            else:
                left_out[name] = "one value only"
        elif is_lists(column):
            row, text = list_entries(column, max_text)
            bag = _vocabulary(name, text[~pd.DataFrame({"row": row, "text": text}).duplicated()], min_count)
            row, codes = _distinct(row, bag.codes(text))
            if len(codes):
                bags.append(bag)
                longest = max(longest, int(np.bincount(row).max()))
            else:
                left_out[name] = f"no value has {min_count} rows"
        elif is_numerical(column):
            values = as_floats(column)
            scale = _scale(name, values)
            if scale.deviation > 0:
                numbers.append(scale)
            else:
                left_out[name] = "one value only"
        else:
            text = as_text(column, max_text)
            category = _vocabulary(name, text, min_count)
            once = int((text.value_counts() == 1).sum())
            if not isinstance(column.dtype, pd.CategoricalDtype) and once > FREE_TEXT * (known := int(text.count())):
                left_out[name] = f"free text: {once:,} of {known:,} values occur once"
            elif category.size == 1:
                left_out[name] = f"no value has {min_count} rows"
            elif category.size == 2 and category.codes(text).all():
                left_out[name] = "one value only"
            else:
                categories.append(category)
    return Schema(
        tuple(categories), tuple(bags), tuple(numbers), left_out, min(longest, max_bag), max_text, tuple(dense)
    )


def _distinct(row: np.ndarray, codes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the known codes, each once per row."""
    pair = row.astype(np.int64) * (int(codes.max(initial=0)) + 1) + codes
    kept = (codes > 0) & ~pd.Series(pair).duplicated().to_numpy()
    return row[kept], codes[kept]


def _vocabulary(name: str, text: pd.Series, min_count: int) -> Vocabulary:
    """Return the vocabulary of names that occur at least `min_count` times."""
    counts = text.value_counts()
    return Vocabulary(name, pd.Index(counts.index[counts >= min_count]).sort_values())


def _scale(name: str, values: np.ndarray) -> Scale:
    known = values[~np.isnan(values)]
    if not len(known) or known.min() == known.max():  # rounding could make the standard deviation slightly above 0
        return Scale(name, 0.0, 0.0, flagged=False)
    unit = np.abs(known).max()  # avoids overflow in the squares of large numbers
    return Scale(name, unit * (known / unit).mean(), unit * (known / unit).std(), flagged=len(known) < len(values))
