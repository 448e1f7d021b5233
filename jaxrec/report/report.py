"""HTML reports of a run and of a sweep: one file each, for a phone as for a big screen, offline."""

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np
import optuna
import pandas as pd
from optuna.trial import FrozenTrial, TrialState

from jaxrec.data.interactions import summary
from jaxrec.evaluation.groups import DEFINITIONS
from jaxrec.experiment import Result
from jaxrec.metric_names import SAMPLED
from jaxrec.page.html import Html, box, cards, decimals, details, escape, frame, grid, page, section, table, tag
from jaxrec.report import charts
from jaxrec.report.items import item_section
from jaxrec.settings import Tree, flat, get
from jaxrec.sweep.study import command, importance_note, importances
from jaxrec.sweep.trials import best, leaderboard, params_of

METRICS = {
    "ndcg": ("NDCG", "hits count more the higher they stand in the list; 1 where all of them stand on top"),
    "hit_rate": ("Hit rate", "share of users with at least one hit"),
    "precision": ("Precision", "share of the list that are hits"),
    "recall": ("Recall", "share of the user's test items that made the list"),
    "recall_min": ("Recall (min)", "the same, out of no more than the list can hold"),
    "map": ("MAP", "precision at every hit, averaged"),
    "mrr": ("MRR", "1 / position of the first hit"),
    "coverage": ("Coverage", "share of the catalogue that is in somebody's list"),
    "rbp": ("RBP", "hits weigh less the lower they stand, as a user looks one rank further with probability p"),
    "err": ("ERR", "1 / position at which a user stops, each hit ending the search with probability stop"),
    "mse": ("MSE", "mean squared error of the predicted values"),
    "rmse": ("RMSE", "root of the mean squared error"),
    "mae": ("MAE", "mean absolute error"),
    "auc": ("AUC", "share of pairs of a 1 and a 0 in which the 1 scores higher"),
    "log_loss": ("Log loss", "mean of -log of the probability given to the label"),
}
FACTS = {
    "interactions": "interactions in all",
    "train": "interactions to train on",
    "validation": "interactions to validate",
    "test": "interactions to test",
    "first": "first interaction",
    "last": "last interaction",
    "density": "share of all pairs of user and item that occur",
    "users_with_test": "users with something to find in the test set",
    "users_with_validation": "users with something to find in the validation set",
    "test_items_not_in_train": "cold items: tested, never seen in training",
    "test_users_not_in_train": "cold users: tested, never seen in training",
    "test_already_known": "test rows left out, as the user had the item already",
    "validation_already_known": "validation rows left out, as the user had the item already",
    "test_before_last_train": "leak share: test rows older than the newest training row (0: nobody saw the future)",
    "sessions": "sessions, each in the part of a user",
    "sessions_too_short_dropped": "sessions left out, of fewer than two events",
    "rows_after_cut_dropped": "rows left out, after the cut of a session that began before it",
    "rows_of_unknown_items_dropped": "held-out rows left out, as train does not hold the item",
    "history_after_test_dropped": "history left out, as it lies after what is tested",
    "load_s": "reading and splitting the data",
    "compile_s": "compiling",
    "train_s": "training",
    "evaluate_s": "ranking and measuring",
}
SHARES = {"density", "test_before_last_train"}


def run_report(name: str, tree: Tree, result: Result) -> str:
    """The page of one run."""
    title = f"{get(tree, 'model._target_', 'model').rpartition('.')[2]} on {result.known.name}"
    body = [
        tag("h1", title),
        tag("p", f"Run {name}. {_protocol(tree, result)}", "soft"),
        _warning(result),
        cards(*_test_cards(result)),
        section("Test metrics", _metric_table(result)),
        _learning_curves(result, get(tree, "eval.monitor", "")),
        section("Users", _users(result)),
        _groups(result),
        item_section(result),
        section("Data, time and place", _fact_tables(result)),
        section("Settings", details("All settings of this run", table(["setting", "value"], flat(tree).items()))),
        tag("p", "config.yaml, beside this page, trains the same run again; its first lines say how.", "soft"),
    ]
    return page(title, body)


def sweep_report(name: str, study: optuna.Study, result: Result, notes: Sequence[str] = ()) -> str:
    """The page of a search; `result` is its best trial, the only one that was tested, `notes` reasons to doubt it."""
    trials = study.get_trials(deepcopy=False)
    complete = [trial for trial in trials if trial.state == TrialState.COMPLETE]
    pruned = [trial for trial in trials if trial.state == TrialState.PRUNED and trial.value is not None]
    winner, metric = best(study), study.user_attrs.get("metric", "value")
    minimize = study.direction == optuna.study.StudyDirection.MINIMIZE
    found, note = importances(study), importance_note(study)
    important = (
        charts.importance_bars(found, note) if found else box(tag("h3", "Parameter importances"), tag("p", note))
    )
    aim = f"Searched on {result.known.name} for the {'lowest' if minimize else 'highest'} {metric}."
    body = [
        tag("h1", name),
        tag("p", f"{aim} Only the best trial was tested.", "soft"),
        _warning(result),
        *(tag("p", note[:1].upper() + note[1:] + ".", "warn") for note in notes),
        cards(
            (f"best {metric}", decimals(winner.value), f"trial {winner.number}"), *_test_cards(result), _counted(trials)
        ),
        section("The best trial", grid(_best(study, winner))),
        section("Its test metrics", _metric_table(result)),
        section("The search", grid([charts.by_trial(complete, pruned, metric, minimize=minimize), important])),
        section("One parameter at a time", grid(charts.slices(complete, metric, winner))),
        section("All parameters at once", charts.parallel(complete, metric, minimize=minimize)),
        section("Leaderboard", box(frame(leaderboard(study).rename(columns={"number": "trial", "value": metric})))),
        section("All trials", tag("p", "A click on a head sorts.", "soft"), _trial_table(trials, metric)),
    ]
    return page(name, body)


def _protocol(tree: Tree, result: Result) -> str:
    whole = get(tree, "eval._target_", "").endswith("FullCatalogue")
    each = "at every step of a session" if get(tree, "split._target_", "").endswith("by_session") else "for every user"
    ranked = f"the whole catalogue was ranked {each}" if whole else "SAMPLED: only given candidates were ranked"
    trained = "train and validation" if result.metrics.get("refit") else "the train part"
    return f"Trained on {trained}; {ranked}."


def _warning(result: Result) -> Html:
    lines = [f"Test {_label(key)} is not defined: {why}." for key, why in result.metrics.get("undefined", {}).items()]
    if result.metrics.get("interrupted"):
        lines.insert(0, "Training was interrupted: these are the numbers of what was trained until then.")
    return Html("".join(tag("p", line, "warn") for line in lines))


def _test_cards(result: Result) -> list[tuple[str, str, str]]:
    """The leading metric, popularity's beside it, and how many times as good."""
    key = _leading(result)
    value, popular = (result.metrics[part].get(key, math.nan) for part in ("test", "popularity"))
    times = value / popular if popular else math.nan
    interval = _interval(result, key)
    return [
        (f"test {_label(key)}", decimals(value), f"95 % interval {interval}" if interval else ""),
        (f"{_label(key)} of popularity", decimals(popular), "the same most popular items for everybody"),
        ("times as good", f"{times:.2f}" if math.isfinite(times) else "n/a", "as popularity"),
    ]


def _leading(result: Result) -> str:
    test = result.metrics["test"]
    leading = [key for key in ("ndcg@10", f"{SAMPLED}ndcg@10") if key in test]
    return leading[0] if leading else next(iter(test), "ndcg@10")


def _metric_table(result: Result) -> Html:
    """A row a metric and, for each k, the model's value with its interval, and popularity's."""
    test, popular = result.metrics["test"], result.metrics["popularity"]
    names = list(dict.fromkeys(key.partition("@")[0] for key in test))
    ks = sorted({key.partition("@")[2] for key in test}, key=lambda k: int(k or 0))
    top = "".join(f'<th class="number" colspan="2">{escape(f"at {k}" if k else "")}</th>' for k in ks)
    below = '<th class="number">model</th><th class="number">popularity</th>' * len(ks)
    rows = ""
    for name in names:
        rows += f"<tr>{tag('th', _label(name))}"
        for key in (f"{name}@{k}" if k else name for k in ks):
            value = Html(decimals(test[key]) + tag("small", _interval(result, key))) if key in test else ""
            rows += tag("td", value, "number")
            rows += tag("td", decimals(popular.get(key)) if key in test else "", "number soft")
        rows += "</tr>"
    head = f"<thead><tr><th></th>{top}</tr><tr><th>metric</th>{below}</tr></thead>"
    described = {name: METRICS.get(name.removeprefix(SAMPLED).partition("(")[0]) for name in names}
    legend = [(_label(name), found[1]) for name, found in described.items() if found is not None]
    return box(
        Html(f'<div class="scroll" tabindex="0"><table>{head}<tbody>{rows}</tbody></table></div>'),
        tag(
            "p",
            "Small: 95 % bootstrap intervals over users, which know nothing of training seeds.",
            "soft note",
        ),
        details("What these metrics are", table([], legend)),
    )


def _learning_curves(result: Result, monitor: str) -> Html:
    """Loss and validation metric by epoch; nothing for models without epochs."""
    history, kept = result.history, result.metrics.get("best_epoch", 0)
    titles = {"loss": "Training loss", monitor: f"Validation {_label(monitor)}"}
    seen = [key for key in titles if key in history and history[key].notna().any()]
    drawn = [charts.learning_curve(titles[key], history, key, kept) for key in seen]
    return section("Learning curves", grid(drawn)) if drawn else Html()


def _users(result: Result) -> Html:
    """How the leading metric spreads over users, and over how much was known of them."""
    key, known = _leading(result), result.known
    measured = result.per_user.dropna(subset=[key]) if key in result.per_user else result.per_user.head(0)
    if measured.empty:
        return tag("p", f"No user has a value of {_label(key)}.", "soft")
    values = measured[key].to_numpy(np.float64)
    if "known" in measured:
        lengths = measured["known"].to_numpy()
    else:
        users = pd.Index(known.user_ids).get_indexer(pd.Index(measured["user_id"]))
        lengths = np.bincount(known.user, minlength=known.n_users)[users]
    names = pd.factorize(measured["user_id"])[0]
    return grid([charts.spread(_label(key), values), charts.by_activity(_label(key), values, lengths, names)])


def _groups(result: Result) -> Html:
    """Test metrics of groups of items and of users, with what the groups are."""
    groups: Mapping[str, Mapping[str, Mapping[str, Any]]] = result.metrics.get("test_groups", {})
    shown = [(kind, name, found) for kind, named in groups.items() for name, found in named.items()]
    if not shown:
        return Html()
    keys = [key for key in shown[0][2] if "@" in key]
    counted = ["users", "rows"] if any(found["users"] != found["rows"] for _, _, found in shown) else ["users"]
    heads = ["group", "", *({"rows": "times asked"}.get(c, c) for c in counted), *map(_label, keys), "known of each"]
    rows = [
        [
            kind,
            name,
            *(f"{found[count]:,}" for count in counted),
            *(decimals(found[key]) for key in keys),
            " to ".join(f"{n:,}" for n in dict.fromkeys(found.get("known", ()))),
        ]
        for kind, name, found in shown
    ]
    said = "For a group of items only its items count as relevant; for a group of users the mean is over them."
    legend = details("What these groups are", table([], [(name, DEFINITIONS[name]) for _, name, _ in shown]))
    return section("Groups", box(table(heads, rows), tag("p", said, "soft note"), legend))


def _fact_tables(result: Result) -> Html:
    sizes = {key: value for key, value in summary(result.known).items() if key not in ("interactions", "density")}
    sizes |= {key: sizes[key].replace("T", " ") for key in ("first", "last") if key in sizes}
    facts = dict(result.metrics.get("data", {}))
    data = {**sizes, "interactions known before the test": len(result.known), **facts.pop("reading", {}), **facts}
    size = sum(np.size(leaf) for leaf in jax.tree.leaves(result.params))
    time = {key: f"{value:,.2f} s" for key, value in result.metrics.get("time", {}).items()}
    place = {"parameters of the model": size, **result.metrics.get("environment", {})}
    machine = [tag("h3", "Model and machine"), table([], _facts(place)), tag("h3", "Time"), table([], _facts(time))]
    return grid([box(tag("h3", "Data"), table([], _facts(data))), box(*machine)])


def _facts(values: Mapping[str, Any]) -> list[tuple[str, Any]]:
    shown = {key: f"{value:,}" if type(value) is int else value for key, value in values.items()}
    shown |= {key: f"{100 * value:.2f} %" for key, value in values.items() if key in SHARES}
    return [(FACTS.get(key, key.replace("_", " ")), value) for key, value in shown.items()]


def _best(study: optuna.Study, winner: FrozenTrial) -> list[Html]:
    link = Html('<p>Its own page is <a href="best/report.html">best/report.html</a>.</p>')
    again = box(tag("h3", "Train it again"), tag("pre", command(study, winner.number)), link)
    return [box(tag("h3", f"Trial {winner.number}"), table([], winner.params.items())), again]


def _counted(trials: Sequence[FrozenTrial]) -> tuple[str, str, str]:
    count = {state: sum(trial.state == state for trial in trials) for state in TrialState}
    complete, failed = count.pop(TrialState.COMPLETE), count.pop(TrialState.FAIL)
    others = [f"{n:,} {state.name.lower()}" for state, n in count.items() if n]
    return "trials complete", f"{complete:,}", ", ".join([f"{failed:,} failed", *others])


def _trial_table(trials: Sequence[FrozenTrial], metric: str) -> Html:
    attributes = {"best_epoch": "best epoch", "seconds": "seconds", "error": "error"}
    rows = [
        {
            "trial": trial.number,
            "state": "failed" if trial.state == TrialState.FAIL else trial.state.name.lower(),
            metric: trial.value,
            **params_of(trial),
            **{title: trial.user_attrs[key] for key, title in attributes.items() if key in trial.user_attrs},
        }
        for trial in trials
    ]
    return box(frame(pd.DataFrame(rows, dtype=object), sortable=True))


def _interval(result: Result, key: str) -> str:
    low, high = result.metrics.get("test_interval", {}).get(key, (math.nan, math.nan))
    return "" if math.isnan(low) else f"{low:.4f} to {high:.4f}"


def _label(key: str) -> str:
    """`ndcg@10` is written NDCG@10, and what was measured among candidates only says so."""
    sampled, key = key.startswith(SAMPLED), key.removeprefix(SAMPLED)
    name = re.split("[(@]", key)[0]
    return ("Sampled " if sampled else "") + METRICS.get(name, (name, ""))[0] + key.removeprefix(name)
