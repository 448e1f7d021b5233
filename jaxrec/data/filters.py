"""Filters of interaction frames: minimum value, duplicates and k-core."""

from typing import Literal

import numpy as np
import pandas as pd
from pydantic import NonNegativeInt

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
    return frame, nonzero(notes)


def _kept(frame: pd.DataFrame, mask: np.ndarray, key: str) -> pd.DataFrame:
    if not mask.any():
        raise InputError(f"{key} drops all {len(frame):,} interactions: lower it")
    return frame if mask.all() else frame[mask]


def _distinct(frame: pd.DataFrame, user: np.ndarray, item: np.ndarray, which: Duplicates) -> np.ndarray:
    """Return the mask [N] of rows to keep, one for each user, item, part and event."""
    pair = user.astype(np.int64) * (item.max() + 1) + item
    for column in {"part", "event"} & set(frame):
        codes = frame[column].to_numpy()
        pair = pair * (int(codes.max()) + 1) + codes
    ordered = np.sort(pair)  # ten times as fast as the hash table below, which is needed only if there are duplicates
    if not (ordered[1:] == ordered[:-1]).any():
        return np.ones(len(pair), bool)
    repeated = pd.Series(pair).duplicated(keep=False).to_numpy()
    rows = np.flatnonzero(repeated)
    if which == "error":
        user_id, item_id = (frame[key].iloc[rows[0]] for key in ("user_id", "item_id"))
        raise InputError(
            f"user {user_id} and item {item_id} occur together more than once ({len(rows):,} "
            "such rows in total) and data.duplicates=error: clean the data, or set data.duplicates=first, last or keep"
        )
    if "time" in frame:
        rows = rows[np.argsort(frame["time"].to_numpy()[rows], kind="stable")]
    mask = ~repeated
    mask[rows[~pd.Series(pair[rows]).duplicated(keep="last" if which == "last" else "first").to_numpy()]] = True
    return mask


def _core(user: np.ndarray, item: np.ndarray, k: int) -> np.ndarray:
    """Return the mask [N] of the k-core: the largest set of rows with at least k rows per user and per item."""
    mask = np.ones(len(user), bool)
    rows = np.arange(len(user))
    while True:
        keep = (np.bincount(user)[user] >= k) & (np.bincount(item)[item] >= k)
        if keep.all():
            return mask
        mask[rows[~keep]] = False
        rows, user, item = rows[keep], user[keep], item[keep]
