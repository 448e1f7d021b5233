"""Filters of interaction frames: minimum value, duplicates and k-core."""

from typing import Any, Literal

import numpy as np
import pandas as pd
from pydantic import NonNegativeInt

from jaxrec.data.interactions import factorized
from jaxrec.data.large_columns import gathered, is_large, rows_by_owner, spilled
from jaxrec.data.notes import nonzero
from jaxrec.errors import InputError

Duplicates = Literal["first", "last", "error", "keep"]


def filtered(
    frame: pd.DataFrame,
    *,
    min_value: float | None = None,
    duplicates: Duplicates = "last",
    k_core: NonNegativeInt = 0,
) -> tuple[pd.DataFrame, dict[str, int]]:
    """Apply filters to a frame, one after the other, keeping the row order.

    Args:
        frame: columns as for `encode`.
        min_value: smallest value to keep.
        duplicates: which rows with the same user and item (and part and event, if present) to keep: the first or
            last by time (by file order without times), all (keep), or raise an error.
        k_core: iteratively drop users and items with fewer rows than this until none remain.

    Returns:
        The remaining rows, and notes for `encode`: rows dropped by each filter.

    Raises:
        InputError: a filter drops all rows, or finds duplicates with duplicates="error".
    """
    notes: dict[str, int] = {}
    if min_value is not None:
        if "value" not in frame:
            raise InputError(f"data.min_value={min_value} needs values: name their column in data.value_column")
        enough = frame["value"].to_numpy() >= min_value  # compared in the precision of the column, so 0.7 passes 0.7
        frame = _kept(frame, enough, f"data.min_value={min_value} (the largest value is {frame['value'].max():g})")
        notes[f"rows below data.min_value={min_value:g}, dropped"] = int(np.count_nonzero(~enough))
    if duplicates != "keep":
        distinct = _distinct(frame, duplicates)
        frame = rows_of(frame, distinct)
        same = "user, item and event" if "event" in frame else "user and item"
        notes[f"rows of the same {same} as a kept one, dropped"] = int(np.count_nonzero(~distinct))
    if k_core > 1:
        core = _core(factorized(frame["user_id"])[0], factorized(frame["item_id"])[0], k_core)
        frame = _kept(frame, core, f"data.k_core={k_core}")
        notes[f"rows outside data.k_core={k_core}, dropped"] = int(np.count_nonzero(~core))
    return frame, nonzero(notes)


def _kept(frame: pd.DataFrame, mask: np.ndarray, key: str) -> pd.DataFrame:
    if not mask.any():
        raise InputError(f"{key} drops all {len(frame):,} interactions: lower it")
    return rows_of(frame, mask)


def rows_of(frame: pd.DataFrame, mask: np.ndarray) -> pd.DataFrame:
    """Return the rows of a mask; columns of large frames are memory maps, see `large_columns`."""
    if mask.all():
        return frame
    if not is_large(len(frame)):
        return frame[mask]

    def kept(column: pd.Series) -> Any:
        if isinstance(column.dtype, pd.CategoricalDtype):
            codes = spilled(column.cat.codes.to_numpy()[mask])
            return pd.Categorical.from_codes(codes, dtype=column.dtype, validate=False)
        return spilled(column.to_numpy()[mask])

    return pd.DataFrame({name: kept(frame[name]) for name in frame}, copy=False)


def _distinct(frame: pd.DataFrame, which: Duplicates) -> np.ndarray:
    """Return the mask [N] of rows to keep, one for each user, item, part and event."""
    user, item = factorized(frame["user_id"])[0], factorized(frame["item_id"])[0]
    size, others = int(item.max()) + 1, [frame[column].to_numpy() for column in {"part", "event"} & set(frame)]
    time = frame["time"].to_numpy() if "time" in frame else None
    mask, errors, first = np.ones(len(frame), bool), 0, len(frame)
    for block in rows_by_owner(user):
        pair = user[block].astype(np.int64) * size + item[block]
        for codes in others:
            pair = pair * (int(codes.max()) + 1) + codes[block]
        ordered = np.sort(pair)  # ten times as fast as the hash table below, which is needed only for duplicates
        if not (ordered[1:] == ordered[:-1]).any():
            continue
        again = np.flatnonzero(pd.Series(pair).duplicated(keep=False).to_numpy())
        rows, pair = block[again], pair[again]
        errors, first = errors + len(rows), min(first, int(rows.min()))
        if time is not None:
            by_time = np.argsort(time[rows], kind="stable")
            rows, pair = rows[by_time], pair[by_time]
        mask[rows[pd.Series(pair).duplicated(keep="last" if which == "last" else "first").to_numpy()]] = False
    if errors and which == "error":
        user_id, item_id = (frame[key].iloc[first] for key in ("user_id", "item_id"))
        raise InputError(
            f"user {user_id} and item {item_id} occur together more than once ({errors:,} "
            "such rows in total) and data.duplicates=error: clean the data, or set data.duplicates=first, last or keep"
        )
    return mask


def _core(user: np.ndarray, item: np.ndarray, k: int) -> np.ndarray:
    """Return the mask [N] of the k-core: the largest set of rows with at least k rows per user and per item."""
    mask = np.ones(len(user), bool)
    while True:
        keep = gathered(np.bincount(user) >= k, user) & gathered(np.bincount(item) >= k, item)
        if keep.all():
            return mask
        mask[mask] = keep
        user, item = user[keep], item[keep]
