"""User-item interactions: the data structure that sources return and splits consume."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, NotRequired, TypedDict

import numpy as np
import pandas as pd

from jaxrec.data.features import Encoded
from jaxrec.data.histories import UserHistories, gaps
from jaxrec.data.ids import canonical, texts
from jaxrec.data.large_columns import blocks, gathered, offsets_of, sorted_rows, spilled
from jaxrec.data.properties import Properties
from jaxrec.errors import InputError

COLUMNS = ("user", "item", "value", "time", "part", "event", "target", "weight", "position")  # one entry per row
# Positions are int32, also those of the last batch, which may end beyond the data.
MAX_INTERACTIONS = 2**31 - 2**24


@dataclass(frozen=True, eq=False)
class Interactions:
    """Columns of equal length, one row per interaction; users and items are positions in their id tables.

    Columns that the data lacks are None.

    Attributes:
        user: int32 [N], positions in `user_ids`.
        item: int32 [N], positions in `item_ids`.
        value: float32 [N], rating or quantity.
        time: int64 [N], milliseconds since 1970; without times, rows are in chronological order.
        part: int8 [N], 0 train, 1 validation, 2 test; None unless the data is already split.
        event: int8 [N], positions in `event_names`; None if there is only one event type.
        target: bool [N], whether the row is a recommendation target; the others, such as views when purchases are
            the target, are never held out and never filtered: models that read histories find them there, the others
            are trained on them. None: every row is a target.
        weight: float32 [N], sample weight in training; None: all weights are 1.
        position: int32 [N], rank from 1 at which the item was shown to the user; None if unknown or not used.
        user_ids, item_ids: original ids (int64 or str objects); `item_ids` is shuffled, see `encode`.
        user_features, item_features: one row per id, in the order of the id tables.
        properties: time-dependent item properties; a split adds their values at the end of train to the item
            features. Needs times.
        encoded: features as codes and numbers, fitted on train; None before the split.
        event_names: names of the codes of `event`.
        negatives: users and items, as positions, of explicit negative pairs. They are not interactions and only
            used by negative samplers.
        notes: rows dropped or repaired while reading, as reason → number of rows.
        name: name of the data in reports.
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
    event: np.ndarray | None = None
    target: np.ndarray | None = None
    weight: np.ndarray | None = None
    position: np.ndarray | None = None
    properties: Properties | None = None
    encoded: Encoded | None = None
    event_names: tuple[str, ...] = ()
    negatives: tuple[np.ndarray, np.ndarray] | None = None
    notes: Mapping[str, int] = field(default_factory=dict)
    name: str = "data"

    def __len__(self) -> int:
        return len(self.user)

    @property
    def n_users(self) -> int:
        """Size of the user table, including users without interactions in this part."""
        return len(self.user_ids)

    @property
    def n_items(self) -> int:
        """Size of the item table, i.e. of the catalog."""
        return len(self.item_ids)

    @property
    def n_targets(self) -> int:
        """Number of target rows."""
        return len(self) if self.target is None else int(np.count_nonzero(self.target))

    @cached_property
    def user_order(self) -> tuple[np.ndarray, np.ndarray]:
        """Rows sorted by user and time, ties in file order; sorted once, also for the parts of the data, see `take`.

        Offsets, int64 [U + 1], and row numbers, int32 [N]: `rows[offsets[u] : offsets[u + 1]]` belong to user u.
        """
        offsets, rows = sorted_rows(self.user, self.n_users, self.time)
        return offsets, spilled(rows)

    @cached_property
    def histories(self) -> UserHistories:
        """Histories of all users, oldest entry first, ties in file order."""
        offsets, rows = self.user_order

        def column(values: np.ndarray | None) -> np.ndarray | None:
            return None if values is None else spilled(gathered(values, rows))

        event, value, target, time = (column(v) for v in (self.event, self.value, self.target, self.time))
        gap = None if time is None else gaps(offsets, time)
        return UserHistories(offsets, gathered(self.item, rows), event, gap, value, target, time)

    @cached_property
    def shares(self) -> np.ndarray:
        """Share of users who have each item, float32 [I]; an item without users counts as one user's."""
        offsets, rows = self.user_order
        owners = np.zeros(self.n_items, np.int64)
        for block in blocks(offsets):
            user, item = self.user[rows[block]].astype(np.int64), self.item[rows[block]]
            owners += np.bincount(np.unique(user * self.n_items + item) % self.n_items, minlength=self.n_items)
        n_users = max(1, np.count_nonzero(np.diff(offsets)))
        return (np.maximum(owners, 1) / n_users).astype(np.float32)

    def take(self, rows: np.ndarray) -> "Interactions":
        """Return the data with the given rows only (positions or a mask) and unchanged id tables.

        If the data has been sorted and the rows are in file order, they inherit `user_order` without another sort.
        """
        columns = {name: getattr(self, name) for name in COLUMNS}
        kept: dict[str, Any] = {n: spilled(column[rows]) for n, column in columns.items() if column is not None}
        taken = replace(self, **kept)
        if "user_order" in vars(self) and (rows.dtype == bool or (np.diff(rows) > 0).all()):
            is_taken = np.zeros(len(self), bool)
            is_taken[rows] = True
            order = self.user_order[1]
            new_row = np.cumsum(is_taken, dtype=order.dtype)
            new_row -= 1
            order = gathered(new_row, order[gathered(is_taken, order)])
            vars(taken)["user_order"] = offsets_of(taken.user, self.n_users), spilled(order)
        return taken

    def annotated(self, **changes: Any) -> "Interactions":
        """Return the data with other features or notes; users and times must be the same, their order is kept."""
        changed = replace(self, **changes)
        if "user_order" in vars(self):
            vars(changed)["user_order"] = self.user_order
        return changed

    def joined(self, later: "Interactions") -> "Interactions":
        """Return these rows followed by those of another part of the same data."""
        columns: dict[str, Any] = {}
        for name in COLUMNS:
            one, other = getattr(self, name), getattr(later, name)
            columns[name] = None if one is None or other is None else spilled(np.concatenate([one, other]))
        return replace(self, **columns)


def encode(
    frame: pd.DataFrame,
    *,
    user_features: pd.DataFrame | None = None,
    item_features: pd.DataFrame | None = None,
    event_names: tuple[str, ...] = (),
    notes: Mapping[str, int] | None = None,
    name: str,
) -> Interactions:
    """Convert a frame to `Interactions`, keeping the row order; the id tables contain the ids that occur in it.

    Args:
        frame: columns user_id and item_id; optional value, time (int64, milliseconds), part (0, 1, 2), event (codes
            of `event_names`), target, weight and position.
        user_features: a column user_id of distinct ids and one column per feature; ids without a row get missing
            values.
        item_features: the same with item_id.
        event_names: names of the event codes.
        notes: see `Interactions`.
        name: see `Interactions`.

    Raises:
        InputError: an id is missing or invalid, or occurs twice in the features; or there are too many interactions.
    """
    if len(frame) > MAX_INTERACTIONS:
        raise InputError(
            f"the data has {len(frame):,} interactions, but their numbers have 32 bits: use at most "
            f"{MAX_INTERACTIONS:,}, e.g. the latest ones"
        )
    user, user_ids = _table(frame["user_id"])
    item, item_ids = _table(frame["item_id"])
    # Catalogs are often numbered by age or popularity and ties in scores are broken by index, so the item table is
    # shuffled: ties must not favor popular items. The seed is fixed, so that the same ids give the same table.
    order = np.random.default_rng(20_240_601).permutation(len(item_ids))
    new_position = np.empty(len(order), np.int32)
    new_position[order] = np.arange(len(order))
    item_ids = item_ids[order]

    def column(key: str, dtype: type) -> np.ndarray | None:
        return spilled(frame[key].to_numpy(dtype)) if key in frame else None

    return Interactions(
        user=spilled(user),
        item=spilled(gathered(new_position, item)),
        value=column("value", np.float32),
        time=column("time", np.int64),
        part=column("part", np.int8),
        event=column("event", np.int8),
        target=column("target", bool),
        weight=column("weight", np.float32),
        position=column("position", np.int32),
        user_ids=user_ids,
        item_ids=item_ids,
        user_features=aligned(user_features, "user_id", user_ids),
        item_features=aligned(item_features, "item_id", item_ids),
        event_names=event_names,
        notes=notes or {},
        name=name,
    )


def _table(column: pd.Series) -> tuple[np.ndarray, np.ndarray]:
    """Return each row's position, int32 [N], in the sorted table of the column's ids, and that table."""
    codes, labels = factorized(column)
    if (codes < 0).any():
        rows = np.flatnonzero(codes < 0)
        raise InputError(f"{len(rows):,} rows have no {column.name}, first in row {rows[0] + 1}: drop or fill them")
    occurs = np.diff(offsets_of(codes, len(labels))) > 0
    ids, inverse = np.unique(canonical(labels[occurs], str(column.name)), return_inverse=True)
    position = np.zeros(len(labels), np.int32)
    position[occurs] = inverse
    return gathered(position, codes), ids


def factorized(column: pd.Series) -> tuple[np.ndarray, pd.Index]:
    """Return a code per row, -1 for missing values, and the value of each code; categories need not occur."""
    if isinstance(column.dtype, pd.CategoricalDtype):
        return column.cat.codes.to_numpy(), column.cat.categories
    codes, labels = pd.factorize(column)
    return codes, pd.Index(labels)


def aligned(features: pd.DataFrame | None, key: str, ids: np.ndarray) -> pd.DataFrame | None:
    """Return feature rows in the order of the id table, matched by canonical id."""
    if features is None:
        return None
    feature_ids = canonical(features[key], key)
    if feature_ids.dtype != ids.dtype:
        feature_ids, ids = texts(feature_ids), texts(ids)
    index = pd.Index(feature_ids)
    if index.hasnans:
        raise InputError(f"row {int(index.isna().argmax()) + 1} of the features has no {key}: fill or drop it")
    if index.has_duplicates:
        raise InputError(f"the features have two rows with {key} {index[index.duplicated()][0]}: keep one row per id")
    return features.drop(columns=key).set_axis(index).reindex(pd.Index(ids)).reset_index(drop=True)


def targets(interactions: Interactions) -> Interactions:
    """Return the target rows, see `Interactions.target`."""
    return interactions if interactions.target is None else interactions.take(interactions.target)


class Summary(TypedDict):
    """Sizes, density and, if the data has times, the first and last time in ISO format."""

    users: int
    items: int
    interactions: int
    density: float
    first: NotRequired[str]
    last: NotRequired[str]


def summary(interactions: Interactions) -> Summary:
    """Return sizes, density and, if the data has times, the first and last time, for reports."""
    cells = interactions.n_users * interactions.n_items
    sizes: Summary = {
        "users": interactions.n_users,
        "items": interactions.n_items,
        "interactions": len(interactions),
        "density": len(interactions) / cells if cells else 0.0,
    }
    if interactions.time is not None and len(interactions):
        sizes["first"], sizes["last"] = _iso(interactions.time.min()), _iso(interactions.time.max())
    return sizes


def _iso(milliseconds: np.int64) -> str:
    return str(np.datetime64(int(milliseconds), "ms").astype("datetime64[s]"))
