"""What is known of users or items, as numbers: codes of categories, bags of codes, and standardized numbers.

A frame of features says by its dtypes what its columns are:

category, bool            a category
text                      a category too, unless it is free text: more than half of the known values occur once
lists, one a row          a bag: several values, in any order, each counted once
numbers, dates            a number (dates as days since 1970); codes such as an occupation's need `astype("category")`

Vocabularies, means and deviations are fitted on some rows, those of ids that occur in train, and hold for all others.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from pandas.api import types
from pydantic import PositiveInt

from jaxrec.errors import InputError

FREE_TEXT = 0.5  # a text column with a larger share of values that occur once is no category


@dataclass(frozen=True, eq=False)
class Vocabulary:
    """Names of a column, sorted: the name at i has code i + 1, and code 0 is missing, rare or never seen."""

    column: str
    names: pd.Index

    @property
    def size(self) -> int:
        """How many codes there are, 0 included: rows of an embedding."""
        return len(self.names) + 1

    def codes(self, text: pd.Series) -> np.ndarray:
        """int32 [N], the code of each name."""
        return (self.names.get_indexer(pd.Index(text)) + 1).astype(np.int32)


@dataclass(frozen=True)
class Scale:
    """A number's mean and deviation where it is known; `flagged`: a 0/1 column says where it is not."""

    column: str
    mean: float
    deviation: float
    flagged: bool


@dataclass(frozen=True, eq=False)
class Schema:
    """What the columns of `Features` are, in the order of the frame it was fitted on.

    left_out:   columns that are no features, each with the reason
    bag_length: L, the longest bag of all, at most the limit it was fitted with
    max_text:   characters at which names are cut
    """

    categories: tuple[Vocabulary, ...]
    bags: tuple[Vocabulary, ...]
    numbers: tuple[Scale, ...]
    left_out: Mapping[str, str]
    bag_length: int
    max_text: int

    @property
    def number_names(self) -> tuple[str, ...]:
        """Names of the columns of `Features.numbers`: the numbers, then the flags."""
        flags = (f"{scale.column} is missing" for scale in self.numbers if scale.flagged)
        return (*(scale.column for scale in self.numbers), *flags)

    def encode(self, frame: pd.DataFrame) -> "Features":
        """The rows of another frame with the same columns; names that were not there when it was fitted get code 0."""
        frame = frame.rename(columns=str)
        wanted = [part.column for parts in (self.categories, self.bags) for part in parts]
        wanted += [scale.column for scale in self.numbers]
        if missing := [column for column in wanted if column not in frame]:
            raise InputError(f"features lack the column {missing[0]!r}: there are {', '.join(map(repr, frame))}")
        frame = frame.reset_index(drop=True)
        categories = np.zeros((len(frame), len(self.categories)), np.int32)
        for place, vocabulary in enumerate(self.categories):
            categories[:, place] = vocabulary.codes(_text(frame[vocabulary.column], self.max_text))
        bags, notes = self._encode_bags(frame)
        return Features(categories, bags, self._encode_numbers(frame), self, notes)

    def _encode_bags(self, frame: pd.DataFrame) -> tuple[np.ndarray, dict[str, int]]:
        bags = np.zeros((len(frame), len(self.bags), self.bag_length), np.int32)
        notes = {}
        for place, vocabulary in enumerate(self.bags):
            row, text = _entries(frame[vocabulary.column], self.max_text)
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
            numbers[:, place] = (_floats(frame[scale.column]) - scale.mean) / scale.deviation
        flags = np.isnan(numbers[:, [scale.flagged for scale in self.numbers]])
        limit = np.finfo(np.float32).max  # a row may lie far from all those fitted on
        return np.concatenate([np.nan_to_num(numbers).clip(-limit, limit), flags], axis=1).astype(np.float32)


@dataclass(frozen=True, eq=False)
class Features:
    """One row an id.

    categories: int32 [n, C], codes of `schema.categories`
    bags:       int32 [n, G, L], codes of `schema.bags`, each at most once, padded with 0 on the right
    numbers:    float32 [n, F], `schema.number_names`: mean 0 and deviation 1 over the rows fitted on, missing ones 0
    notes:      what was cut, each a reason and how many rows
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
        """Of the vocabularies and of the numbers."""
        of = self.schema
        return Sizes(tuple(c.size for c in of.categories), tuple(b.size for b in of.bags), self.numbers.shape[1])


class Sizes(NamedTuple):
    """What a model builds its embeddings by: codes of each category and of each bag, and how many numbers there are."""

    categories: tuple[int, ...] = ()
    bags: tuple[int, ...] = ()
    numbers: int = 0


@dataclass(frozen=True, eq=False)
class Encoded:
    """Features of users and of items, encoded when they are first asked for: vocabularies are those of train.

    users, items: frames as in `Interactions`, or None; seen_users, seen_items: positions of those that occur in train
    """

    users: pd.DataFrame | None
    items: pd.DataFrame | None
    seen_users: np.ndarray
    seen_items: np.ndarray

    @classmethod
    def holding(cls, of_users: Features | None, of_items: Features | None) -> "Encoded":
        """Features that are encoded already."""
        encoded = cls(None, None, np.empty(0, np.int64), np.empty(0, np.int64))
        encoded.__dict__.update(of_users=of_users, of_items=of_items)  # where cached properties keep what they found
        return encoded

    @cached_property
    def of_users(self) -> Features | None:
        """None where the data knows nothing of users but their ids."""
        return None if self.users is None else features(self.users, self.seen_users)

    @cached_property
    def of_items(self) -> Features | None:
        """None where the data knows nothing of items but their ids."""
        return None if self.items is None else features(self.items, self.seen_items)


def features(
    frame: pd.DataFrame,
    fitted: np.ndarray | None = None,
    *,
    min_count: PositiveInt = 1,
    max_bag: PositiveInt = 50,
    max_text: PositiveInt = 100,
) -> Features:
    """A frame with one row an id (`Interactions.user_features` or `.item_features`) as features of all its rows.

    fitted:    rows (positions or a mask) to fit vocabularies and scales on, such as `np.unique(train.item)`; None: all
    min_count: names that fewer rows have are unknown, code 0
    max_bag:   values kept of a row's list, the first
    max_text:  characters kept of a name

    A frame without columns gives arrays without columns.
    """
    frame = frame.rename(columns=str)
    if repeated := list(frame.columns[frame.columns.duplicated()]):
        raise InputError(f"features have the column {repeated[0]!r} twice: rename or drop one")
    seen = (frame if fitted is None else frame.iloc[fitted]).reset_index(drop=True)
    return _fit(seen, min_count, max_bag, max_text).encode(frame)


def _fit(frame: pd.DataFrame, min_count: int, max_bag: int, max_text: int) -> Schema:
    """Vocabularies and scales of a frame's columns, and why some are left out."""
    categories, bags, numbers = [], [], []
    left_out: dict[str, str] = {}
    longest = 0
    for name, column in frame.items():
        name = str(name)  # for mypy, which takes it for any label
        if not column.notna().any():
            left_out[name] = "no known value"
        elif _holds_lists(column):
            _refuse_fractions(name, column)
            row, text = _entries(column, max_text)
            bag = _vocabulary(name, text[~pd.DataFrame({"row": row, "text": text}).duplicated()], min_count)
            row, codes = _distinct(row, bag.codes(text))
            if len(codes):
                bags.append(bag)
                longest = max(longest, int(np.bincount(row).max()))
            else:
                left_out[name] = f"no value has {min_count} rows"
        elif _holds_numbers(column):
            values = _floats(column)
            scale = _scale(name, values)
            if scale.deviation > 0:
                numbers.append(scale)
            else:
                left_out[name] = "one value only"
        else:
            text = _text(column, max_text)
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
    return Schema(tuple(categories), tuple(bags), tuple(numbers), left_out, min(longest, max_bag), max_text)


def _holds_lists(column: pd.Series) -> bool:
    known: Any = column[column.notna()]
    return types.is_list_like(known.iloc[0])


def _refuse_fractions(name: str, column: pd.Series) -> None:
    """Raises InputError for lists of numbers with decimals, whose values are no names."""
    entries = column.reset_index(drop=True).explode().dropna().infer_objects()
    if types.is_float_dtype(entries) and (entries != np.rint(entries.astype(np.float64))).any():
        raise InputError(
            f"the feature {name!r} holds lists of decimal numbers, such as embeddings, which are no features yet: "
            "leave it out, or make one column of each number"
        )


def _holds_numbers(column: pd.Series) -> bool:
    if types.is_bool_dtype(column) or isinstance(column.dtype, pd.CategoricalDtype):
        return False
    if types.is_numeric_dtype(column) or types.is_datetime64_any_dtype(column):
        return True
    kind = types.infer_dtype(column, skipna=True)
    return kind in ("integer", "floating", "mixed-integer-float", "decimal", "date", "datetime")


def _text(column: pd.Series, max_text: int) -> pd.Series:
    """Values as text, cut to `max_text` characters; what is missing or empty is missing. 7.0 reads 7."""
    if isinstance(column.dtype, pd.CategoricalDtype):
        names = _text(pd.Series(column.cat.categories), max_text)
        return names.reindex(column.cat.codes).set_axis(column.index)  # -1, a missing one, is no position
    column = column.infer_objects()
    text = column.astype(str)
    if types.is_float_dtype(column):  # as whole numbers with gaps are held
        text = text.str.removesuffix(".0")
    text = text.str.slice(0, max_text)
    return text.where(column.notna() & (text != ""))


def _entries(column: pd.Series, max_text: int) -> tuple[np.ndarray, pd.Series]:
    """The values of all lists, and the row that each is in, ascending."""
    entries = column.reset_index(drop=True).explode()
    return entries.index.to_numpy(), _text(entries, max_text)


def _distinct(row: np.ndarray, codes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Known codes, each once a row."""
    pair = row.astype(np.int64) * (int(codes.max(initial=0)) + 1) + codes
    kept = (codes > 0) & ~pd.Series(pair).duplicated().to_numpy()
    return row[kept], codes[kept]


def _vocabulary(name: str, text: pd.Series, min_count: int) -> Vocabulary:
    """The names that occur often enough."""
    counts = text.value_counts()
    return Vocabulary(name, pd.Index(counts.index[counts >= min_count]).sort_values())


def _floats(column: pd.Series) -> np.ndarray:
    """float64 [N], NaN where unknown or infinite."""
    if types.infer_dtype(column, skipna=True) in ("date", "datetime", "datetime64"):
        days = (pd.to_datetime(column, utc=True) - pd.Timestamp(0, tz="UTC")) / pd.Timedelta(days=1)
        return days.to_numpy(np.float64)
    try:
        values = pd.to_numeric(column).to_numpy(np.float64, na_value=np.nan)
    except (TypeError, ValueError) as error:
        raise InputError(f"the feature {column.name!r} holds numbers and also other things: {error}") from error
    return np.where(np.isfinite(values), values, np.nan)


def _scale(name: str, values: np.ndarray) -> Scale:
    known = values[~np.isnan(values)]
    if not len(known) or known.min() == known.max():  # where rounding would give a deviation just above 0
        return Scale(name, 0.0, 0.0, flagged=False)
    unit = np.abs(known).max()  # so that the square of a large number is finite
    return Scale(name, unit * (known / unit).mean(), unit * (known / unit).std(), flagged=len(known) < len(values))
