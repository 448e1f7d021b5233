"""Sessions: what a user does without a longer pause is one visit."""

import numpy as np


def sessions(user: np.ndarray, time: np.ndarray, gap_ms: int) -> np.ndarray:
    """The session of each row, int32 [N]; a user's next one starts after a pause of more than `gap_ms` milliseconds.

    user: int [N]; time: int64 [N], milliseconds; rows in any order. Sessions are numbered from 0, by user and then by
    time, so those of one user follow each other.
    """
    order = np.lexsort((time, user))
    user, time = user[order], time[order]
    starts = np.ones(len(order), bool)
    starts[1:] = (user[1:] != user[:-1]) | (np.diff(time) > gap_ms)
    numbers = np.empty(len(order), np.int32)
    numbers[order] = np.cumsum(starts) - 1
    return numbers
