"""The page of an exploration, and the folder that it and its tables are written to."""

from functools import partial
from pathlib import Path

import pandas as pd

from jaxrec import console
from jaxrec.checkpoint import write_atomic, write_text
from jaxrec.data.interactions import Interactions
from jaxrec.explore import charts, sentences, time_charts, value_charts
from jaxrec.explore.bars import COLOURS
from jaxrec.page.html import Html, box, cards, frame, grid, page, section, tag
from jaxrec.settings import Tree, build, check

LACKING = {  # table → what would make it
    "actions": "Left out: counts per action need a column of events; all interactions here are of one kind.",
    "funnel": "Left out: the funnel needs events that name steps of a sale, such as view, cart and purchase.",
    "over_time": "Left out: counts over time need a column of times (data.time_column of own files).",
    "sessions": "Left out: sessions need times of the day (data.time_column of own files).",
    "values": "Left out: ratings or quantities need a column of values (data.value_column of own files).",
    "correlations": "Left out: correlations need two numerical columns that vary: values, times or numerical features.",
    "features": "Left out: the data has no features of users or items.",
}


def run(tree: Tree, directory: Path) -> None:
    """Reads the data, makes its tables, and writes them with the page; says in short what was found."""
    check(tree)
    interactions: Interactions = build(tree["data"])
    tables: dict[str, pd.DataFrame] = build(tree["explore"], interactions=interactions)
    for name, table in tables.items():
        write_atomic(directory / f"{name}.csv", partial(table.to_csv, index=False))
    # The page comes last: where it is, the tables are.
    write_text(directory / "report.html", report(interactions.name, tables))
    console.table(interactions.name, tables["summary"].astype({"value": object}).map(_shown))
    console.table("", tables["actions"])
    for sentence in sentences.in_short(tables):
        console.say(f"- {sentence}")
    console.say(f"{directory / 'report.html'} has the charts; the tables behind them are CSV files beside it")


def report(name: str, tables: dict[str, pd.DataFrame]) -> str:
    """The page."""
    points = Html("".join(tag("li", sentence) for sentence in sentences.in_short(tables)))
    body = [
        tag("h1", f"What is in {name}"),
        _when(tables["summary"]),
        cards(*_cards(tables["summary"], tables["problems"])),
        section("In short", tag("ul", points)),
        section("Actions", _actions(tables["actions"])),
        section("Items", *_items(tables)),
        section("Users", *_users(tables)),
        section("Time", *_time(tables)),
        section("The way to a sale", _funnel(tables)),
        section("Sessions", _sessions(tables)),
        section("Values", _values(tables)),
        section(
            "Correlations",
            value_charts.correlations(tables["correlations"]) if "correlations" in tables else _lacking("correlations"),
        ),
        section("Sparsity", _sparsity(tables)),
        section(
            "Features",
            box(frame(_features(tables["features"]), thousands=True)) if "features" in tables else _lacking("features"),
        ),
        section("Problems found", tag("p", sentences.of_problems(tables["problems"])), _problems(tables["problems"])),
        tag("p", f"Beside this page, the tables behind it: {', '.join(f'{key}.csv' for key in tables)}.", "soft"),
    ]
    return page(f"What is in {name}", body)


def _when(summary: pd.DataFrame) -> Html:
    facts = dict(zip(summary.fact, summary.value, strict=True))
    return tag("p", f"From {facts['first']} to {facts['last']} (UTC).", "soft") if "first" in facts else Html()


def _cards(summary: pd.DataFrame, problems: pd.DataFrame) -> list[tuple[str, str, str]]:
    facts = dict(zip(summary.fact, summary.value, strict=True))
    per_user, per_item = (sentences.number(facts[f"interactions per {of}"]) for of in ("user", "item"))
    days = [("days", sentences.number(round(facts["days"], 1)), "from first to last")] if "days" in facts else []
    return [
        ("interactions", f"{facts['interactions']:,}", f"{facts['distinct pairs']:,} distinct pairs"),
        ("users", f"{facts['users']:,}", f"{per_user} interactions each, in the mean"),
        ("items", f"{facts['items']:,}", f"{per_item} interactions each, in the mean"),
        ("density", sentences.percent(facts["density"]), "of all pairs of user and item occur"),
        *days,
        ("problems", f"{len(problems):,}", "kinds, at the end of this page"),
    ]


def _actions(table: pd.DataFrame) -> Html:
    return grid([charts.actions(table)]) if len(table) > 1 else _lacking("actions")


def _items(tables: dict[str, pd.DataFrame]) -> list[Html]:
    groups = tables["top_items"].groupby("action", sort=False)
    tops = [charts.top_items(mine, colour) for (_, mine), colour in zip(groups, COLOURS, strict=False)]
    tail = [charts.ranks(tables["item_ranks"]), charts.lorenz(tables["lorenz"], tables["concentration"])]
    return [grid(tops, "grid three"), grid(tail)]


def _users(tables: dict[str, pd.DataFrame]) -> list[Html]:
    spread, names = tables["user_histogram"], list(tables["actions"].action)
    drawn = [charts.users(spread, group) for group in spread.group.unique()]
    total = int(tables["actions"].interactions.sum())
    most = charts.most_active(tables["top_users"], names, total)
    return [grid([charts.activity(tables["user_activity"]), *drawn], "grid three"), grid([most])]


def _time(tables: dict[str, pd.DataFrame]) -> list[Html]:
    if "over_time" not in tables:
        return [_lacking("over_time")]
    hours = tables["hours"]
    whole = hours.hour.isna().all()
    daily = [] if whole else [time_charts.week(hours), time_charts.by_hour(hours)]
    note = [tag("p", "Left out: hours need times of the day; all times here are whole days.", "soft")] if whole else []
    weekly = grid([*daily, time_charts.by_weekday(hours)], "grid three")
    return [grid([time_charts.over_time(tables["over_time"])]), weekly, *note]


def _funnel(tables: dict[str, pd.DataFrame]) -> Html:
    if "funnel" not in tables:
        return _lacking("funnel")
    table = tables["funnel"]
    shown = table.rename(columns=lambda column: column.replace("_", " ")).astype(object)
    for column in ("pairs rate", "users rate"):
        shown[column] = ["" if pd.isna(rate) else sentences.percent(rate) for rate in shown[column]]
    note = "“Through” have every step before too, in whatever order; rates are of those through the step before."
    return Html(
        grid([charts.funnel(table, "pairs"), charts.funnel(table, "users")])
        + box(frame(shown, thousands=True), tag("p", note, "soft note"))
    )


def _sessions(tables: dict[str, pd.DataFrame]) -> Html:
    if "sessions" not in tables:
        return _lacking("sessions")
    sizes, summary = tables["session_sizes"], tables["sessions"]
    return grid([time_charts.session_sizes(sizes, summary, of) for of in ("actions", "seconds")])


def _values(tables: dict[str, pd.DataFrame]) -> Html:
    drawn = [
        value_charts.spread(tables[f"{name}s"], name, colour)
        for name, colour in (("value", COLOURS[0]), ("weight", COLOURS[1]))
        if f"{name}s" in tables
    ]
    return Html(grid(drawn) + ("" if "values" in tables else _lacking("values")))


def _sparsity(tables: dict[str, pd.DataFrame]) -> Html:
    drawn = [value_charts.pairs(tables["pair_histogram"], of) for of in ("users", "items")]
    return grid([*drawn, value_charts.cores(tables["k_cores"])], "grid three")


def _features(table: pd.DataFrame) -> pd.DataFrame:
    shown = table.rename(columns={"most_frequent": "most frequent", "its_share": "its share"}).astype(object)
    for column in {"filled", "its share"} & set(shown):
        shown[column] = ["" if pd.isna(share) else sentences.percent(share) for share in shown[column]]
    if "most frequent" in shown:
        shown["most frequent"] = [str(text)[:80] for text in shown["most frequent"]]
    return shown


def _problems(table: pd.DataFrame) -> Html:
    if table.empty:
        return Html()
    shown = table.assign(share=["" if pd.isna(share) else sentences.percent(share) for share in table["share"]])
    return box(frame(shown.rename(columns={"meaning": "what it may mean"}), thousands=True))


def _lacking(name: str) -> Html:
    return tag("p", LACKING[name], "soft")


def _shown(cell: object) -> str:
    return cell if isinstance(cell, str) else sentences.number(float(cell))  # type: ignore[arg-type]
