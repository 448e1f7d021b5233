"""Sessions by inactivity gap: a pause of more than, e.g., half an hour starts a new session."""

import numpy as np

from jaxrec.data.interactions import Interactions
from jaxrec.errors import InputError

HALF_HOUR = 1800.0  # seconds; the usual gap in web analytics


def sessions(interactions: Interactions, gap: float = HALF_HOUR) -> np.ndarray:
    """Return the session of each row, int32 [N], numbered from 0 by user and then by time.

    A session starts with a user's first row, and where the time since the user's previous row exceeds the gap. Ties
    in time keep row order.

    Args:
        interactions: data with times.
        gap: maximum pause within a session, in seconds (inclusive).

    Raises:
        InputError: the data has no times, or the gap is negative or NaN.
    """
    if not gap >= 0:
        raise InputError(f"the session gap must be 0 seconds or more, not {gap} (1800 is half an hour)")
    if interactions.time is None:
        raise InputError("sessions need times: name their column in data.time_column")
    _, rows = interactions.user_order
    user, time = interactions.user[rows], interactions.time[rows]
    starts = np.ones(len(rows), bool)
    starts[1:] = (user[1:] != user[:-1]) | (np.diff(time) > gap * 1000)
    session = np.empty(len(rows), np.int32)
    session[rows] = np.cumsum(starts, dtype=np.int32) - 1
    return session
