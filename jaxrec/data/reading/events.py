"""Event types, such as view and purchase: filtering, target selection and sample weights."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Int

from jaxrec.data.reading.times import Where
from jaxrec.errors import InputError

MAX_EVENT_TYPES = 127  # codes are int8


class EventRows(NamedTuple):
    """Rows with the columns that follow from their event type, for `encode`.

    Attributes:
        frame: the remaining rows, with the columns event (codes of `names`, if more than one type remains), target
            (if a target event is set and other types remain) and weight (if weights are set).
        names: names of the event codes; empty if one type remains.
        notes: dropped rows, as reason → number of rows.
    """

    frame: pd.DataFrame
    names: tuple[str, ...]
    notes: dict[str, int]


def apply_events(
    frame: pd.DataFrame,
    where: Where,
    *,
    known: Sequence[str] | None = None,
    kept: Sequence[str] | None = None,
    target: str | None = None,
    weights: Mapping[str, float] | None = None,
) -> EventRows:
    """Derive event codes, targets and weights from the categorical column `event`.

    Args:
        frame: rows with a categorical column `event`.
        where: maps a row to its location, for error messages.
        known: valid events, any other is an error; None: all events of the data.
        kept: data.events, the events to keep; None: all.
        target: data.target_event, the event to recommend for, the others are history; None: all are targets.
        weights: data.event_weights, sample weight in training by event; 1 if not listed.

    Raises:
        InputError: a row has no event or an unknown one, or a setting names an event that is unknown or has no rows.
    """
    names = tuple(known) if known is not None else tuple(sorted(map(str, frame["event"].cat.categories)))
    codes = _codes(frame["event"], names, where)
    settings = {"data.events": kept or (), "data.event_weights": weights or ()}
    settings |= {"data.target_event": () if target is None else (target,)}
    for key, values in settings.items():
        if unknown := [name for name in values if name not in names]:
            raise InputError(f"{key} has the unknown event {unknown[0]!r}: the events are {', '.join(names)}")

    notes = {}
    if kept is not None:
        if target is not None and target not in kept:
            raise InputError(f"data.target_event={target} is not in data.events={list(kept)}: add it")
        row_kept = np.isin(codes, [names.index(name) for name in kept])
        if dropped := int(np.count_nonzero(~row_kept)):
            notes["rows of events that data.events does not keep, dropped"] = dropped
        new_codes = np.array([list(kept).index(name) if name in kept else -1 for name in names], np.int8)
        frame, codes, names = frame[row_kept], new_codes[codes[row_kept]], tuple(kept)
    if not len(frame):
        raise InputError(f"data.events={list(kept or ())} keeps no rows: add other events")
    columns: dict[str, np.ndarray] = {}
    if target is not None and not (hit := codes == names.index(target)).all():
        if not hit.any():
            raise InputError(f"no row has data.target_event={target}: choose one of {', '.join(names)}")
        columns["target"] = hit
    if weights is not None:
        columns["weight"] = np.array([weights.get(name, 1.0) for name in names], np.float32)[codes]
        if not columns["weight"][columns.get("target", slice(None))].any():
            raise InputError(
                f"data.event_weights={dict(weights)}: all rows to learn from would have the weight 0: give "
                f"{target if target is not None else 'one of the events'} a weight above 0"
            )
    if len(names) == 1:
        return EventRows(frame.drop(columns="event").assign(**columns), (), notes)
    return EventRows(frame.assign(event=codes, **columns), names, notes)


def _codes(events: pd.Series, names: Sequence[str], where: Where) -> Int[np.ndarray, "N"]:
    """Code of the event of each row; raise an InputError for ambiguous names and rows without a known event."""
    codes = events.cat.codes.to_numpy()
    if (missing := np.flatnonzero(codes < 0)).size:
        raise InputError(f"{where(int(missing[0]))} has no event ({missing.size:,} such rows): fill or drop them")
    if len(names) > MAX_EVENT_TYPES:
        raise InputError(
            f"data.event_column has {len(names):,} distinct events: name a column with at most {MAX_EVENT_TYPES}"
        )
    spellings: dict[str, str] = {}
    for name in names:
        if (other := spellings.setdefault(name.strip().casefold(), name)) != name:
            raise InputError(
                f"data.event_column has the events {other!r} and {name!r}, which differ only in case or in blanks: "
                "write each event the same way"
            )
    categories = map(str, events.cat.categories)
    codes = np.array([names.index(name) if name in names else -1 for name in categories], np.int8)[codes]
    if (unknown := np.flatnonzero(codes < 0)).size:
        event = str(events.iloc[unknown[0]])
        raise InputError(
            f"{where(int(unknown[0]))} has the unknown event {event!r} ({unknown.size:,} such rows): the "
            f"events are {', '.join(names)}; fix or drop these rows"
        )
    return codes
