"""Who did what with which item: the one value that every source makes and every split takes."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
import pandas as pd
from pydantic import NonNegativeInt

from jaxrec.data.features import Encoded
from jaxrec.data.ids import canonical, texts
from jaxrec.data.notes import occurred
from jaxrec.data.properties import Properties
from jaxrec.errors import InputError

Duplicates = Literal["first", "last", "error", "keep"]
COLUMNS = ("user", "item", "value", "time", "part", "event", "target", "weight", "position")  # one entry a row


@dataclass(frozen=True, eq=False)
class Interactions:
    """Columns of equal length, one row an interaction, users and items as positions in their id tables.

    user:   int32 [N], positions in `user_ids`
    item:   int32 [N], positions in `item_ids`
    value:  float32 [N], rating or quantity; None where the data has none
    time:   int64 [N], milliseconds since 1970; None where the data has none (then row order is the order)
    part:   int8 [N], 0 train, 1 validation, 2 test; None unless the data comes already split
    event:  int8 [N], positions in `event_names`; None where the data knows one kind of event only
    target: bool [N], whether the row is what is to be recommended; the others, such as views where purchases are
            wanted, are history only: never held out, never masked. None: every row is
    weight: float32 [N], how much the row counts in training; None: each counts 1
    position: int32 [N], the rank, from 1, at which the item was shown to the user; None where that is not known or not
            to be learned from
    user_ids, item_ids: the original ids (int64 or str objects); `item_ids` is in a shuffled order, see `encode`
    user_features, item_features: one row an id, in the order of the id tables; None where the data has none
    properties: what is known of items, and since when; a split makes item features of what was known by the end of
            train. Needs times; None where the data has none
    encoded: the features as codes and numbers, fitted on train; None before the data is split
    event_names: what the codes of `event` mean
    negatives: users and items, as positions, of pairs that are known as not wanted, or taken for it: nothing counts or
            shows them, samplers may draw from them. None where the data has none
    notes:  what was dropped or repaired while reading, each a reason and how many rows
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
        """Rows of the user table, users without interactions in this part included."""
        return len(self.user_ids)

    @property
    def n_items(self) -> int:
        """Rows of the item table: the catalog."""
        return len(self.item_ids)

    def take(self, rows: np.ndarray) -> "Interactions":
        """The same data with only these rows (positions or a mask); the id tables stay as they are."""
        columns: dict[str, Any] = {c: getattr(self, c) for c in COLUMNS}
        columns = {c: column[rows] for c, column in columns.items() if column is not None}
        return replace(self, **columns)

    def joined(self, later: "Interactions") -> "Interactions":
        """These rows, then those of another part of the same data."""
        columns: dict[str, Any] = {}
        for name in COLUMNS:
            one, other = getattr(self, name), getattr(later, name)
            columns[name] = None if one is None or other is None else np.concatenate([one, other])
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
    """Interactions of the rows of a frame, in their order; the id tables hold the ids that occur in it.

    frame:         columns user_id and item_id; optional value, time (int64, milliseconds), part (0, 1, 2), event (codes
                   of event_names), target, weight and position
    user_features: a column user_id, each id once, and one column a feature; ids without a row get missing values
    item_features: the same with item_id
    """
    user, user_ids = _table(frame["user_id"])
    item, item_ids = _table(frame["item_id"])
    # Catalogs are often numbered by age or popularity and equal scores are ordered by index, so the item table is
    # shuffled: a tie must never favor the popular. The seed is fixed: the same ids get the same table in every run.
    order = np.random.default_rng(20_240_601).permutation(len(item_ids))
    place = np.empty_like(order)
    place[order] = np.arange(len(order))
    item_ids = item_ids[order]

    def column(key: str, dtype: type) -> np.ndarray | None:
        return frame[key].to_numpy(dtype) if key in frame else None

    return Interactions(
        user=user.astype(np.int32),
        item=place[item].astype(np.int32),
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
    """Each row's position in the sorted table of the column's ids, and that table."""
    codes, labels = pd.factorize(column)
    if (codes < 0).any():
        rows = np.flatnonzero(codes < 0)
        raise InputError(f"{len(rows):,} rows have no {column.name}, the first is row {rows[0] + 1}: drop or fill them")
    ids, position = np.unique(canonical(labels, str(column.name)), return_inverse=True)
    return position[codes], ids


def aligned(features: pd.DataFrame | None, key: str, ids: np.ndarray) -> pd.DataFrame | None:
    """Feature rows in the order of the id table; a feature id and an id are one if they read the same."""
    if features is None:
        return None
    own = canonical(features[key], key)
    if own.dtype != ids.dtype:
        own, ids = texts(own), texts(ids)
    index = pd.Index(own)
    if index.hasnans:
        raise InputError(f"row {int(index.isna().argmax()) + 1} of the features has no {key}: fill or drop it")
    if index.has_duplicates:
        raise InputError(f"the features of {key} {index[index.duplicated()][0]} are given twice: keep one row an id")
    return features.drop(columns=key).set_axis(index).reindex(pd.Index(ids)).reset_index(drop=True)


def filtered(
    frame: pd.DataFrame,
    *,
    min_value: float | None = None,
    duplicates: Duplicates = "last",
    k_core: NonNegativeInt = 0,
) -> tuple[pd.DataFrame, dict[str, int]]:
    """The rows of a frame (columns as for `encode`) that pass these filters, in their order, and how many each dropped.

    min_value:  keeps rows of at least this value
    duplicates: what becomes of rows with the same user and item (and part and event, where given): keep the first or
                the last in time (in file order where there is no time), raise an error, or keep all
    k_core:     drops users and items with fewer rows than this, again and again until none is left

    One filter comes after the other; the counts are notes for `encode`.
    """
    notes: dict[str, int] = {}
    if min_value is not None:
        if "value" not in frame:
            raise InputError(f"data.min_value={min_value} needs values: name their column in data.value_column")
        enough = frame["value"].to_numpy() >= min_value  # in the precision of the column, so that 0.7 passes 0.7
        frame = _kept(frame, enough, f"data.min_value={min_value} (the largest value is {frame['value'].max():g})")
        notes[f"rows below data.min_value={min_value:g}, dropped"] = int(np.count_nonzero(~enough))
    user, item = pd.factorize(frame["user_id"])[0], pd.factorize(frame["item_id"])[0]
    if duplicates != "keep":
        distinct = _distinct(frame, user, item, duplicates)
        frame, user, item = frame[distinct], user[distinct], item[distinct]
        same = "user, item and event" if "event" in frame else "user and item"
        notes[f"rows of the same {same} as a kept one, dropped"] = int(np.count_nonzero(~distinct))
    if k_core > 1:
        core = _core(user, item, k_core)
        frame = _kept(frame, core, f"data.k_core={k_core}")
        notes[f"rows outside data.k_core={k_core}, dropped"] = int(np.count_nonzero(~core))
    return frame, occurred(notes)


def _kept(frame: pd.DataFrame, mask: np.ndarray, key: str) -> pd.DataFrame:
    if not mask.any():
        raise InputError(f"{key} drops all of the {len(frame):,} interactions it is given: set it lower")
    return frame if mask.all() else frame[mask]


def _distinct(frame: pd.DataFrame, user: np.ndarray, item: np.ndarray, which: Duplicates) -> np.ndarray:
    """Mask [N] of the rows that stay when one of each user, item, part and event does."""
    pair = user.astype(np.int64) * (item.max() + 1) + item
    for column in {"part", "event"} & set(frame):
        codes = frame[column].to_numpy()
        pair = pair * (int(codes.max()) + 1) + codes
    ordered = np.sort(pair)  # takes a tenth of the time of the hash table below, which few data sets need
    if not (ordered[1:] == ordered[:-1]).any():
        return np.ones(len(pair), bool)
    repeated = pd.Series(pair).duplicated(keep=False).to_numpy()
    rows = np.flatnonzero(repeated)
    if which == "error":
        user_id, item_id = (frame[key].iloc[rows[0]] for key in ("user_id", "item_id"))
        raise InputError(
            f"user {user_id} and item {item_id} occur together more than once ({len(rows):,} "
            "such rows in all) and data.duplicates=error: clean the data, or say data.duplicates=first, last or keep"
        )
    if "time" in frame:
        rows = rows[np.argsort(frame["time"].to_numpy()[rows], kind="stable")]
    mask = ~repeated
    mask[rows[~pd.Series(pair[rows]).duplicated(keep="last" if which == "last" else "first").to_numpy()]] = True
    return mask


def _core(user: np.ndarray, item: np.ndarray, k: int) -> np.ndarray:
    """Mask [N] of the largest set of rows in which every user and every item has at least k of them."""
    mask = np.ones(len(user), bool)
    rows = np.arange(len(user))
    while True:
        keep = (np.bincount(user)[user] >= k) & (np.bincount(item)[item] >= k)
        if keep.all():
            return mask
        mask[rows[~keep]] = False
        rows, user, item = rows[keep], user[keep], item[keep]


def user_order(interactions: Interactions) -> tuple[np.ndarray, np.ndarray]:
    """Row numbers by user, oldest first, ties in file order: `rows[offsets[u] : offsets[u + 1]]` are those of user u.

    Returns offsets, int64 [U + 1], and rows, int64 [N].
    """
    user, time = interactions.user, interactions.time
    rows = np.argsort(user, kind="stable") if time is None else np.lexsort((time, user))
    offsets = np.zeros(interactions.n_users + 1, np.int64)
    np.cumsum(np.bincount(user, minlength=interactions.n_users), out=offsets[1:])
    return offsets, rows


def by_user(interactions: Interactions) -> tuple[np.ndarray, np.ndarray]:
    """Each user's items, oldest first: offsets, int64 [U + 1], and items, int32 [N]; see `user_order`."""
    offsets, rows = user_order(interactions)
    return offsets, interactions.item[rows]


def targets(interactions: Interactions) -> Interactions:
    """The rows that are what is to be recommended."""
    return interactions if interactions.target is None else interactions.take(interactions.target)


def summary(interactions: Interactions) -> dict[str, Any]:
    """What reports say of the data: sizes, the share of cells filled and, where there is time, its first and last."""
    cells = interactions.n_users * interactions.n_items
    sizes: dict[str, Any] = {
        "users": interactions.n_users,
        "items": interactions.n_items,
        "interactions": len(interactions),
        "density": len(interactions) / cells if cells else 0.0,
    }
    if interactions.time is not None and len(interactions):
        first, last = interactions.time.min(), interactions.time.max()
        sizes |= {"first": _iso(first), "last": _iso(last)}
    return sizes


def _iso(milliseconds: np.int64) -> str:
    return str(np.datetime64(int(milliseconds), "ms").astype("datetime64[s]"))
