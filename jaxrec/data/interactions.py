"""Who did what with which item: the one value that every source makes and every split takes."""

from dataclasses import dataclass, replace
from typing import Self

import numpy as np
import pandas as pd


@dataclass(frozen=True, eq=False)
class Interactions:
    """Columns of equal length, one row an interaction, users and items as positions in their id tables.

    user:   int32 [N], positions in `user_ids`
    item:   int32 [N], positions in `item_ids`
    value:  float32 [N], rating or quantity; None where the data has none
    time:   int64 [N], milliseconds since 1970; None where the data has none (then row order is the order)
    part:   int8 [N], 0 train, 1 validation, 2 test; None unless the data comes already split
    user_ids, item_ids: the original ids (int64 or str objects); `item_ids` is in a shuffled order, see `encode`
    user_features, item_features: one row an id, in the order of the id tables; None where the data has none
    name:   what reports call the data
    """

    user: np.ndarray
    item: np.ndarray
    value: np.ndarray | None
    time: np.ndarray | None
    part: np.ndarray | None
    user_ids: np.ndarray
    item_ids: np.ndarray
    user_features: pd.DataFrame | None = None
    item_features: pd.DataFrame | None = None
    name: str = "data"

    def __len__(self) -> int:
        return len(self.user)

    @property
    def n_users(self) -> int:
        """Rows of the user table, users without interactions in this part included."""
        return len(self.user_ids)

    @property
    def n_items(self) -> int:
        """Rows of the item table: the catalogue."""
        return len(self.item_ids)

    def take(self, rows: np.ndarray) -> Self:
        """The same data with only these rows (positions or a mask); the id tables stay as they are."""
        columns = {c: getattr(self, c) for c in ("user", "item", "value", "time", "part")}
        return replace(self, **{c: None if column is None else column[rows] for c, column in columns.items()})
