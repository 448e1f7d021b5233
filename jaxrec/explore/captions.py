"""Chart captions computed from the tables."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd

from jaxrec.explore.actions import ONE_KIND
from jaxrec.page.html import plural

WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")


def rows(table: pd.DataFrame) -> Iterator[Any]:
    """Iterate over the rows of a table as named tuples."""
    return table.itertuples(index=False)


def percent(share: float) -> str:
    """Format a share as `1.2%`; shares above 0 are never shown as 0%, shares below 1 never as 100%."""
    if np.isnan(share):
        return "n/a"
    if 0.995 <= share < 1:
        return "over 99%"
    if 0 < share < 1e-4:
        return "under 0.01%"
    return f"{100 * share:.0f}%" if share >= 0.1 else f"{100 * share:.2g}%"


def number(value: float) -> str:
    """Format a number as `1,234`, `12.3` or `0.012`."""
    return f"{value:,.0f}" if abs(value) >= 100 or value == int(value) else f"{value:.3g}"


def noun(action: str) -> str:
    """Return `interactions`, or `“view” interactions` for an event type."""
    return "interactions" if action == ONE_KIND else f"“{action}” interactions"


def of_actions(table: pd.DataFrame) -> str:
    """Describe the share of the most frequent event type, and its ratio to the rarest."""
    first, last = table.iloc[0], table.iloc[-1]
    if len(table) == 1:
        return f"All {first.interactions:,} interactions are of one type, “{first.action}”."
    per = number(first.interactions / last.interactions)
    return f"{percent(first.share)} of the interactions are “{first.action}”: {per} for each “{last.action}”."


def of_top_items(table: pd.DataFrame) -> str:
    """Describe the share of the most popular item and of all listed items."""
    first, kind = table.iloc[0], noun(table.action.iloc[0])
    listed = f"; the {len(table)} items shown have {percent(table.share.sum())}" if len(table) > 1 else ""
    who = plural(first.users, "user")
    return f"“{first.title}” has {first.interactions:,} {kind} from {who}, {percent(first.share)} of the total{listed}."


def of_ranks(table: pd.DataFrame) -> str:
    """Compare the most popular item with the median item."""
    parts = []
    for action, group in table.groupby("action", sort=False):
        middle = group.iloc[(group["rank"] - (group["rank"].iloc[-1] + 1) / 2).abs().argmin()]
        counts = f"{group.interactions.iloc[0]:,} for the first item, {middle.interactions:,} for the median item"
        parts.append(f"{noun(str(action))}: {counts}")
    return f"Both axes are logarithmic; a straight line is a power law. {_sentence('; '.join(parts[:3]))}."


def of_concentration(table: pd.DataFrame) -> str:
    """Describe the shares of the most popular items and the most active users."""
    items, users = table.iloc[0], table.iloc[1]
    one, ten, twenty = (percent(items[f"top_{p}_percent"]) for p in (1, 10, 20))
    return (
        f"The most popular 1% of the items have {one} of the interactions, the top 10% have {ten} and the top 20% have "
        f"{twenty} (Gini {items.gini:.2f}); the most active 10% of the users have {percent(users.top_10_percent)} "
        f"(Gini {users.gini:.2f})."
    )


def of_activity(table: pd.DataFrame) -> str:
    """Describe the interactions per user: median, 90th percentile and maximum."""
    parts = [
        f"{noun(row.action)}: median {number(row.median)}, 90th percentile {number(row.p90)}, maximum {row.most:,}"
        for row in rows(table)
    ]
    text = f"{_sentence('; '.join(parts))}; only users with at least one."
    return f"{text} Box: quartiles; whiskers: 5th and 95th percentiles; dashed: mean."


def of_all_users(table: pd.DataFrame) -> str:
    """Describe the share of users with a single interaction."""
    bins = table[table.group == "all users"]
    n, action = int(bins["count"].sum()), table.action.iloc[0]
    single = int(bins["count"][bins.high == 1].sum())
    kind = "interactions" if action == ONE_KIND else f"“{action}” interactions"
    if not single:
        return f"Each of the {plural(n, 'user')} with {kind} has at least two."
    have = "have" if single > 1 else "has"
    return f"{single:,} ({percent(single / n)}) of the {plural(n, 'user')} with {kind} {have} just one."


def of_top_users(table: pd.DataFrame) -> str:
    """Describe the size of the most active tenth and its share of the interactions."""
    everyone, top = (table[table.group == group] for group in ("all users", "top users"))
    n, kind = int(top["count"].sum()), noun(table.action.iloc[0])
    who = f"{plural(n, 'user')} with {table.cut.iloc[0]:,} or more ({percent(n / everyone['count'].sum())} of all)"
    return f"{who} {'has' if n == 1 else 'have'} {percent(top.share.iloc[0])} of the {kind}."


def of_most_active(table: pd.DataFrame, total: int) -> str:
    """Describe the share of the most active user and of all listed users."""
    first = table.iloc[0]
    most = (
        f"User {first.user_id} has the most interactions, {first.interactions:,} with {plural(first['items'], 'item')}"
    )
    return (
        f"{most}; the {plural(len(table), 'user')} shown have {percent(table.interactions.sum() / total)} of the total."
    )


def of_time(table: pd.DataFrame) -> str:
    """Describe the busiest and the median period."""
    period = table.period.iloc[0]
    totals = table.groupby("start").interactions.sum()
    when = f"is {totals.idxmax()}" if period in ("day", "hour") else f"starts on {totals.idxmax()}"
    busiest = f"The busiest {period} (UTC) {when}, with {totals.max():,} interactions"
    return f"{busiest}; the median of {plural(len(totals), period)} is {number(totals.median())}."


def of_hours(table: pd.DataFrame) -> str:
    """Describe the busiest and the quietest hour of the week."""
    counts = table.groupby(["weekday", "hour"], as_index=False).interactions.sum()
    most, least = (counts.loc[int(place)] for place in (counts.interactions.argmax(), counts.interactions.argmin()))
    busiest, quietest = (
        f"{WEEKDAYS[cell.weekday]} {cell.hour}:00 ({percent(cell.interactions / counts.interactions.sum())})"
        for cell in (most, least)
    )
    return f"The busiest hour (UTC) is {busiest}, the quietest {quietest}; a uniform week would have 0.6% in each."


def of_peaks(table: pd.DataFrame, column: str) -> str:
    """Describe the peak hour or weekday of each event type."""
    parts = []
    for action, group in table.groupby("action", sort=False):
        counts = group.groupby(column).interactions.sum()
        place = int(np.asarray(counts.index)[int(counts.argmax())])
        peak = WEEKDAYS[place] if column == "weekday" else f"{place}:00"
        parts.append(f"{peak} for {noun(str(action))} ({percent(counts.max() / counts.sum())})")
    return f"Share by {column} (UTC). Peak: {', '.join(parts)}."


def of_funnel(table: pd.DataFrame, of: str) -> str:
    """Describe the conversion from first to last step and at each step, and how many skip steps."""
    names, what = list(table.action), {"pairs": "user-item pairs", "users": "users"}[of]
    rates = [percent(rate) for rate in table[f"{of}_rate"].iloc[1:]]
    steps = [f"{rate} from {a} to {b}" for a, b, rate in zip(names, names[1:], rates, strict=False)]
    first, last = table.iloc[0], table.iloc[-1]
    whole = percent(last[f"{of}_through"] / first[of] if first[of] else np.nan)
    each = f" ({', '.join(steps)})" if len(steps) > 1 else ""
    skipped = int(last[of] - last[f"{of}_through"])
    aside = f" {skipped:,} more reach “{names[-1]}” without all previous steps." if skipped else ""
    return f"Of {first[of]:,} {what} with “{names[0]}”, {whole} reach “{names[-1]}”{each}.{aside}"


def of_sessions(table: pd.DataFrame) -> str:
    """Describe the length of sessions in interactions, and the event types they contain."""
    fact = dict(zip(table.fact, table.value, strict=True))
    count = f"{plural(int(fact['sessions']), 'session')}, {number(fact['sessions per user'])} per user"
    prefix = "share with "
    shares = {name.removeprefix(prefix): value for name, value in fact.items() if name.startswith(prefix)}
    single = percent(shares.pop("a single action"))
    parts = [f"; {percent(value)} contain “{name}”" for name, value in shares.items()]
    mean = number(fact["mean actions"])
    actions = f"{mean} interaction{'' if mean == '1' else 's'}"
    return f"{count}, with {actions} on average; {single} have a single interaction{''.join(parts)}."


def of_durations(table: pd.DataFrame) -> str:
    """Describe the duration of sessions."""
    fact = dict(zip(table.fact, table.value, strict=True))
    gap = number(fact["minutes of pause that end one"])
    median = fact.get("median minutes, of those with more than one")
    if median is None:
        text = "No session has more than one interaction"
    elif median == 0:
        text = "Half of the sessions with more than one interaction have all of them at the same time"
    else:
        longest = f"{number(round(median, 1))} minutes" if median >= 1 else f"{60 * median:.0f} seconds"
        text = f"Half of the sessions with more than one interaction last at most {longest}"
    return f"{text}. A gap of more than {gap} minutes ends a session."


def of_spread(table: pd.DataFrame, name: str) -> str:
    """Describe the most frequent value and the range."""
    low, high, count = (table[column].to_numpy() for column in ("low", "high", "count"))
    most = int(count.argmax())
    where = number(low[most]) if low[most] == high[most] else f"{number(low[most])} to {number(high[most])}"
    ends = f"the range is {number(low.min())} to {number(high.max())}"
    return f"The most frequent {name} is {where}, in {percent(count[most] / count.sum())} of the interactions; {ends}."


def of_correlations(table: pd.DataFrame) -> str:
    """Describe the strongest correlation by absolute value, except between event types."""
    values = table.drop(columns="column").to_numpy(np.float64, copy=True)
    names = list(table.column)
    values[np.tril_indices(len(names))] = np.nan
    kinds = np.array([name.startswith("is ") for name in names])
    values[np.ix_(kinds, kinds)] = np.nan  # event types exclude each other, so their correlation is trivial
    if np.isnan(values).all():
        return "No two columns have values for the same interactions, except event types."
    row, column = np.unravel_index(np.nanargmax(np.abs(values)), values.shape)
    aside = " (except between event types)" if kinds.sum() > 1 else ""
    return (
        f"Spearman's rank correlation over interactions, from -1 to 1. The strongest{aside} is "
        f"{values[row, column]:.2f}, between “{names[row]}” and “{names[column]}”."
    )


def of_pairs(table: pd.DataFrame, of: str, other: str) -> str:
    """Describe the share of ids with fewer than five distinct partners."""
    bins = table[table.of == of]
    few = bins["count"][bins.high < 5].sum() / bins["count"].sum()
    return f"{percent(few)} of the {of} have fewer than 5 distinct {other}."


def of_cores(table: pd.DataFrame) -> str:
    """Describe the size of the 5-core."""
    first, chosen = table.iloc[0], table[table.k <= 5].iloc[-1]
    kept = [f"{percent(chosen[of] / first[of])} of the {of}" for of in ("users", "items", "interactions")]
    k = int(chosen.k)
    core = f"The {k}-core (data.k_core={k}), in which every user and item has at least {plural(k, 'interaction')},"
    return f"{core} keeps {kept[0]}, {kept[1]} and {kept[2]}."


def of_problems(table: pd.DataFrame) -> str:
    """Describe the number of rows repaired while reading and of checks that found problems."""
    repaired = table[table.when == "while reading"]["count"].sum()
    checks = int((table.when == "found").sum())
    text = f"Reading dropped or repaired {plural(int(repaired), 'row')}. " if repaired else ""
    found = f"{plural(checks, 'check')} found possible problems." if checks else "No check found a problem."
    return text + found


def in_short(tables: dict[str, pd.DataFrame]) -> Sequence[str]:
    """Return the most informative sentences, for the summary."""
    sentences = [of_actions(tables["actions"])] if len(tables["actions"]) > 1 else []
    sentences += [of_funnel(tables["funnel"], "users")] if "funnel" in tables else []
    sentences += [of_concentration(tables["concentration"]), of_all_users(tables["user_histogram"])]
    sentences += [of_time(tables["over_time"])] if "over_time" in tables else []
    sentences += [of_sessions(tables["sessions"])] if "sessions" in tables else []
    return [*sentences, of_cores(tables["k_cores"])]


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]
