"""What to see in a table, said in one sentence that is computed from it."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd

WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")


def rows(table: pd.DataFrame) -> Iterator[Any]:
    """Named tuples of the rows."""
    return table.itertuples(index=False)


def percent(share: float) -> str:
    """`1.2 %`: three digits at most, and never nothing for something."""
    if np.isnan(share):
        return "n/a"
    shown = (
        f"{100 * share:.0f}" if share >= 0.1 else f"{100 * share:.2g}" if share >= 1e-4 or not share else "under 0.01"
    )
    return f"{shown} %"


def plural(count: int, noun: str) -> str:
    """`1 user`, `2 users`."""
    return f"{count:,} {noun}" + ("" if count == 1 else "s")


def number(value: float) -> str:
    """`1,234`, `12.3` or `0.012`."""
    return f"{value:,.0f}" if abs(value) >= 100 or value == int(value) else f"{value:.3g}"


def of_actions(table: pd.DataFrame) -> str:
    """What most actions are, and how many of them there are for each of the rarest."""
    first, last = table.iloc[0], table.iloc[-1]
    if len(table) == 1:
        return f"All {first.interactions:,} are of one kind: the data names no events."
    per = number(first.interactions / last.interactions)
    return f"{percent(first.share)} of the actions are {first.action}; there are {per} of them for each {last.action}."


def of_top_items(table: pd.DataFrame) -> str:
    """What the first and all that are listed make up."""
    first, noun = table.iloc[0], table.action.iloc[0]
    together = (
        f"the {len(table)} listed together {percent(table.share.sum())}" if len(table) > 1 else "it is all there is"
    )
    return (
        f"“{first.title}” is first with {percent(first.share)} of every {noun} ({plural(first.interactions, noun)} by "
        f"{plural(first.users, 'user')}); {together}."
    )


def of_ranks(table: pd.DataFrame) -> str:
    """The first item beside the one in the middle."""
    parts = []
    for action, mine in table.groupby("action", sort=False):
        middle = mine.iloc[(mine["rank"] - (mine["rank"].iloc[-1] + 1) / 2).abs().argmin()]
        parts.append(f"{action}: {mine.interactions.iloc[0]:,} of the first, {middle.interactions:,} of the middle one")
    return f"Items by rank, both axes logarithmic; a straight line is a power law. {'; '.join(parts[:3])}."


def of_concentration(table: pd.DataFrame) -> str:
    """What the most frequent items and the most active users have."""
    items, users = table.iloc[0], table.iloc[1]
    return (
        f"The most frequent 1 % of items have {percent(items.top_1_percent)} of the interactions, 10 % have "
        f"{percent(items.top_10_percent)} and 20 % have {percent(items.top_20_percent)} (Gini {items.gini:.2f}); the most "
        f"active 10 % of users have {percent(users.top_10_percent)} (Gini {users.gini:.2f})."
    )


def of_activity(table: pd.DataFrame) -> str:
    """How much the middle and the upper tenth do."""
    parts = [f"{row.action} {number(row.median)} and {number(row.p90)} ({row.most:,} the most)" for row in rows(table)]
    return (
        "Of the users who do it at all, half do so at most, and nine in ten at most, this often: "
        + "; ".join(parts)
        + "."
    )


def of_all_users(table: pd.DataFrame) -> str:
    """How many users have a single row."""
    mine = table[table.group == "all users"]
    single = mine["count"][mine.high == 1].sum() / mine["count"].sum()
    return f"{percent(single)} of the {plural(int(mine['count'].sum()), 'user')} have a single {table.action.iloc[0]}."


def of_top_users(table: pd.DataFrame) -> str:
    """How many users the upper tenth is, and what it has."""
    everyone, mine = (table[table.group == group] for group in ("all users", "top users"))
    n, action = int(mine["count"].sum()), table.action.iloc[0]
    return (
        f"{plural(n, 'user')} with {table.cut.iloc[0]:,} or more, {percent(n / everyone['count'].sum())} of all, have "
        f"{percent(mine.share.iloc[0])} of every {action}."
    )


def of_most_active(table: pd.DataFrame, total: int) -> str:
    """What the first and all that are listed did."""
    first, listed = table.iloc[0], table.interactions.sum()
    return (
        f"User {first.user_id} did most: {first.interactions:,} on {plural(first['items'], 'item')}; the {len(table)} listed "
        f"did {percent(listed / total)} of everything."
    )


def of_time(table: pd.DataFrame) -> str:
    """The busiest and the middling period."""
    period = table.period.iloc[0]
    by_start = table.groupby("start").interactions.sum()
    noun = "periods" if len(by_start) > 1 else "period"
    return (
        f"By {period} (UTC): the busiest began {by_start.idxmax()} with {by_start.max():,}; the middle one of "
        f"{len(by_start):,} {noun} has {number(by_start.median())}."
    )


def of_hours(table: pd.DataFrame) -> str:
    """The busiest and the quietest hour of the week."""
    cells = table.groupby(["weekday", "hour"]).interactions.sum()
    (day, hour), (low_day, low_hour) = cells.idxmax(), cells.idxmin()
    return (
        f"Busiest is {WEEKDAYS[day]} from {hour}:00 with {percent(cells.max() / cells.sum())} of everything, quietest "
        f"{WEEKDAYS[low_day]} from {low_hour}:00 with {percent(cells.min() / cells.sum())}; an even week would have 0.6 % "
        "in each hour. Times are UTC."
    )


def of_peaks(table: pd.DataFrame, column: str) -> str:
    """When each action peaks: of hours or weekdays."""
    parts = []
    for action, mine in table.groupby("action", sort=False):
        counts = mine.groupby(column).interactions.sum()
        peak = WEEKDAYS[counts.idxmax()] if column == "weekday" else f"{counts.idxmax()}:00"
        parts.append(f"{action} at {peak} ({percent(counts.max() / counts.sum())})")
    return f"Share of each action by {column} (UTC); the peaks: {', '.join(parts)}."


def of_funnel(table: pd.DataFrame, of: str) -> str:
    """How many go on at each step, from first to last, and how many skip one."""
    names, noun = list(table.action), {"pairs": "pairs of user and item", "users": "users"}[of]
    steps = [
        f"{percent(rate)} go on from {before} to {after}"
        for before, after, rate in zip(names, names[1:], table[f"{of}_rate"].iloc[1:], strict=False)
    ]
    first, last = table.iloc[0], table.iloc[-1]
    whole = last[f"{of}_through"] / first[of] if first[of] else np.nan
    skipped = int(last[of] - last[f"{of}_through"])
    aside = f" {skipped:,} {noun} have {names[-1]} without all the steps before." if skipped else ""
    return f"Of {first[of]:,} {noun} with {names[0]}, {percent(whole)} get to {names[-1]}: {', '.join(steps)}.{aside}"


def of_sessions(table: pd.DataFrame) -> str:
    """How long sessions are, in actions."""
    fact = dict(zip(table.fact, table.value, strict=True))
    reached = [
        f"{percent(value)} hold {name[11:]}"
        for name, value in fact.items()
        if name.startswith("share with ") and "single" not in name
    ]
    return (
        f"{fact['sessions']:,.0f} sessions, {number(fact['sessions per user'])} a user, of {number(fact['mean actions'])} "
        f"actions in the mean; {percent(fact['share with a single action'])} are a single action"
        + (f"; {', '.join(reached[1:])}." if len(reached) > 1 else ".")
    )


def of_durations(table: pd.DataFrame) -> str:
    """How long sessions are, in time."""
    fact = dict(zip(table.fact, table.value, strict=True))
    gap = number(fact["minutes of pause that end one"])
    median = fact.get("median minutes, of those with more than one")
    said = (
        f"half of those with more than one action last at most {number(round(median, 1))} minutes"
        if median is not None
        else "none has more than one action"
    )
    return f"From first to last action; {said}. A pause of more than {gap} minutes ends a session."


def of_spread(table: pd.DataFrame, name: str) -> str:
    """The most frequent value, or where the middle half lies."""
    most = table.loc[table["count"].idxmax()]
    where = number(most.low) if most.low == most.high else f"{number(most.low)} to {number(most.high)}"
    share = percent(most["count"] / table["count"].sum())
    return f"The most frequent {name} is {where}, {share} of the rows; they go from {number(table.low.min())} to {number(table.high.max())}."


def of_correlations(table: pd.DataFrame) -> str:
    """The strongest correlation in either direction."""
    values = table.drop(columns="column").to_numpy(np.float64, copy=True)
    names = list(table.column)
    values[np.tril_indices(len(names))] = np.nan
    if np.isnan(values).all():
        return "No two columns have values in the same rows."
    row, column = np.unravel_index(np.nanargmax(np.abs(values)), values.shape)
    return (
        f"Spearman's rank correlation over interactions, -1 to 1; the strongest is {values[row, column]:.2f}, between "
        f"{names[row]} and {names[column]}."
    )


def of_pairs(table: pd.DataFrame, of: str, other: str) -> str:
    """How many have fewer than five."""
    mine = table[table.of == of]
    few = mine["count"][mine.high < 5].sum() / mine["count"].sum()
    return f"{percent(few)} of the {of} have fewer than 5 different {other}."


def of_cores(table: pd.DataFrame) -> str:
    """What the 5-core leaves."""
    first, chosen = table.iloc[0], table[table.k <= 5].iloc[-1]
    kept = {of: percent(chosen[of] / first[of]) for of in ("users", "items", "interactions")}
    return (
        f"With k = {int(chosen.k)}, {kept['users']} of the users, {kept['items']} of the items and {kept['interactions']} of the "
        "interactions remain (data.k_core)."
    )


def of_problems(table: pd.DataFrame) -> str:
    """How much reading repaired and the checks found."""
    repaired = table[table.when == "while reading"]["count"].sum()
    checks = int((table.when == "found").sum())
    said = f"Reading dropped or repaired {plural(int(repaired), 'row')}. " if repaired else ""
    return (
        f"{said}{plural(checks, 'check')} of the data found something." if checks else f"{said}No check found anything."
    )


def in_short(tables: dict[str, pd.DataFrame]) -> Sequence[str]:
    """The sentences that a report begins with."""
    said = [of_actions(tables["actions"])] if len(tables["actions"]) > 1 else []
    said += [of_funnel(tables["funnel"], "users")] if "funnel" in tables else []
    said += [of_concentration(tables["concentration"]), of_all_users(tables["user_histogram"])]
    said += [of_time(tables["over_time"])] if "over_time" in tables else []
    said += [of_sessions(tables["sessions"])] if "sessions" in tables else []
    return [*said, of_cores(tables["k_cores"]), of_problems(tables["problems"])]
