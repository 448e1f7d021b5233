"""HTML reports of a run and of a search, each a single file that works offline and on phones."""

import math
from collections.abc import Collection, Mapping, Sequence

import jax
import numpy as np
import optuna
import pandas as pd
from optuna.trial import FrozenTrial, TrialState

from jaxrec.data.interactions import summary
from jaxrec.evaluation.groups import DEFINITIONS
from jaxrec.experiment import Result
from jaxrec.metric_names import SAMPLED
from jaxrec.page.html import Cell, Html, box, cards, decimals, details, facts, frame, grid, page, section, table, tag
from jaxrec.page.metric_labels import label, meaning
from jaxrec.report import charts
from jaxrec.report.items import item_section
from jaxrec.report.lineage import lineage
from jaxrec.report.occupancy import occupancy
from jaxrec.report.pareto import pareto_section
from jaxrec.report.protocol import protocol
from jaxrec.report.trial_curves import learning_curves
from jaxrec.report.trial_sample import sample, sample_note
from jaxrec.settings import Tree, flat, get
from jaxrec.sweep.finalists import Finalists
from jaxrec.sweep.objectives import objectives_of, value_of
from jaxrec.sweep.pbt import LINEAGE
from jaxrec.sweep.study import command, importance_note, importances
from jaxrec.sweep.trials import best, best_params, further, leaderboard, params_of, state_of

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
        _warning(result),
        cards(*_test_cards(result)),
        section("Test metrics", _metric_table(result)),
        _learning_curves(result, get(tree, "eval.monitor", "")),
        section("Users", _users(tree, result)),
        _groups(result),
        item_section(result),
        section("Data and environment", _fact_tables(result)),
        section("Settings", details("All settings of this run", table(["setting", "value"], flat(tree).items()))),
        tag("p", "To train the same run again, see the first lines of config.yaml in this folder.", "soft"),
    ]
    return page(title, body)


def sweep_report(
    name: str,
    study: optuna.Study,
    result: Result,
    notes: Sequence[str] = (),
    winner: FrozenTrial | None = None,
    finalists: Finalists | None = None,
    kept: Collection[int] = (),
) -> str:
    """Return the HTML page of a search.

    Args:
        name: name of the study.
        study: all trials.
        result: result of the best trial, the only one evaluated on the test set.
        notes: warnings about the search.
        winner: the trial that was tested; None: the best by value.
        finalists: comparison of the best trials over new seeds.
        kept: numbers of trials with a run in `front`.
    """
    trials = study.get_trials(deepcopy=False)
    complete = [trial for trial in trials if trial.state == TrialState.COMPLETE]
    pruned = [trial for trial in trials if trial.state == TrialState.PRUNED and value_of(trial) is not None]
    ended = [*complete, *pruned]
    winner, metric = winner or best(study), label(str(study.user_attrs.get("metric", "value")))
    minimize = study.directions[0] == optuna.study.StudyDirection.MINIMIZE
    tested = "the best trial and the runs in front/ were" if kept else "the best trial was"
    aim = f"Search on {result.known.name} for the {'lowest' if minimize else 'highest'} {metric}."
    ranked = leaderboard(study).rename(columns={"number": "trial", "value": metric})
    body = [
        tag("h1", name),
        tag(
            "p",
            f"{aim} Only {tested} evaluated on the test set.",
            "soft",
        ),
        _warning(result),
        *(tag("p", note[:1].upper() + note[1:] + ".", "warn") for note in notes),
        cards(
            (f"best {metric}", decimals(value_of(winner)), f"trial {winner.number}"),
            *_test_cards(result),
            _counted(trials),
        ),
        section("Best trial", grid(_best(study, winner))),
        pareto_section(study, winner, kept),
        section("Test metrics of the best trial", _metric_table(result)),
        *(
            _population(trials, ended, winner, metric, minimize=minimize)
            if LINEAGE in winner.user_attrs
            else _searched(study, complete, pruned, winner, metric, minimize=minimize)
        ),
        *([_finalists(finalists, metric)] if finalists is not None else []),
        section("Leaderboard", box(frame(ranked))),
        section("All trials", _trial_table(trials, metric, objectives_of(study)[1:], minimize=minimize)),
    ]
    return page(name, body)


def _searched(
    study: optuna.Study,
    complete: Sequence[FrozenTrial],
    pruned: Sequence[FrozenTrial],
    winner: FrozenTrial,
    metric: str,
    *,
    minimize: bool,
) -> list[Html]:
    """Return the sections about trials with settings of their own, and what these explain."""
    drawn, sampled = sample(complete, minimize=minimize), _note(sample_note(len(complete)))
    shares, note = importances(study), importance_note(study)
    importance_chart = (
        charts.importance_bars(shares, note) if shares else box(tag("h3", "Parameter importances"), tag("p", note))
    )
    curves = learning_curves([*complete, *pruned], winner, metric, minimize=minimize)
    return [
        section("Search", grid([charts.by_trial(complete, pruned, metric, minimize=minimize), importance_chart])),
        _section("Learning curves", curves),
        _section("Slots over time", occupancy(study.get_trials(deepcopy=False), winner)),
        section("One parameter at a time", sampled, grid(charts.slices(drawn, metric, winner))),
        section("All parameters", sampled, charts.parallel(drawn, metric, minimize=minimize)),
    ]


def _population(
    trials: Sequence[FrozenTrial], ended: Sequence[FrozenTrial], winner: FrozenTrial, metric: str, *, minimize: bool
) -> list[Html]:
    """Return the sections about the members of a population."""
    copies, *changed = lineage(trials, winner)
    return [
        section("Population", grid([copies])),
        section("Settings over time", grid(changed)) if changed else Html(),
        _section("Learning curves", learning_curves(ended, winner, metric, minimize=minimize)),
    ]


def _finalists(finalists: Finalists, metric: str) -> Html:
    """Return a table of the finalists, the best mean first."""
    rows = [
        [
            Cell(int(row["trial"]), key=row["trial"]),
            Cell(decimals(row["value"]), note=_ends(row["low"], row["high"])),
            Cell(decimals(row["sd"])),
            Cell(
                decimals(row["difference"]) if place else "",
                note=_ends(row["difference_low"], row["difference_high"]),
            ),
            Cell(f"{row['p']:.2g}" if math.isfinite(row["p"]) else ""),
        ]
        for place, row in enumerate(finalists.table.to_dict("records"))
    ]
    text = (
        f"The best trials, each trained with {finalists.table['seeds'].iloc[0]} new seeds. sd: standard deviation over "
        "seeds. In small type: 95% intervals over users and seeds. p: of the difference to the first trial, with "
        "Holm's correction."
    )
    failed = [tag("p", f"Trial {number} is left out: {why}.", "warn") for number, why in finalists.failed.items()]
    heads = ["trial", metric, "sd", "difference", "p"]
    return section("Finalists", box(table(heads, rows), tag("p", text, "soft note")), *failed)


def _ends(low: float, high: float) -> str:
    return f"{low:.4f} to {high:.4f}" if math.isfinite(low) else ""


def _warning(result: Result) -> Html:
    text = "Training was interrupted: these are the metrics of the parameters at that point."
    return tag("p", text, "warn") if result.metrics.get("interrupted") else Html()


def _test_cards(result: Result) -> list[tuple[str, str, str]]:
    """Return cards of the leading metric, its value for popularity, and their ratio."""
    key = _leading(result)
    value, popular = (result.metrics[part].get(key, math.nan) for part in ("test", "popularity"))
    times = value / popular if popular else math.nan
    interval = _interval(result, key)
    return [
        (f"test {label(key)}", decimals(value), f"95% interval {interval}" if interval else ""),
        (f"{label(key)} of popularity", decimals(popular), "the most popular items for every user"),
        ("relative to popularity", f"{times:.2f}\u00d7" if math.isfinite(times) else "n/a", f"test {label(key)}"),
    ]


def _leading(result: Result) -> str:
    test = result.metrics["test"]
    leading = [key for key in ("ndcg@10", f"{SAMPLED}ndcg@10") if key in test]
    return leading[0] if leading else next(iter(test), "ndcg@10")


def _metric_table(result: Result) -> Html:
    """Return a table of metrics: for each k, the model's value with its interval, and that of popularity."""
    test, popular = result.metrics["test"], result.metrics["popularity"]
    undefined: Mapping[str, str] = result.metrics.get("undefined", {})
    names = list(dict.fromkeys(key.partition("@")[0] for key in test))
    ks = sorted({key.partition("@")[2] for key in test}, key=lambda k: int(k or 0))
    rows = []
    for name in names:
        row: list[object] = [label(name)]
        for key in (f"{name}@{k}" if k else name for k in ks):
            value = "undefined" if key in undefined else decimals(test[key]) if key in test else ""
            row.append(Cell(value, note=_interval(result, key)))
            row.append(Cell(decimals(popular.get(key)) if key in test else "", "number soft"))
        rows.append(row)
    above = [("", 1), *((f"at {k}" if k else "", 2) for k in ks)]
    legend = [(label(name), meaning(name)) for name in names if meaning(name)]
    return box(
        table(["metric", *["model", "popularity"] * len(ks)], rows, above=above),
        *(tag("p", f"{label(key)} is undefined: {why}.", "warn") for key, why in undefined.items()),
        tag(
            "p",
            "In small type: 95% bootstrap intervals over users. They do not include the variance over training seeds.",
            "soft note",
        ),
        details("Definitions", table([], legend)),
    )


def _learning_curves(result: Result, monitor: str) -> Html:
    """Return charts of loss and validation metric by epoch; empty for models without epochs."""
    history, kept = result.history, result.metrics.get("best_epoch", 0)
    titles = {"loss": "Training loss", monitor: f"Validation {label(monitor)}"}
    keys = [key for key in titles if key in history and history[key].notna().any()]
    drawn = [charts.learning_curve(titles[key], history, key, kept) for key in keys]
    return section("Learning curves", grid(drawn)) if drawn else Html()


def _users(tree: Tree, result: Result) -> Html:
    """Return charts of the leading metric: its distribution over users, and its mean by history length."""
    key, known = _leading(result), result.known
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


def _best(study: optuna.Study, winner: FrozenTrial) -> list[Html]:
    link = Html('<p>Full report of this trial: <a href="best/report.html">best/report.html</a></p>')
    schedule = "best/schedule.yaml" if LINEAGE in winner.user_attrs else None
    again = box(tag("h3", "Train this trial again"), tag("pre", command(study, winner.number, schedule)), link)
    title = f"Trial {winner.number}" + (f", at epoch {winner.user_attrs['best_epoch']}" if schedule else "")
    return [box(tag("h3", title), table([], best_params(winner).items())), again]


def _counted(trials: Sequence[FrozenTrial]) -> tuple[str, str, str]:
    count = {state: sum(trial.state == state for trial in trials) for state in TrialState}
    complete, failed = count.pop(TrialState.COMPLETE), count.pop(TrialState.FAIL)
    others = [f"{n:,} {state.name.lower()}" for state, n in count.items() if n]
    return "trials complete", f"{complete:,}", ", ".join([f"{failed:,} failed", *others])


def _section(title: str, chart: Html) -> Html:
    """Return a section of one chart; empty without one."""
    return section(title, grid([chart])) if chart else Html()


def _note(text: str) -> Html:
    return tag("p", text, "soft") if text else Html()


def _trial_table(trials: Sequence[FrozenTrial], metric: str, others: Sequence[str], *, minimize: bool) -> Html:
    attributes = {"epochs": "epochs", "best_epoch": "best epoch", "seconds": "seconds", "error": "error"}
    note = f"{sample_note(len(trials))} All of them are in trials.csv." if sample_note(len(trials)) else ""
    rows = [
        {
            "trial": trial.number,
            "state": state_of(trial),
            metric: value_of(trial),
            **(further(trial, others) if trial.values else {}),
            **(best_params(trial) or params_of(trial)),
            **{title: trial.user_attrs[key] for key, title in attributes.items() if key in trial.user_attrs},
        }
        for trial in sample(trials, minimize=minimize)
    ]
    hint = tag("p", f"{note} Click a column head to sort.".strip(), "soft")
    return hint + box(frame(pd.DataFrame(rows, dtype=object), sortable=True))


def _interval(result: Result, key: str) -> str:
    low, high = result.metrics.get("test_interval", {}).get(key, (math.nan, math.nan))
    return "" if math.isnan(low) else f"{low:.4f} to {high:.4f}"
