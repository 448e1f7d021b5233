"""What to see in a table, said in one sentence that is computed from it."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd

from jaxrec.page.html import plural

WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")


def rows(table: pd.DataFrame) -> Iterator[Any]:
    """Named tuples of the rows."""
    return table.itertuples(index=False)


def percent(share: float) -> str:
    """`1.2 %`: two or three digits, never nothing for something and never all for less."""
    if np.isnan(share):
        return "n/a"
    if 0.995 <= share < 1:
        return "over 99 %"
    if 0 < share < 1e-4:
        return "under 0.01 %"
    return f"{100 * share:.0f} %" if share >= 0.1 else f"{100 * share:.2g} %"


def number(value: float) -> str:
    """`1,234`, `12.3` or `0.012`."""
    return f"{value:,.0f}" if abs(value) >= 100 or value == int(value) else f"{value:.3g}"


def of_actions(table: pd.DataFrame) -> str:
    """What most actions are, and how many of them there are for each of the rarest."""
    first, last = table.iloc[0], table.iloc[-1]
    if len(table) == 1:
        return f"All {first.interactions:,} are of one kind, “{first.action}”."
    per = number(first.interactions / last.interactions)
    return f"{percent(first.share)} of all actions are “{first.action}”: {per} for each “{last.action}”."


def of_top_items(table: pd.DataFrame) -> str:
    """What the first and all that are listed make up."""
    first, action = table.iloc[0], table.action.iloc[0]
    listed = f"; the {len(table)} listed make up {percent(table.share.sum())}" if len(table) > 1 else ""
    by = plural(first.users, "user")
    return f"“{first.title}” has {first.interactions:,} by {by}, {percent(first.share)} of every {action}{listed}."


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
    one, ten, twenty = (percent(items[f"top_{p}_percent"]) for p in (1, 10, 20))
    return (
        f"The most frequent 1 % of items have {one} of the interactions, 10 % have {ten} and 20 % have {twenty} "
        f"(Gini {items.gini:.2f}); the most active 10 % of users have {percent(users.top_10_percent)} "
        f"(Gini {users.gini:.2f})."
    )


def of_activity(table: pd.DataFrame) -> str:
    """How much the middle one, the upper tenth and the first do."""
    parts = [
        f"{row.action}: median {number(row.median)}, 90th percentile {number(row.p90)}, most {row.most:,}"
        for row in rows(table)
    ]
    said = "; ".join(parts)
    return f"Of the users who do it at all, {said}. Boxes hold the middle half, whiskers 90 %; dashes are means."


def of_all_users(table: pd.DataFrame) -> str:
    """How many users have a single row."""
    mine = table[table.group == "all users"]
    n = int(mine["count"].sum())
    single = int(mine["count"][mine.high == 1].sum())
    of = f"{single:,} ({percent(single / n)}) of the {plural(n, 'user')} with any {table.action.iloc[0]}"
    return f"{of} {'has' if single == 1 else 'have'} just one."


def of_top_users(table: pd.DataFrame) -> str:
    """How many users the upper tenth is, and what it has."""
    everyone, mine = (table[table.group == group] for group in ("all users", "top users"))
    n, action = int(mine["count"].sum()), table.action.iloc[0]
    who = f"{plural(n, 'user')} with {table.cut.iloc[0]:,} or more, {percent(n / everyone['count'].sum())} of all"
    return f"{who}, have {percent(mine.share.iloc[0])} of every {action}."


def of_most_active(table: pd.DataFrame, total: int) -> str:
    """What the first and all that are listed did."""
    first = table.iloc[0]
    did = f"User {first.user_id} did most: {first.interactions:,} on {plural(first['items'], 'item')}"
    return f"{did}; the {len(table)} listed did {percent(table.interactions.sum() / total)} of everything."


def of_time(table: pd.DataFrame) -> str:
    """The busiest and the middling period."""
    period = table.period.iloc[0]
    totals = table.groupby("start").interactions.sum()
    busiest = f"The busiest {period} began {totals.idxmax()} (UTC) with {totals.max():,}"
    return f"{busiest}; the middle one of {plural(len(totals), period)} has {number(totals.median())}."


def of_hours(table: pd.DataFrame) -> str:
    """The busiest and the quietest hour of the week."""
    counts = table.groupby(["weekday", "hour"], as_index=False).interactions.sum()
    most, least = (counts.loc[int(place)] for place in (counts.interactions.argmax(), counts.interactions.argmin()))
    busiest, quietest = (
        f"{WEEKDAYS[cell.weekday]} from {cell.hour}:00 with {percent(cell.interactions / counts.interactions.sum())}"
        for cell in (most, least)
    )
    return f"Busiest is {busiest} of everything, quietest {quietest}; an even week would have 0.6 % in each hour (UTC)."


def of_peaks(table: pd.DataFrame, column: str) -> str:
    """When each action peaks: of hours or weekdays."""
    parts = []
    for action, mine in table.groupby("action", sort=False):
        counts = mine.groupby(column).interactions.sum()
        place = int(np.asarray(counts.index)[int(counts.argmax())])
        peak = WEEKDAYS[place] if column == "weekday" else f"{place}:00"
        parts.append(f"{action} {peak} ({percent(counts.max() / counts.sum())})")
    return f"Share of each action by {column} (UTC); the peaks: {', '.join(parts)}."


def of_funnel(table: pd.DataFrame, of: str) -> str:
    """How many go on at each step, from first to last, and how many skip one."""
    names, noun = list(table.action), {"pairs": "pairs of user and item", "users": "users"}[of]
    rates = [percent(rate) for rate in table[f"{of}_rate"].iloc[1:]]
    steps = [f"{rate} from {a} to {b}" for a, b, rate in zip(names, names[1:], rates, strict=False)]
    first, last = table.iloc[0], table.iloc[-1]
    whole = percent(last[f"{of}_through"] / first[of] if first[of] else np.nan)
    each = f" ({', '.join(steps)})" if len(steps) > 1 else ""
    skipped = int(last[of] - last[f"{of}_through"])
    aside = f" {skipped:,} more have “{names[-1]}” without every step before." if skipped else ""
    return f"Of {first[of]:,} {noun} with “{names[0]}”, {whole} reach “{names[-1]}”{each}.{aside}"


def of_sessions(table: pd.DataFrame) -> str:
    """How long sessions are, in actions, and what they hold."""
    fact = dict(zip(table.fact, table.value, strict=True))
    count = f"{plural(int(fact['sessions']), 'session')}, {number(fact['sessions per user'])} a user"
    holding = "share with "
    held = {name.removeprefix(holding): value for name, value in fact.items() if name.startswith(holding)}
    single = percent(held.pop("a single action"))
    parts = [f"; {percent(value)} have “{name}”" for name, value in held.items()]
    return (
        f"{count}, of {number(fact['mean actions'])} actions in the mean; {single} are a single action{''.join(parts)}."
    )


def of_durations(table: pd.DataFrame) -> str:
    """How long sessions are, in time."""
    fact = dict(zip(table.fact, table.value, strict=True))
    gap = number(fact["minutes of pause that end one"])
    median = fact.get("median minutes, of those with more than one")
    if median is None:
        said = "none has more than one action"
    elif median == 0:
        said = "half of those with more than one action have all of them at one moment"
    else:
        longest = f"{number(round(median, 1))} minutes" if median >= 1 else f"{60 * median:.0f} seconds"
        said = f"half of those with more than one action last at most {longest}"
    return f"From first to last action: {said}. A pause of more than {gap} minutes ends a session."


def of_spread(table: pd.DataFrame, name: str) -> str:
    """The most frequent value, and the ends."""
    low, high, count = (table[column].to_numpy() for column in ("low", "high", "count"))
    most = int(count.argmax())
    where = number(low[most]) if low[most] == high[most] else f"{number(low[most])} to {number(high[most])}"
    ends = f"they go from {number(low.min())} to {number(high.max())}"
    return f"The most frequent {name} is {where}, in {percent(count[most] / count.sum())} of the rows; {ends}."


def of_correlations(table: pd.DataFrame) -> str:
    """The strongest correlation in either direction, that of kinds of action with each other aside."""
    values = table.drop(columns="column").to_numpy(np.float64, copy=True)
    names = list(table.column)
    values[np.tril_indices(len(names))] = np.nan
    kinds = np.array([name.startswith("is ") for name in names])
    values[np.ix_(kinds, kinds)] = np.nan  # a row is of one kind: that they exclude each other is no news
    if np.isnan(values).all():
        return "No two columns have values in the same rows, kinds of action aside."
    row, column = np.unravel_index(np.nanargmax(np.abs(values)), values.shape)
    aside = ", that of kinds of action with each other aside," if kinds.sum() > 1 else ""
    return (
        f"Spearman's rank correlation over interactions, -1 to 1; the strongest{aside} is {values[row, column]:.2f}, "
        f"between “{names[row]}” and “{names[column]}”."
    )


def of_pairs(table: pd.DataFrame, of: str, other: str) -> str:
    """How many have fewer than five."""
    mine = table[table.of == of]
    few = mine["count"][mine.high < 5].sum() / mine["count"].sum()
    return f"{percent(few)} of the {of} have fewer than 5 different {other}."


def of_cores(table: pd.DataFrame) -> str:
    """What the 5-core leaves."""
    first, chosen = table.iloc[0], table[table.k <= 5].iloc[-1]
    kept = [f"{percent(chosen[of] / first[of])} of the {of}" for of in ("users", "items", "interactions")]
    core = f"Where each user and item must have {int(chosen.k)} rows, repeats included (data.k_core={int(chosen.k)})"
    return f"{core}, {kept[0]}, {kept[1]} and {kept[2]} are left."


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
