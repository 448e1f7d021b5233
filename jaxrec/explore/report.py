"""Data report: an HTML page and its tables as CSV files."""

from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path

import pandas as pd

from jaxrec import console
from jaxrec.atomic_files import remove_mark, write_atomic, write_text
from jaxrec.command_line import command
from jaxrec.data.interactions import Interactions
from jaxrec.explore import captions, charts, time_charts, value_charts
from jaxrec.explore.next_steps import next_steps
from jaxrec.page.figure import COLORS
from jaxrec.page.html import Cell, Html, box, cards, frame, grid, page, section, tag
from jaxrec.settings import Tree, build, check

LACKING = {  # table → message if it is missing
    "actions": "event types: the data has one type only; name a column (data.event_column)",
    "over_time": "interactions over time: the data has no times; name a column (data.time_column)",
    "funnel": "the conversion funnel: no event types such as view, cart and purchase (explore.funnel=[…] names them)",
    "sessions": "sessions: they need times of day (data.time_column)",
    "values": "values: no ratings or quantities; name a column (data.value_column)",
    "correlations": "correlations: they need two numerical columns that vary",
    "features": "features: the data has no features of users or items (data.user_features, data.item_features)",
}


def run(tree: Tree, directory: Path, typed: Sequence[str] = ()) -> None:
    """Read the data, compute the tables, and write them and the page.

    Args:
        tree: the settings.
        directory: output folder.
        typed: overrides that choose the data, repeated in the commands that the page suggests.
    """
    check(tree)
    interactions: Interactions = build(tree["data"])
    tables: dict[str, pd.DataFrame] = build(tree["explore"], interactions=interactions)
    remove_mark(directory / "report.html")  # of a report that is replaced
    for name, table in tables.items():
        write_atomic(directory / f"{name}.csv", partial(table.to_csv, index=False))
    # The page is written last: if it exists, the tables do.
    write_text(
        directory / "report.html", report(interactions.name, tables, typed, repeats="duplicates" in tree["data"])
    )
    console.table(interactions.name, tables["summary"].astype({"value": object}).map(_shown))
    if len(tables["actions"]) > 1:
        console.table("", tables["actions"].rename(columns={"action": "event type"}))
    for sentence in [*captions.in_short(tables), captions.of_problems(tables["problems"])]:
        console.say(f"- {sentence}")
    console.say(f"charts: {directory / 'report.html'}; the tables behind them are CSV files in the same folder")


def report(name: str, tables: dict[str, pd.DataFrame], typed: Sequence[str] = (), *, repeats: bool = True) -> str:
    """Return the HTML page; see `run` for `typed` and `next_steps` for `repeats`."""
    files = ", ".join(f"{key}.csv" for key in tables)
    # Sections without a table are omitted and listed at the end.
    parts = {
        "actions": ("Event types", lambda: [grid([charts.actions(tables["actions"])])]),
        "top_items": ("Items", lambda: _items(tables)),
        "top_users": ("Users", lambda: _users(tables)),
        "over_time": ("Time", lambda: _time(tables)),
        "funnel": ("Conversion funnel", lambda: _funnel(tables["funnel"])),
        "sessions": ("Sessions", lambda: _sessions(tables)),
        "values": ("Values", lambda: _values(tables)),
        "correlations": ("Correlations", lambda: [value_charts.correlations(tables["correlations"])]),
        "k_cores": ("Sparsity", lambda: _sparsity(tables)),
        "features": ("Features", lambda: [box(frame(_features(tables["features"]), thousands=True))]),
    }
    missing = [key for key in LACKING if key not in tables or (key == "actions" and len(tables[key]) < 2)]
    if "weights" in tables and "values" in missing:
        missing.remove("values")
        parts["values"] = ("Weights", parts["values"][1])
    body = [
        tag("h1", f"Data report: {name}"),
        _when(tables["summary"]),
        cards(*_cards(tables["summary"], tables["problems"])),
        section("Problems", *_problems(tables["problems"])),
        section("Summary", _list(captions.in_short(tables))),
        *(section(title, *make()) for key, (title, make) in parts.items() if key not in missing),
        section("Next steps", *_next_steps(tables, typed, repeats)),
        section("Not shown", _list([LACKING[key] for key in missing])) if missing else Html(),
        tag("p", f"The tables behind the charts, in this folder: {files}.", "soft"),
    ]
    return page(f"Data report: {name}", body)


def _list(texts: Iterable[str]) -> Html:
    return tag("ul", Html("").join(tag("li", text) for text in texts))


def _next_steps(tables: dict[str, pd.DataFrame], typed: Sequence[str], repeats: bool) -> list[Html]:
    steps = [
        tag("h3", text) + tag("pre", command("train", "--multirun", *typed, *overrides))
        for text, overrides in next_steps(tables, repeats=repeats)
    ]
    return [box(step) for step in steps]


def _when(summary: pd.DataFrame) -> Html:
    facts = dict(zip(summary.fact, summary.value, strict=True))
    return tag("p", f"From {facts['first']} to {facts['last']} (UTC).", "soft") if "first" in facts else Html()


def _cards(summary: pd.DataFrame, problems: pd.DataFrame) -> list[tuple[str, str, str]]:
    facts = dict(zip(summary.fact, summary.value, strict=True))
    per_user, per_item = (captions.number(facts[f"interactions per {of}"]) for of in ("user", "item"))
    days = [("days", captions.number(round(facts["days"], 1)), "from first to last")] if "days" in facts else []
    return [
        ("interactions", f"{facts['interactions']:,}", f"{facts['distinct pairs']:,} distinct user-item pairs"),
        ("users", f"{facts['users']:,}", f"{per_user} interactions on average"),
        ("items", f"{facts['items']:,}", f"{per_item} interactions on average"),
        ("density", captions.percent(facts["density"]), "of all user-item pairs occur"),
        *days,
        ("possible problems", f"{len(problems):,}", "listed below"),
    ]


def _items(tables: dict[str, pd.DataFrame]) -> list[Html]:
    groups = tables["top_items"].groupby("action", sort=False)
    tops = [charts.top_items(group, color) for (_, group), color in zip(groups, COLORS, strict=False)]
    tail = [charts.ranks(tables["item_ranks"]), charts.lorenz(tables["lorenz"], tables["concentration"])]
    return [grid(tops, "grid three"), grid(tail)]


def _users(tables: dict[str, pd.DataFrame]) -> list[Html]:
    spread, names = tables["user_histogram"], list(tables["actions"].action)
    drawn = [charts.users(spread, group) for group in spread.group.unique()]
    total = int(tables["actions"].interactions.sum())
    most = charts.most_active(tables["top_users"], names, total)
    return [grid([charts.activity(tables["user_activity"]), *drawn], "grid three"), grid([most])]


def _time(tables: dict[str, pd.DataFrame]) -> list[Html]:
    hours = tables["hours"]
    whole = hours.hour.isna().all()  # the data has dates only
    daily = [] if whole else [time_charts.week(hours), time_charts.by_hour(hours)]
    weekly = grid([*daily, time_charts.by_weekday(hours)], "grid three")
    return [grid([time_charts.over_time(tables["over_time"])]), weekly]


def _funnel(table: pd.DataFrame) -> list[Html]:
    shown = table.rename(columns={"action": "event type"}).rename(columns=lambda column: column.replace("_", " "))
    shown = shown.astype(object)
    for column in ("pairs rate", "users rate"):
        shown[column] = shown[column].map(_percent)
    note = "“Through”: also with all previous steps, in any order. Rate: share of those through the previous step."
    drawn = grid([charts.funnel(table, "pairs"), charts.funnel(table, "users")])
    return [drawn, box(frame(shown, thousands=True), tag("p", note, "soft note"))]


def _sessions(tables: dict[str, pd.DataFrame]) -> list[Html]:
    sizes, summary = tables["session_sizes"], tables["sessions"]
    return [grid([time_charts.session_sizes(sizes, summary, of) for of in ("actions", "seconds")])]


def _values(tables: dict[str, pd.DataFrame]) -> list[Html]:
    drawn = [
        value_charts.spread(tables[f"{name}s"], name, color)
        for name, color in (("value", COLORS[0]), ("weight", COLORS[1]))
        if f"{name}s" in tables
    ]
    return [grid(drawn)]


def _sparsity(tables: dict[str, pd.DataFrame]) -> list[Html]:
    drawn = [value_charts.pairs(tables["pair_histogram"], of) for of in ("users", "items")]
    return [grid([*drawn, value_charts.cores(tables["k_cores"])], "grid three")]


def _percent(share: float) -> Cell:
    return Cell("" if pd.isna(share) else captions.percent(share))


def _features(table: pd.DataFrame) -> pd.DataFrame:
    names = {"different": "distinct values", "most_frequent": "most frequent", "its_share": "its share", "of": "entity"}
    shown = table.rename(columns=names).astype(object)
    for column in {"filled", "its share"} & set(shown):
        shown[column] = shown[column].map(_percent)
    if "most frequent" in shown:
        shown["most frequent"] = [str(text)[:80] for text in shown["most frequent"]]
    return shown


def _problems(table: pd.DataFrame) -> list[Html]:
    summary = tag("p", captions.of_problems(table))
    if table.empty:
        return [summary]
    found = {"found": "by a check", "while reading": "while reading"}
    shares = [Cell("" if pd.isna(share) else captions.percent(share)) for share in table["share"]]
    shown = table.assign(share=pd.Series(shares, table.index, dtype=object), when=table["when"].map(found))
    shown = shown.rename(columns={"when": "found", "meaning": "what it may mean"})
    return [summary, box(frame(shown[["problem", "count", "share", "what it may mean", "found"]], thousands=True))]


def _shown(cell: object) -> str:
    return cell if isinstance(cell, str) else captions.number(float(cell))  # type: ignore[arg-type]
