"""What is known of items, and since when: no question about a moment is answered with what came later."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import pandas as pd
from pandas.api.extensions import ExtensionArray


class Changes(NamedTuple):
    """What one property of items became, and when; in any order, and at equal times the later row counts.

    item:  int [C], positions in the item table
    time:  int64 [C], milliseconds since 1970
    value: [C], of a type that knows missing values, such as Categorical
    """

    item: np.ndarray
    time: np.ndarray
    value: ExtensionArray


@dataclass(frozen=True, eq=False)
class Properties:
    """Each row states all that is known of an item from its time until the time of the item's next row.

    n_items: of the item table that `item` refers to
    item:    int32 [M], ascending
    time:    int64 [M], milliseconds since 1970, ascending within an item
    values:  [M] rows, a column a property; missing where nothing is known of it yet
    of:      what follows from a value whatever the time, by property: a table with the values for index, such as the
             path of a category; its columns are given beside the property's own
    """

    n_items: int
    item: np.ndarray
    time: np.ndarray
    values: pd.DataFrame
    of: Mapping[str, pd.DataFrame] = field(default_factory=dict)

    def at(self, items: np.ndarray, times: np.ndarray) -> pd.DataFrame:
        """The properties of each item as of the time beside it: the latest values not after it, missing if none."""
        moments, rank = np.unique(self.time, return_inverse=True)
        # Item and time as one number that ascends with the rows: the place of a time among those that occur, from 1.
        own = self.item.astype(np.int64) * (len(moments) + 1) + rank + 1
        asked = items.astype(np.int64) * (len(moments) + 1) + np.searchsorted(moments, times, side="right")
        row = np.searchsorted(own, asked, side="right") - 1
        found = row >= 0
        found[found] = self.item[row[found]] == items[found]
        return self._rows(np.where(found, row, -1))

    def as_of(self, moment: int) -> pd.DataFrame:
        """The properties of every item as of one time, in the order of the item table."""
        return self.at(np.arange(self.n_items), np.full(self.n_items, moment))

    def _rows(self, rows: np.ndarray) -> pd.DataFrame:
        """The values of these rows and what follows from them; -1 gives missing values."""
        values = self.values.reindex(rows).reset_index(drop=True)
        tables = [
            table.reset_index(drop=True).reindex(table.index.get_indexer(pd.Index(values[name]))).set_axis(values.index)
            for name, table in self.of.items()
        ]
        return pd.concat([values, *tables], axis=1)


def properties(
    n_items: int, changes: Mapping[str, Changes], of: Mapping[str, pd.DataFrame] | None = None
) -> Properties:
    """Properties from the changes of each, by name; `of` as in `Properties`."""
    item, time = (np.concatenate([getattr(change, key) for change in changes.values()]) for key in ("item", "time"))
    order = np.lexsort((time, item))
    new = np.ones(len(order), bool)
    new[1:] = (np.diff(item[order]) != 0) | (np.diff(time[order]) != 0)
    row = np.empty(len(order), np.int64)
    row[order] = np.cumsum(new) - 1
    item, time = item[order[new]].astype(np.int32), time[order[new]]
    values, start = {}, 0
    for name, change in changes.items():
        stated = np.full(len(item), -1)
        stated[row[start : start + len(change.item)]] = np.arange(len(change.item))  # of equal times the last stays
        start += len(change.item)
        values[name] = pd.Series(change.value).reindex(_carried(stated, item)).array
    return Properties(n_items, item, time, pd.DataFrame(values), of or {})


def _carried(stated: np.ndarray, item: np.ndarray) -> np.ndarray:
    """Of each row the last entry of `stated` that is not -1, up to that row and of the same item; -1 if none."""
    last = np.maximum.accumulate(np.where(stated >= 0, np.arange(len(stated)), 0))
    return np.where(item[last] == item, stated[last], -1)
