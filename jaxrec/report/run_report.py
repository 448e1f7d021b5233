"""Page of a run: test metrics, learning curves, groups of users and items, and facts about the data."""

from collections.abc import Mapping

import jax
import numpy as np
import pandas as pd

from jaxrec.data.interactions import summary
from jaxrec.evaluation.groups import DEFINITIONS
from jaxrec.experiment import Result
from jaxrec.page.html import Cell, Html, box, cards, decimals, details, facts, grid, page, section, table, tag
from jaxrec.page.metric_labels import label
from jaxrec.report import charts
from jaxrec.report.items import item_section
from jaxrec.report.protocol import protocol
from jaxrec.report.result_metrics import interrupted, leading, metric_table, test_cards, test_interval
from jaxrec.settings import Tree, flat, get

FACTS = {
    "interactions": "interactions",
    "train": "training interactions",
    "validation": "validation interactions",
    "test": "test interactions",
    "first": "first interaction",
    "last": "last interaction",
    "density": "density (share of user-item pairs that occur)",
    "users_with_test": "users with test items",
    "users_with_validation": "users with validation items",
    "test_items_not_in_train": "cold items: in test, not in training",
    "test_users_not_in_train": "cold users: in test, not in training",
    "test_already_known": "test interactions left out: the user already had the item",
    "validation_already_known": "validation interactions left out: the user already had the item",
    "test_before_last_train": "leakage: test interactions older than the latest training interaction",
    "sessions": "sessions",
    "sessions_too_short_dropped": "sessions left out: fewer than two events",
    "rows_after_cut_dropped": "events left out: after the cutoff, in a session that began before it",
    "rows_of_unknown_items_dropped": "held-out events left out: item not in training",
    "history_after_test_dropped": "history left out: later than the test interactions",
    "load_s": "reading and splitting",
    "compile_s": "compilation",
    "train_s": "training",
    "evaluate_s": "evaluation",
}


SHARES = {"density", "test_before_last_train"}


def run_report(name: str, tree: Tree, result: Result) -> str:
    """Return the HTML page of a run."""
    title = f"{get(tree, 'model._target_', 'model').rpartition('.')[2]} on {result.known.name}"
    body = [
        tag("h1", title),
        facts(("Run", name), *protocol(tree, result.metrics)),
        interrupted(result),
        cards(*_monitored(result, get(tree, "eval.monitor", "")), *test_cards(result)),
        section("Test metrics", metric_table(result)),
        _learning_curves(result, get(tree, "eval.monitor", "")),
        section("Users", _users(tree, result)),
        _groups(result),
        item_section(result),
        section("Data and environment", _fact_tables(result)),
        section("Settings", details("All settings of this run", table(["setting", "value"], flat(tree).items()))),
        tag("p", "To train the same run again, see the first lines of config.yaml in this folder.", "soft"),
    ]
    return page(title, body)


def _monitored(result: Result, monitor: str) -> list[tuple[str, str, str]]:
    """Return a card of the monitored metric if it is another than the leading one, e.g. AUC; else none."""
    test = result.metrics["test"]
    if monitor not in test or monitor == leading(result):
        return []
    ends = test_interval(result, monitor)
    return [(label(f"test {monitor}"), decimals(test[monitor]), f"95% interval {ends}" if ends else "monitored")]


def _learning_curves(result: Result, monitor: str) -> Html:
    """Return charts of loss and validation metric by epoch; empty for models without epochs."""
    history, kept = result.history, result.metrics.get("best_epoch", 0)
    titles = {"loss": "Training loss", monitor: f"V{label(f'validation {monitor}')[1:]}"}
    keys = [key for key in titles if key in history and history[key].notna().any()]
    drawn = [charts.learning_curve(titles[key], history, key, kept) for key in keys]
    return section("Learning curves", grid(drawn)) if drawn else Html()


def _users(tree: Tree, result: Result) -> Html:
    """Return charts of the leading metric: its distribution over users, and its mean by history length."""
    key, known = leading(result), result.known
    measured = result.per_user.dropna(subset=[key]) if key in result.per_user else result.per_user.head(0)
    if measured.empty:
        return tag("p", f"No user has a value of {label(key)}.", "soft")
    values = measured[key].to_numpy(np.float64)
    noun = "user"
    if "known" in measured:
        noun = "step" if get(tree, "split._target_", "").endswith("by_session") else "test interaction"
        lengths = measured["known"].to_numpy()
    else:
        users = pd.Index(known.user_ids).get_indexer(pd.Index(measured["user_id"]))
        lengths = np.bincount(known.user, minlength=known.n_users)[users]
    names = pd.factorize(measured["user_id"])[0]
    return grid([charts.spread(label(key), values, noun), charts.by_activity(label(key), values, lengths, names, noun)])


def _groups(result: Result) -> Html:
    """Return test metrics by item group and user group, as charts and as a table, compared with popularity."""
    groups = result.metrics.get("test_groups", {})
    popular = result.metrics.get("popularity_groups", {})
    shown = [(kind, name, found) for kind, named in groups.items() for name, found in named.items()]
    if not shown:
        return Html()
    keys = [key for key in shown[0][2] if "@" in key]
    counted = ["users", "rows"] if any(found["users"] != found["rows"] for _, _, found in shown) else ["users"]
    heads = ["", "group", *("evaluated" if count == "rows" else count for count in counted)]
    rows = []
    for kind, name, found in shown:
        row: list[object] = [kind, name, *(Cell(f"{found[count]:,}") for count in counted)]
        for key in keys:
            row.append(Cell(decimals(found[key])))
            row.append(Cell(decimals(popular.get(kind, {}).get(name, {}).get(key)), "number soft"))
        rows.append([*row, Cell(" to ".join(f"{n:,}" for n in dict.fromkeys(found.get("known", ()))))])
    above = [("", len(heads)), *((label(key), 2) for key in keys), ("", 1)]
    heads += [*["model", "popularity"] * len(keys), "history length"]
    note = "In an item group only its items count as relevant; metrics of a user group are the mean over its users."
    legend = details("Definitions", table([], [(name, DEFINITIONS[name]) for _, name, _ in shown]))
    drawn = [
        charts.by_group(kind.removesuffix("s"), keys[0], named, popular.get(kind, {}))
        for kind, named in groups.items()
        if named and keys
    ]
    return section("Groups", grid(drawn), box(table(heads, rows, above=above), tag("p", note, "soft note"), legend))


def _fact_tables(result: Result) -> Html:
    sizes = {key: value for key, value in summary(result.known).items() if key not in ("interactions", "density")}
    sizes |= {key: str(sizes[key]).replace("T", " ") for key in ("first", "last") if key in sizes}
    counts = dict(result.metrics.get("data", {}))
    data = {**sizes, "interactions known before the test": len(result.known), **counts.pop("reading", {}), **counts}
    size = sum(np.size(leaf) for leaf in jax.tree.leaves(result.params))
    time = {key: f"{value:,.2f} s" for key, value in result.metrics.get("time", {}).items()}
    place = {"model parameters": size, **result.metrics.get("environment", {})}
    machine = [tag("h3", "Model and machine"), table([], _facts(place)), tag("h3", "Time"), table([], _facts(time))]
    return grid([box(tag("h3", "Data"), table([], _facts(data))), box(*machine)])


def _facts(values: Mapping[str, object]) -> list[tuple[str, object]]:
    shown = {key: f"{value:,}" if type(value) is int else value for key, value in values.items()}
    shown |= {key: f"{100 * value:.2f}%" for key, value in values.items() if key in SHARES and isinstance(value, float)}
    numbers = {key: Cell(value) for key, value in shown.items() if isinstance(value, str) and value[:1].isdigit()}
    return [(FACTS.get(key, key.replace("_", " ")), value) for key, value in (shown | numbers).items()]
