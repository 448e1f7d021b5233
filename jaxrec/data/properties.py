"""Time-dependent item properties: lookups as of a time use no later values."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import pandas as pd
from pandas.api.extensions import ExtensionArray


class Changes(NamedTuple):
    """Changes of one item property, in any order; at equal times the later row wins.

    Attributes:
        item: int [C], positions in the item table.
        time: int64 [C], milliseconds since 1970.
        value: [C], of a type with missing values, such as Categorical.
    """

    item: np.ndarray
    time: np.ndarray
    value: ExtensionArray


@dataclass(frozen=True, eq=False)
class Properties:
    """Item properties by validity interval: a row is valid from its time until the time of the item's next row.

    Attributes:
        n_items: size of the item table that `item` refers to.
        item: int32 [M], ascending.
        time: int64 [M], milliseconds since 1970, ascending within an item.
        values: [M] rows, one column per property; missing before the first known value.
        of: time-independent attributes of a property's values, such as the path of a category: property → table
            indexed by value, whose columns are added to those of the property.
    """

    n_items: int
    item: np.ndarray
    time: np.ndarray
    values: pd.DataFrame
    of: Mapping[str, pd.DataFrame] = field(default_factory=dict)

    def at(self, items: np.ndarray, times: np.ndarray) -> pd.DataFrame:
        """Return the properties of each item [N] as of its time [N]: the latest values not after it, or missing."""
        moments, rank = np.unique(self.time, return_inverse=True)
        # Item and rank of the time (from 1) combined into one key, ascending in the rows.
        keys = self.item.astype(np.int64) * (len(moments) + 1) + rank + 1
        query = items.astype(np.int64) * (len(moments) + 1) + np.searchsorted(moments, times, side="right")
        row = np.searchsorted(keys, query, side="right") - 1
        valid = row >= 0
        valid[valid] = self.item[row[valid]] == items[valid]
        return self._rows(np.where(valid, row, -1))

    def as_of(self, moment: int) -> pd.DataFrame:
        """Return the properties of all items as of one time, in the order of the item table."""
        return self.at(np.arange(self.n_items), np.full(self.n_items, moment))

    def _rows(self, rows: np.ndarray) -> pd.DataFrame:
        """Return the values of these rows and their attributes; missing values for row -1."""
        values = self.values.reindex(rows).reset_index(drop=True)
        tables = [
            table.reset_index(drop=True).reindex(table.index.get_indexer(pd.Index(values[name]))).set_axis(values.index)
            for name, table in self.of.items()
        ]
        return pd.concat([values, *tables], axis=1)


def properties(
    n_items: int, changes: Mapping[str, Changes], of: Mapping[str, pd.DataFrame] | None = None
) -> Properties:
    """Build `Properties` from the changes of each property, by name; `of` as in `Properties`."""
    item, time = (np.concatenate([getattr(change, key) for change in changes.values()]) for key in ("item", "time"))
    order = np.lexsort((time, item))
    new = np.ones(len(order), bool)
    new[1:] = (np.diff(item[order]) != 0) | (np.diff(time[order]) != 0)
    row = np.empty(len(order), np.int64)
    row[order] = np.cumsum(new) - 1
    item, time = item[order[new]].astype(np.int32), time[order[new]]
    values, start = {}, 0
    for name, change in changes.items():
        source = np.full(len(item), -1)
        source[row[start : start + len(change.item)]] = np.arange(len(change.item))  # at equal times the last wins
        start += len(change.item)
        values[name] = pd.Series(change.value).reindex(_forward_filled(source, item)).array
    return Properties(n_items, item, time, pd.DataFrame(values), of or {})


def _forward_filled(source: np.ndarray, item: np.ndarray) -> np.ndarray:
    """Replace each -1 in `source` by the last preceding entry of the same item that is not -1, if there is one."""
    last = np.maximum.accumulate(np.where(source >= 0, np.arange(len(source)), 0))
    return np.where(item[last] == item, source[last], -1)
