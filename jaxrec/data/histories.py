"""User histories on the host, in CSR form, sorted by user and time; see `Interactions.histories`."""

from typing import NamedTuple

import numpy as np

NO_TIME = np.iinfo(np.int64).min  # unknown time: an event that a server received without one


class UserHistories(NamedTuple):
    """User histories in CSR form: entries `offsets[u] : offsets[u + 1]` belong to user u.

    Columns that the data lacks are None.

    Attributes:
        offsets: int64 [U + 1].
        items: int32 [N].
        event: int8 [N], codes of `Interactions.event_names`.
        gap: float32 [N], seconds since the user's previous entry; 0 for the first.
        value: float32 [N], rating or quantity.
        target: bool [N], whether the item is filtered from the user's recommendations; None: all are.
        time: int64 [N], milliseconds since 1970.
    """

    offsets: np.ndarray
    items: np.ndarray
    event: np.ndarray | None = None
    gap: np.ndarray | None = None
    value: np.ndarray | None = None
    target: np.ndarray | None = None
    time: np.ndarray | None = None

    def masked(self, users: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return offsets [R + 1] and the items to filter from the recommendations of the given users [R]."""
        offsets, rows = select_rows(self.offsets, np.arange(len(self.items)), users)
        if self.target is None:
            return offsets, self.items[rows]
        kept = self.target[rows]
        return np.concatenate([[0], np.cumsum(kept)])[offsets], self.items[rows[kept]]


def gaps(offsets: np.ndarray, time: np.ndarray) -> np.ndarray:
    """Return the seconds since the previous entry of each history, float32; 0 for the first, -1 if unknown."""
    seconds = np.diff(time, prepend=0).astype(np.float32) / np.float32(1000)
    seconds[offsets[:-1][np.diff(offsets) > 0]] = 0
    unknown = time == NO_TIME
    seconds[unknown | (np.roll(unknown, 1) & (seconds != 0))] = -1
    return seconds


def hours(time: np.ndarray) -> np.ndarray:
    """Return the hours since 1970 of times in milliseconds, int32."""
    return (time // 3_600_000).astype(np.int32)


def select_rows(offsets: np.ndarray, items: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return offsets [R + 1] and items of the selected CSR rows [R], in the given order."""
    lengths = np.diff(offsets)[rows]
    new_offsets = np.concatenate([[0], np.cumsum(lengths)])
    source = np.repeat(offsets[:-1][rows] - new_offsets[:-1], lengths) + np.arange(new_offsets[-1])
    return new_offsets, items[source]
