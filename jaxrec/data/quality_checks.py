"""Data quality checks: each counts suspicious rows, users or items and describes a likely cause."""

from collections.abc import Iterator

import numpy as np
import pandas as pd

from jaxrec.data.interactions import Interactions
from jaxrec.data.reading.anonymous import placeholder_items
from jaxrec.data.reading.times import DAY

EARLIEST = 631_152_000_000  # 1990 in milliseconds, before any online shop or rating site
LATEST = 4_102_444_800_000  # 2100
BUSY = 1_000  # interactions per user that, if also 100 times the median, suggest a bot
PER_MINUTE = 60  # interactions per user within a clock minute that suggest a script

Finding = tuple[str, int, int, str]  # problem, count, total, likely cause


def problems(interactions: Interactions) -> pd.DataFrame:
    """Return all problems: description, count, share of the rows, users or items checked, and likely cause.

    Rows dropped or repaired while reading come first, then findings of the checks with a nonzero count.
    """
    rows = [("while reading", what, count, np.nan, "") for what, count in interactions.notes.items()]
    checks = (_repeats, _order, _single, _placeholders, _busy, _values, _moments, _features)
    for check in checks if len(interactions) else ():
        findings = check(interactions)
        rows += [("found", what, count, count / total, meaning) for what, count, total, meaning in findings if count]
    return pd.DataFrame(rows, columns=["when", "problem", "count", "share", "meaning"])


def _repeats(data: Interactions) -> Iterator[Finding]:
    key = data.user.astype(np.int64) * data.n_items + data.item
    if data.event is not None:
        key = key * (int(data.event.max()) + 1) + data.event
    pair, copies = pd.Series(key), 0
    repeated = pair.duplicated().to_numpy()
    if data.time is not None:
        rows = np.flatnonzero(pair.duplicated(keep=False))
        copies = int(pd.DataFrame({"pair": key[rows], "time": data.time[rows]}).duplicated().sum())
        meaning = "possibly logged twice; data.duplicates chooses what to keep, where the source supports it"
        yield "rows that repeat the user, item, event type and time of another row", copies, len(data), meaning
    meaning = "repeat purchases or double clicks: decide whether a pair counts once or each time"
    yield "rows that repeat the user, item and event type of an earlier row", int(repeated.sum()), len(data), meaning


def _order(data: Interactions) -> Iterator[Finding]:
    if data.time is None:
        return
    by_user = np.argsort(data.user, kind="stable")
    back = (np.diff(data.time[by_user]) < 0) & (np.diff(data.user[by_user]) == 0)
    meaning = "the file is not sorted by time; splits and histories sort by time, ties in file order"
    yield "rows older than the user's previous row", int(back.sum()), len(data), meaning
    odd = (data.time < EARLIEST) | (data.time >= LATEST)
    yield "times before 1990 or after 2099", int(odd.sum()), len(data), "wrong unit, or 0 for missing"


def _single(data: Interactions) -> Iterator[Finding]:
    for what, ids, meaning in (
        ("users", data.user, "such users cannot be in both train and test; see the k-core sizes"),
        ("items", data.item, "collaborative models learn nothing about such items"),
    ):
        counts = np.bincount(ids)
        yield f"{what} with a single interaction", int((counts == 1).sum()), int((counts > 0).sum()), meaning


def _placeholders(data: Interactions) -> Iterator[Finding]:
    found = placeholder_items(data.item_ids)
    if found.any():
        meaning = f"drop the rows of item {data.item_ids[found].tolist()[0]!r}, or it is recommended like any other"
        yield "rows of an item whose id reads like a missing one", int(found[data.item].sum()), len(data), meaning


def _busy(data: Interactions) -> Iterator[Finding]:
    counts = np.bincount(data.user)
    users = int((counts > 0).sum())
    limit = max(BUSY, 100 * float(np.median(counts[counts > 0])))
    meaning = "bots, staff or resellers; they have a large weight in popularity and training"
    yield (
        f"users with more than {limit:,.0f} interactions, far above the median",
        int((counts > limit).sum()),
        users,
        meaning,
    )
    most = int(counts.argmax())
    if users >= 20 and counts[most] > 0.1 * len(data):
        meaning = f"user {data.user_ids[most]}: possibly a placeholder for anonymous users, such as -1 or 0"
        yield "interactions of a single user", int(counts[most]), len(data), meaning
    if data.time is not None and (data.time % DAY).any():
        minute = data.time // 60_000
        n = int(minute.max() - minute.min()) + 1
        moments, rows = np.unique(data.user * np.int64(n) + minute - minute.min(), return_counts=True)
        fast = len(np.unique(moments[rows > PER_MINUTE] // n))
        meaning = "a bot, or a basket or import written at once"
        yield f"users with more than {PER_MINUTE} interactions within one minute", fast, users, meaning


def _values(data: Interactions) -> Iterator[Finding]:
    for name, values in (("value", data.value), ("weight", data.weight)):
        if values is None:
            continue
        finite = values[np.isfinite(values)]
        yield f"rows whose {name} is missing or not finite", len(values) - len(finite), len(values), "fix or drop them"
        negative = int((finite < 0).sum())
        yield (
            f"rows with a negative {name}",
            negative,
            len(values),
            "returns or cancellations? data.min_value drops them",
        )
        if len(finite) > 1 and finite.min() == finite.max():
            yield f"rows that all have the {name} {finite[0]:g}", len(finite), len(values), "a constant column"
        elif len(finite) >= 100 and np.abs(finite).max() > 100 * (near := float(np.quantile(np.abs(finite), 0.99))) > 0:
            far = int((np.abs(finite) > 100 * near).sum())
            meaning = f"typos or wholesale; the 99th percentile is {near:g}, the largest {np.abs(finite).max():g}"
            yield f"rows with a {name} beyond 100 times the 99th percentile", far, len(values), meaning


def _moments(data: Interactions) -> Iterator[Finding]:
    if data.time is None:
        return
    if not (data.time % DAY).any():
        meaning = "no time of day: rows of a day are in file order, and sessions cannot be detected"
        yield "rows whose time is a whole day", len(data), len(data), meaning
        return
    moments, rows = np.unique(data.time, return_counts=True)
    most = int(rows.argmax())
    if rows[most] >= max(100, 0.005 * len(data)):
        when = str(np.datetime64(int(moments[most]), "ms").astype("datetime64[s]")).replace("T", " ")
        meaning = f"all at {when}: an import, or a default written where the time was missing"
        yield "rows with the same time", int(rows[most]), len(data), meaning


def _features(data: Interactions) -> Iterator[Finding]:
    for what, table in (("user", data.user_features), ("item", data.item_features)):
        if table is None or not len(table.columns):
            continue
        missing = table.isna()
        empty = int(missing.all(axis=1).sum())
        meaning = f"their id is missing from the {what} features, or the row is empty"
        yield f"{what}s without any feature", empty, len(table), meaning
        for column in table if len(table.columns) > 1 else ():
            lacking = int(missing[column].sum()) - empty
            yield (
                f"{what}s with other features but without {column}",
                lacking,
                len(table),
                "models treat a missing value as a separate category",
            )
