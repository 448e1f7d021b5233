"""Session-based split for next-item prediction at every step; sessions take the role of users."""

from dataclasses import replace

import numpy as np
import pandas as pd
from pydantic import NonNegativeFloat, PositiveFloat

from jaxrec.arguments import reads
from jaxrec.data.interactions import Interactions
from jaxrec.data.reading.times import DAY
from jaxrec.data.splits.assembly import KNOWN, TEST, TRAIN, VALIDATION, Split, assembled, check_unsplit, ranks
from jaxrec.data.splits.sessions import sessions
from jaxrec.errors import InputError


@reads("time")
def by_session(
    interactions: Interactions,
    *,
    gap_minutes: PositiveFloat | None = 60.0,
    validation_days: NonNegativeFloat = 7.0,
    test_days: PositiveFloat = 7.0,
    drop_unknown_items: bool = True,
) -> Split:
    """Split sessions by time: the last days are test, the days before validation.   [Hidasi and Karatzoglou 2018]

    Each row of a held-out session after the first is predicted from the rows before it. Items may repeat within a
    session, so nothing is filtered. If only some rows are targets (`Interactions.target`), only these are predicted
    and the others are history. Train contains no later data: a session that began before a cut is truncated at the
    cut. Finally, sessions of fewer than two events are dropped.

    The user table of the split contains the remaining sessions: "USER:NUMBER", numbered from 1 per user, or the
    original ids if `gap_minutes` is None. Notes in addition to those of `assembled`: sessions,
    sessions_too_short_dropped, rows_after_cut_dropped, rows_of_unknown_items_dropped.

    Args:
        interactions: data with times that is not split yet.
        gap_minutes: a longer pause ends a session; None: each user is one session, e.g. if data.user_column names
            sessions.
        validation_days: length of the validation period, counted back from the start of the test period; 0: none.
        test_days: length of the test period, counted back from the latest interaction.
        drop_unknown_items: drop held-out rows whose item is not in train; the following rows are predicted from
            those that remain.

    Raises:
        InputError: the data has no times, or a part has no session of at least two events.
    """
    check_unsplit(interactions)
    user, time = interactions.user, interactions.time
    if time is None:
        raise InputError("split=sessions needs times: name their column in data.time_column, or use another split")
    session = user if gap_minutes is None else sessions(interactions, gap_minutes * 60)
    n_sessions = int(session.max(initial=-1)) + 1
    start = np.full(n_sessions, np.iinfo(np.int64).max)
    np.minimum.at(start, session, time)
    newest = time.max() if len(time) else 0
    test_from = newest - test_days * DAY
    validation_from = test_from - validation_days * DAY
    part = np.select([start >= test_from, start >= validation_from], [TEST, VALIDATION], TRAIN).astype(np.int8)[session]

    end = np.array([validation_from, test_from, np.inf])  # by part
    in_time = time < end[part]
    kept = in_time & (_lengths(session, in_time, n_sessions) >= 2)
    known_item = np.zeros(interactions.n_items, bool)
    known_item[interactions.item[kept & (part == TRAIN)]] = True
    unknown = kept & ~known_item[interactions.item] & drop_unknown_items
    kept &= ~unknown
    kept &= _lengths(session, kept, n_sessions) >= 2

    _check_parts(time, part[kept], validation_days, test_days)
    split_rows = np.flatnonzero(kept)
    data = _as_users(interactions, session, split_rows, numbered=gap_minutes is not None)
    part = part[split_rows]
    rank, _ = ranks(data)
    ground_truth = (rank > 0) if data.target is None else (rank > 0) & data.target
    part = np.where((part != TRAIN) & ~ground_truth, part + KNOWN, part).astype(np.int8)
    split = assembled(data, part, validated=validation_days > 0, every_step=True)
    notes = {
        "sessions": data.n_users,
        "sessions_too_short_dropped": int(np.count_nonzero(np.bincount(session))) - data.n_users,
        "rows_after_cut_dropped": int(np.count_nonzero(~in_time)),
        "rows_of_unknown_items_dropped": int(np.count_nonzero(unknown)),
    }
    return replace(split, notes={**split.notes, **notes})


def _check_parts(time: np.ndarray, part: np.ndarray, validation_days: float, test_days: float) -> None:
    """Raise an InputError if a part has no rows."""
    for code, purpose in ((TRAIN, "train on"), (VALIDATION, "validate"), (TEST, "test")):
        if not (part == code).any() and (code != VALIDATION or validation_days):
            days = np.ptp(time) / DAY if len(time) else 0.0
            raise InputError(
                f"split=sessions leaves no session of two or more events to {purpose}: the data spans {days:.1f} days, "
                f"split.validation_days={validation_days:g} and split.test_days={test_days:g}; change "
                "them, or increase split.gap_minutes"
            )


def _lengths(session: np.ndarray, mask: np.ndarray, n_sessions: int) -> np.ndarray:
    """Return the number of masked rows in the session of each row, [N]."""
    return np.bincount(session[mask], minlength=n_sessions)[session]


def _as_users(interactions: Interactions, session: np.ndarray, rows: np.ndarray, *, numbered: bool) -> Interactions:
    """Return the given rows with sessions as users; each session gets the features of its user."""
    occurs = np.bincount(session[rows]) > 0
    left, position = np.flatnonzero(occurs), np.cumsum(occurs, dtype=np.int32) - np.int32(1)
    owner = np.empty(int(session.max(initial=-1)) + 1, np.int32)
    owner[session] = interactions.user
    ids = interactions.user_ids[owner[left]]
    if numbered:
        first = np.full(interactions.n_users, np.iinfo(np.int32).max)
        np.minimum.at(first, interactions.user, session)
        number = pd.Series(left - first[owner[left]] + 1).astype(str)
        ids = (pd.Series(ids).astype(str) + ":" + number).to_numpy(object)
    features = interactions.user_features
    if features is not None:
        features = features.iloc[owner[left]].reset_index(drop=True)
    return replace(
        interactions.take(rows), user=position[session[rows]], user_ids=ids, user_features=features, part=None
    )
