"""Kinds of events, such as view and purchase: which are kept, which are wanted, and how much each counts."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from jaxrec.data.reading.times import Where
from jaxrec.errors import InputError

MOST = 127  # codes are int8


class Marked(NamedTuple):
    """Rows with what their event makes of them, for `encode`.

    frame: event (codes of `names`) where more than one kind is left, target where one is chosen and others are left,
           weight where weights are given
    names: of the codes; empty where one kind is left
    notes: what was dropped
    """

    frame: pd.DataFrame
    names: tuple[str, ...]
    notes: dict[str, int]


def marked(
    frame: pd.DataFrame,
    where: Where,
    *,
    known: Sequence[str] | None = None,
    kept: Sequence[str] | None = None,
    target: str | None = None,
    weights: Mapping[str, float] | None = None,
) -> Marked:
    """Event, target and weight of rows whose categorical column `event` names what happened.

    known:   the events there may be; any other is an error, since a name that nobody expects is a mistake somewhere.
             None: whatever the data has
    kept:    data.events, the rows of others are dropped and counted; None keeps all
    target:  data.target_event, the event to be recommended for, the others are history; None: all are targets
    weights: data.event_weights, how much a row counts in training, by event; 1 where an event is not named

    Raises InputError, naming the row, for one without an event or of an unknown one, and for a name asked for that is
    not known or of which no row is left.
    """
    codes, found = frame["event"].cat.codes.to_numpy(), [str(name) for name in frame["event"].cat.categories]
    if (missing := np.flatnonzero(codes < 0)).size:
        raise InputError(f"{where(int(missing[0]))} has no event ({missing.size:,} such rows): fill or drop them")
    names = tuple(known) if known is not None else tuple(sorted(found))
    if len(names) > MOST:
        raise InputError(f"data.event_column has {len(names):,} different events: name a column with {MOST} at most")
    place = np.array([names.index(name) if name in names else -1 for name in found], np.int8)
    codes = place[codes]
    if (odd := np.flatnonzero(codes < 0)).size:
        said = str(frame["event"].iloc[odd[0]])
        raise InputError(
            f"{where(int(odd[0]))} has the event {said!r} ({odd.size:,} rows of unknown events): the events are "
            f"{', '.join(names)}; mend or drop those rows"
        )
    asked = {"data.events": kept or (), "data.event_weights": weights or ()}
    asked |= {"data.target_event": () if target is None else (target,)}
    for key, wanted in asked.items():
        if unknown := [name for name in wanted if name not in names]:
            raise InputError(f"{key} names {unknown[0]!r}, and the events are {', '.join(names)}")

    notes = {}
    if kept is not None:
        if target is not None and target not in kept:
            raise InputError(f"data.target_event={target} is not among data.events={list(kept)}: keep it too")
        row_kept = np.isin(codes, [names.index(name) for name in kept])
        if dropped := int(np.count_nonzero(~row_kept)):
            notes["rows of events that data.events does not keep, dropped"] = dropped
        place = np.array([list(kept).index(name) if name in kept else -1 for name in names], np.int8)
        frame, codes, names = frame[row_kept], place[codes[row_kept]], tuple(kept)
    if not len(frame):
        raise InputError(f"data.events={list(kept or ())} keeps no row: keep others too")
    columns: dict[str, np.ndarray] = {}
    if target is not None and not (hit := codes == names.index(target)).all():
        if not hit.any():
            raise InputError(f"no row is of data.target_event={target}: choose another of {', '.join(names)}")
        columns["target"] = hit
    if weights is not None:
        columns["weight"] = np.array([weights.get(name, 1.0) for name in names], np.float32)[codes]
    if len(names) == 1:
        return Marked(frame.drop(columns="event").assign(**columns), (), notes)
    return Marked(frame.assign(event=codes, **columns), names, notes)
