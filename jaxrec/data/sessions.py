"""Sessions by a gap: a user who comes back after a while starts a new one."""

import numpy as np


def sessions(user: np.ndarray, time: np.ndarray, gap_ms: int) -> np.ndarray:
    """The session of each row, int32 [N], numbered from 0 by user and then by time; rows keep their order.

    A session starts with a user's first row, and wherever more than `gap_ms` milliseconds have passed since the user's
    row before (exactly so many do not); ties in time keep row order.
    """
    rows = np.lexsort((time, user))
    starts = np.ones(len(rows), bool)
    starts[1:] = (np.diff(user[rows]) != 0) | (np.diff(time[rows]) > gap_ms)
    session = np.empty(len(rows), np.int32)
    session[rows] = np.cumsum(starts, dtype=np.int32) - 1
    return session
