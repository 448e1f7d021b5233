"""Sessions by a gap: a user who comes back after more than half an hour starts a new one."""

import numpy as np

from jaxrec.data.interactions import Interactions, user_order
from jaxrec.errors import InputError

HALF_HOUR = 1800.0  # seconds; the gap of web analytics


def sessions(interactions: Interactions, gap: float = HALF_HOUR) -> np.ndarray:
    """The session of each row, int32 [N], numbered from 0 by user and then by time; rows keep their order.

    A session starts with a user's first row, and wherever the time since the user's row before exceeds `gap` seconds
    (a gap of exactly that does not); ties in time keep row order.
    Raises InputError for data without times, and for a gap that is negative or no number.
    """
    if not gap >= 0:
        raise InputError(f"a session gap of {gap} seconds is none: give 0 or more (1800 is half an hour)")
    if interactions.time is None:
        raise InputError("sessions need times: name their column in data.time_column")
    _, rows = user_order(interactions)
    user, time = interactions.user[rows], interactions.time[rows]
    starts = np.ones(len(rows), bool)
    starts[1:] = (user[1:] != user[:-1]) | (np.diff(time) > gap * 1000)
    session = np.empty(len(rows), np.int32)
    session[rows] = np.cumsum(starts, dtype=np.int32) - 1
    return session
