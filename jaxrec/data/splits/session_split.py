"""Next item at every step of a session: sessions are what is split, and what plays the user's part from there on."""

from dataclasses import replace

import numpy as np
import pandas as pd
from pydantic import NonNegativeFloat, PositiveFloat

from jaxrec.arguments import reads
from jaxrec.data.interactions import Interactions
from jaxrec.data.reading.times import DAY
from jaxrec.data.splits.sessions import sessions
from jaxrec.data.splits.split import KNOWN, TEST, TRAIN, VALIDATION, Split, assembled, ranks, unsplit
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
    """Sessions that begin in the last days test, those of the days before validate; each step after the first is asked.

    gap_minutes: a user's session ends where more time than this passes; None takes all of a user as one session, as
                 where data.user_column names sessions
    test_days, validation_days: counted back from the newest interaction, and then from where testing begins
    drop_unknown_items: held-out rows whose item is not in train go, and the step after them follows on what is left

    At a step, the session's rows before it are known, and its item is sought, though the session may hold it already
    (nothing is masked). Where only some rows are targets (`Interactions.target`), only they are sought; all others are
    history. Nobody trains on the future: a session that began before a cut loses its rows from the cut on. Sessions of
    fewer than two events go, last of all. The user table of the split holds the sessions that are left: "USER:NUMBER",
    a user's sessions counted from 1, or the original ids where `gap_minutes` is None.   [Hidasi and Karatzoglou 2018]

    Notes beyond those of `assembled`: sessions, sessions_too_short_dropped, rows_after_cut_dropped,
    rows_of_unknown_items_dropped.
    """
    unsplit(interactions)
    user, time = interactions.user, interactions.time
    if time is None:
        raise InputError("split=sessions needs times: name their column in data.time_column, or use another split")
    session = user if gap_minutes is None else sessions(interactions, gap_minutes * 60)
    n_sessions = int(session.max(initial=-1)) + 1
    start = np.full(n_sessions, np.iinfo(np.int64).max)
    np.minimum.at(start, session, time)
    test_from = time.max(initial=0) - test_days * DAY
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

    for p, name in ((TRAIN, "train on"), (VALIDATION, "validate"), (TEST, "test")):
        if not (kept & (part == p)).any() and (p != VALIDATION or validation_days):
            days = (time.max(initial=0) - time.min(initial=0)) / DAY
            raise InputError(
                f"split=sessions leaves no session of two events or more to {name}: the data lasts {days:.1f} days, "
                f"split.validation_days={validation_days:g} and split.test_days={test_days:g}; change "
                "them, or set split.gap_minutes higher"
            )

    split_rows = np.flatnonzero(kept)
    data = _as_users(interactions, session, split_rows, numbered=gap_minutes is not None)
    part = part[split_rows]
    rank, _ = ranks(data, data.time)
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


def _lengths(session: np.ndarray, mask: np.ndarray, n_sessions: int) -> np.ndarray:
    """How many rows of the mask the session of each row has, [N]."""
    return np.bincount(session[mask], minlength=n_sessions)[session]


def _as_users(interactions: Interactions, session: np.ndarray, rows: np.ndarray, *, numbered: bool) -> Interactions:
    """These rows, with the sessions they lie in for users; features of a user become those of each session."""
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
