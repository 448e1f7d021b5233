"""Interactions over time, by weekday and hour (UTC), and in sessions."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from jaxrec.data.interactions import Interactions
from jaxrec.data.reading.times import DAY
from jaxrec.data.splits.sessions import sessions
from jaxrec.explore.histogram import histogram

PERIODS = {
    "hour": 3,
    "day": 200,
    "week": 4 * 365,
    "month": 100 * 365,
}  # period → longest time span to use it for, in days
DURATIONS = [0, 1, 10, 30, 60, 120, 300, 600, 1200, 1800, 3600, 7200, 14400, 86400]  # seconds


def over_time(time: np.ndarray | None, codes: np.ndarray, names: Sequence[str]) -> pd.DataFrame | None:
    """Count interactions by event type and hour, day, week, month or year, depending on the time span.

    Periods without interactions have count 0; None if the data has no times.
    """
    if time is None:
        return None
    days = (int(time.max()) - int(time.min())) / DAY
    period = next((name for name, longest in PERIODS.items() if days <= longest), "year")
    starts = _starts(time, period)
    first = int(starts.min())
    n = int(starts.max()) - first + 1
    counts = np.bincount(codes * n + starts - first, minlength=len(names) * n)
    start = np.tile(_dates(np.arange(first, first + n), period), len(names))
    return pd.DataFrame({"period": period, "start": start, "action": np.repeat(names, n), "interactions": counts})


def _starts(time: np.ndarray, period: str) -> np.ndarray:
    """Return the number of hours, days, weeks (from Monday), months or years since 1970, int64 [N]."""
    if period == "week":
        return (time // DAY + 3) // 7  # 1970 began on a Thursday
    return time.astype("datetime64[ms]").astype(f"datetime64[{_unit(period)}]").astype(np.int64)


def _dates(starts: np.ndarray, period: str) -> np.ndarray:
    if period == "week":
        return np.datetime_as_string((starts * 7 - 3).astype("datetime64[D]"))
    dates = starts.astype(f"datetime64[{_unit(period)}]")
    return np.datetime_as_string(dates.astype("datetime64[m]" if period == "hour" else "datetime64[D]"))


def _unit(period: str) -> str:
    return {"hour": "h", "day": "D", "month": "M", "year": "Y"}[period]


def hours(time: np.ndarray | None, codes: np.ndarray, names: Sequence[str]) -> pd.DataFrame | None:
    """Count interactions by event type, weekday (0 is Monday) and hour (UTC, missing if the data has dates only).

    None if the data has no times.
    """
    if time is None:
        return None
    columns = calendar(time)
    weekday = columns["weekday"].astype(np.int64)
    if whole_days(time):
        counts = np.bincount(codes * 7 + weekday, minlength=len(names) * 7)
        days = np.tile(np.arange(7), len(names))
        return pd.DataFrame({"action": np.repeat(names, 7), "weekday": days, "hour": pd.NA, "interactions": counts})
    place = weekday * 24 + columns["hour"].astype(np.int64)
    counts = np.bincount(codes * 168 + place, minlength=len(names) * 168)
    day, hour = np.divmod(np.tile(np.arange(168), len(names)), 24)
    return pd.DataFrame({"action": np.repeat(names, 168), "weekday": day, "hour": hour, "interactions": counts})


def whole_days(time: np.ndarray) -> bool:
    """Return whether the data has dates only, i.e. all times are midnight."""
    return not (time % DAY).any()


def calendar(time: np.ndarray | None) -> dict[str, np.ndarray]:
    """Return hour, weekday (0 is Monday) and days since 1970 of each row; empty if the data has no times."""
    if time is None:
        return {}
    return {"hour": time % DAY // 3_600_000, "weekday": (time // DAY + 3) % 7, "day": time // DAY}


def session_summary(
    interactions: Interactions, codes: np.ndarray, names: Sequence[str], gap_minutes: float
) -> pd.DataFrame | None:
    """Return session statistics: number, length, duration, and the share of sessions with each event type.

    None if the data has no times of day.
    """
    measures = _measured(interactions, gap_minutes)
    if measures is None:
        return None
    number, length, seconds = measures
    facts: dict[str, float] = {"minutes of pause that end one": gap_minutes, "sessions": len(length)}
    facts |= {"sessions per user": len(length) / np.count_nonzero(np.bincount(interactions.user))}
    facts |= {"mean actions": length.mean(), "median actions": float(np.median(length))}
    facts |= {"share with a single action": (length == 1).mean()}
    longer = seconds[length > 1]
    facts |= {"median minutes, of those with more than one": float(np.median(longer)) / 60} if len(longer) else {}
    for code, name in enumerate(names if len(names) > 1 else []):
        facts[f"share with {name}"] = float((np.bincount(number[codes == code], minlength=len(length)) > 0).mean())
    return pd.DataFrame({"fact": list(facts), "value": list(facts.values())})


def session_sizes(interactions: Interactions, gap_minutes: float) -> pd.DataFrame | None:
    """Return histograms of sessions by number of interactions (`of` is actions) and duration (`of` is seconds)."""
    measures = _measured(interactions, gap_minutes)
    if measures is None:
        return None
    _, length, seconds = measures
    edges = np.array([limit for limit in DURATIONS if limit <= seconds.max()])
    counts = np.bincount(np.searchsorted(edges, seconds, side="right") - 1, minlength=len(edges))
    high = np.append(edges[1:], max(int(seconds.max()), edges[-1]))
    durations = pd.DataFrame({"low": edges, "high": high, "count": counts, "of": "seconds"})
    return pd.concat([histogram(length).assign(of="actions"), durations], ignore_index=True)


def _measured(interactions: Interactions, gap_minutes: float) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
    """Return the session of each row, and the rows and seconds of each session; None without times of day."""
    time = interactions.time
    if time is None or whole_days(time):
        return None
    number = sessions(interactions, gap_minutes * 60)
    first, last = np.full(number.max() + 1, time.max()), np.full(number.max() + 1, time.min())
    np.minimum.at(first, number, time)
    np.maximum.at(last, number, time)
    return number, np.bincount(number), (last - first) / 1000
