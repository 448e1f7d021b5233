"""HTML reports of a run and of a sweep: one file each that asks for nothing from outside, on a phone as on a big screen.

What comes from data or settings is escaped where it meets the page: `_h` for HTML, `_plain` for charts, since Plotly
reads a few tags in its labels. `Html` marks what was built here and is markup already.
"""

import base64
import functools
import gzip
import html
import math
from collections.abc import Iterable, Sequence
from importlib.resources import files
from string import Template
from typing import Any

import jax
import numpy as np
import optuna
import pandas as pd
import plotly.graph_objects as go
from optuna.distributions import CategoricalDistribution
from optuna.trial import FrozenTrial, TrialState
from plotly.offline import get_plotlyjs

from jaxrec.data.interactions import summary
from jaxrec.experiment import Result
from jaxrec.metrics import mean_and_interval
from jaxrec.settings import Tree, flat, get
from jaxrec.study import command, importance_note, importances
from jaxrec.trials import best, leaderboard, params_of

# Seen well on a light and on a dark page.
BLUE, ORANGE, GREY = "#3d8bd4", "#e08a1e", "#8d97a3"

METRICS = {
    "ndcg": ("NDCG", "hits count more the higher they stand; 1 is a list with every hit on top"),
    "hit_rate": ("Hit rate", "share of users with at least one hit"),
    "precision": ("Precision", "share of the list that are hits"),
    "recall": ("Recall", "share of the user's test items that made the list"),
    "recall_min": ("Recall (min)", "the same, of as many as the list can hold"),
    "map": ("MAP", "precision at each hit, averaged"),
    "mrr": ("MRR", "1 / position of the first hit"),
    "coverage": ("Coverage", "share of the catalogue that is in at least one user's list"),
    "mse": ("MSE", "mean squared error of the predicted values"),
    "rmse": ("RMSE", "root of the mean squared error"),
    "mae": ("MAE", "mean absolute error"),
}
FACTS = {
    "users": "users",
    "items": "items in the catalogue",
    "interactions": "interactions",
    "density": "share of all user–item pairs that occur",
    "first": "first interaction",
    "last": "last interaction",
    "users_with_test": "users with something to find in the test set",
    "users_with_validation": "users with something to find in the validation set",
    "test_items_not_in_train": "cold items: in the test set, never seen in training",
    "test_users_not_in_train": "cold users: in the test set, never seen in training",
    "test_already_known": "test rows left out, as the user had the item already",
    "validation_already_known": "validation rows left out, as the user had the item already",
    "test_before_last_train": "share of test rows older than the newest training row (0: no look into the future)",
    "load_s": "reading and splitting the data",
    "compile_s": "compiling",
    "train_s": "training",
    "evaluate_s": "ranking and measuring",
}
SHARES = {"density", "test_before_last_train"}


class Html(str):
    """Markup; what came from outside is escaped in it."""

    __slots__ = ()


def run_report(name: str, tree: Tree, result: Result) -> str:
    """The page of one run."""
    model = get(tree, "model._target_", "model").rpartition(".")[2]
    headline = f"{model} on {result.known.name}"
    monitor = get(tree, "eval.monitor", "")
    body = [
        _tag("h1", headline),
        _tag("p", f"Run {name}. {_protocol(tree, result)}", "soft"),
        *_warnings(result),
        _cards(*_test_cards(result)),
        _section("Test metrics", _metric_table(result)),
        _section("Learning curves", _grid(_learning_curves(result, monitor))) if len(result.history) else "",
        _section("Users", _grid(_user_charts(result))),
        _section("Data, time and place", _grid(_fact_tables(result))),
        _tag("h2", "Settings"),
        _tag("p", "config.yaml beside this page trains the same run again; its first lines say how.", "soft"),
        _details("All settings", _table(["setting", "value"], flat(tree).items())),
    ]
    return _page(headline, body)


def sweep_report(name: str, study: optuna.Study, result: Result) -> str:
    """The page of a search: `result` is its best trial, the only one that was tested."""
    trials = sorted(study.get_trials(deepcopy=False), key=lambda trial: trial.number)
    metric = study.user_attrs.get("metric", "value")
    winner = best(study)
    count = {state: sum(trial.state == state for trial in trials) for state in TrialState}
    complete, failed = count.pop(TrialState.COMPLETE), count.pop(TrialState.FAIL)
    others = [f"{n} {state.name.lower()}" for state, n in count.items() if n]
    chosen = "lowest" if study.direction == optuna.study.StudyDirection.MINIMIZE else "highest"
    body = [
        _tag("h1", name),
        _tag("p", f"A search on {result.known.name} for the {chosen} {metric}. The best trial alone was tested.", "soft"),
        *_warnings(result),
        _cards(
            (f"best {metric}", _number(winner.value), f"trial {winner.number}"),
            *_test_cards(result),
            ("trials complete", f"{complete:,}", ", ".join([f"{failed} failed", *others])),
        ),
        _section("The best trial", _box(_table(["parameter", "value"], winner.params.items())), _repeat(study, winner)),
        _section("Test metrics of the best trial", _metric_table(result)),
        _section("The search", _grid([_optimisation_history(study, trials, metric), _importances(study)])),
        _section("One parameter at a time", _grid(_slices(trials, metric, winner))),
        _parallel(study, metric),
        _section("Leaderboard", _box(_frame(leaderboard(study).rename(columns={"number": "trial", "value": metric})))),
        _section("All trials", _box(_frame(_trials_frame(trials, metric), sortable=True))),
    ]
    return _page(name, body)


# What is said of a result


def _protocol(tree: Tree, result: Result) -> str:
    whole = get(tree, "eval._target_", "").endswith("FullCatalogue")
    ranked = "the whole catalogue is ranked for every user" if whole else "SAMPLED: only given candidates are ranked"
    trained = "train and validation" if result.metrics.get("refit") else "the train split"
    return f"Trained on {trained}; {ranked}."


def _warnings(result: Result) -> list[Html]:
    said = "Training was interrupted: these are the numbers of what was trained until then."
    return [_tag("p", said, "warn")] if result.metrics.get("interrupted") else []


def _headline_metric(result: Result) -> str:
    test = result.metrics["test"]
    return "ndcg@10" if "ndcg@10" in test else next(iter(test), "ndcg@10")


def _test_cards(result: Result) -> list[tuple[str, str, str]]:
    """The metric that leads, popularity's beside it, and how many times as good."""
    key = _headline_metric(result)
    value, popular = (result.metrics[part].get(key, math.nan) for part in ("test", "popularity"))
    interval = _interval(result, key)
    times = value / popular if popular else math.nan
    return [
        (f"test {_label(key)}", _number(value), f"95 % interval {interval}" if interval else ""),
        ("popularity", _number(popular), f"test {_label(key)} of the most popular items"),
        ("times as good", f"{times:.2f} ×" if math.isfinite(times) else "–", "as popularity"),
    ]


def _metric_table(result: Result) -> Html:
    """A row a metric, and for each k the model's value with its interval and popularity's."""
    test, popular = result.metrics["test"], result.metrics["popularity"]
    names = list(dict.fromkeys(key.partition("@")[0] for key in test))
    ks = sorted({key.partition("@")[2] for key in test}, key=lambda k: int(k or 0))
    top = Html("<th></th>" + "".join(f'<th class="number" colspan="2">{_h(f"at {k}" if k else "")}</th>' for k in ks))
    sub = Html("<th>metric</th>" + '<th class="number">model</th><th class="number">popularity</th>' * len(ks))
    rows = []
    for name in names:
        cells = ""
        for key in (f"{name}@{k}" if k else name for k in ks):
            if key in test:
                small = f"<small>{_h(_interval(result, key))}</small>"
                cells += f'<td class="number">{_number(test[key])}{small}</td>'
                cells += f'<td class="number soft">{_number(popular.get(key, math.nan))}</td>'
            else:
                cells += "<td></td><td></td>"
        rows.append(f"<tr><th>{_h(_label(name))}</th>{cells}</tr>")
    legend = [(_label(name), METRICS[name][1]) for name in names if name in METRICS]
    return _box(
        Html(f"<table><thead><tr>{top}</tr><tr>{sub}</tr></thead><tbody>{''.join(rows)}</tbody></table>"),
        _tag("small", "Small print: 95 % bootstrap interval over users; it knows nothing of training seeds."),
        _details("What these metrics are", _table(["metric", "of each user, in the mean over users"], legend)),
    )


def _fact_tables(result: Result) -> list[Html]:
    known = {key: value for key, value in summary(result.known).items() if key not in ("interactions", "density")}
    known["interactions known before the test"] = len(result.known)
    weights = {"parameters of the model": sum(np.size(leaf) for leaf in jax.tree.leaves(result.params))}
    times = {key: f"{value:,.2f} s" for key, value in result.metrics.get("time", {}).items()}
    return [
        _headed("Data", _table(["", ""], _facts(known | result.metrics.get("data", {})))),
        _headed("Time", _table(["", ""], _facts(times))),
        _headed("Environment", _table(["", ""], _facts(result.metrics.get("environment", {}) | weights))),
    ]


def _facts(values: dict[str, Any]) -> list[tuple[str, Any]]:
    return [
        (FACTS.get(key, key.replace("_", " ")), f"{value:.2%}" if key in SHARES else value)
        for key, value in values.items()
    ]


def _repeat(study: optuna.Study, winner: FrozenTrial) -> Html:
    return _box(
        _tag("h3", "Train it again"),
        _tag("pre", command(study, winner.number)),
        Html('<p class="soft">Its own page: <a href="best/report.html">best/report.html</a></p>'),
    )


def _trials_frame(trials: Sequence[FrozenTrial], metric: str) -> pd.DataFrame:
    extra = ("best_epoch", "seconds", "error")
    rows = [
        {
            "trial": trial.number,
            "state": "failed" if trial.state == TrialState.FAIL else trial.state.name.lower(),
            metric: trial.value,
            **params_of(trial),
            **{key.replace("_", " "): trial.user_attrs[key] for key in extra if key in trial.user_attrs},
        }
        for trial in trials
    ]
    return pd.DataFrame(rows, dtype=object)


# Charts


def _learning_curves(result: Result, monitor: str) -> list[Html]:
    history, chosen = result.history, result.metrics.get("best_epoch", 0)
    charts = []
    for key, title, colour in (("loss", "Training loss", GREY), (monitor, f"Validation {_label(monitor)}", BLUE)):
        if key not in history or not history[key].notna().any():
            continue
        seen = history[history[key].notna()]
        traces = [go.Scatter(x=seen["epoch"], y=seen[key], mode="lines+markers", line_color=colour, name=title)]
        marked = seen[seen["epoch"] == chosen]
        traces.append(
            go.Scatter(
                x=marked["epoch"], y=marked[key], name=f"epoch {chosen}, kept", mode="markers",
                marker={"color": ORANGE, "size": 12, "symbol": "star"},
            )
        )
        caption = f"By epoch; the star is epoch {chosen}, the one kept." if len(marked) else "By epoch."
        charts.append(_chart(title, traces, caption, xaxis={"title": {"text": "epoch"}, "tickformat": "d"}))
    return charts


def _user_charts(result: Result) -> list[Html]:
    """How the metric spreads over users, and over how much was known of them."""
    key = _headline_metric(result)
    if key not in result.per_user or not (of_users := result.per_user[result.per_user[key].notna()]).size:
        return [_tag("p", "No user has anything to find.", "box soft")]
    values = of_users[key].to_numpy(np.float64)
    counts, edges = np.histogram(values, bins=20, range=(0, max(1.0, values.max())))
    middles = (edges[1:] + edges[:-1]) / 2
    spread = go.Bar(
        x=middles, y=counts, marker_color=BLUE, customdata=np.stack([edges[:-1], edges[1:]], axis=1),
        hovertemplate="%{customdata[0]:.2f} to %{customdata[1]:.2f}: %{y:,} users<extra></extra>",
    )  # fmt: skip
    none = float((values == 0).mean())
    label = _label(key)
    return [
        _chart(
            f"{label} of each user",
            [spread],
            f"How many of {len(values):,} users have which test {label}; {none:.0%} have none at all.",
            bargap=0.05, xaxis={"title": {"text": label}}, yaxis={"title": {"text": "users"}},
        ),
        _by_activity(result, of_users["user_id"], values, label),
    ]  # fmt: skip


def _by_activity(result: Result, user_ids: pd.Series, values: np.ndarray, label: str) -> Html:
    known = result.known
    lengths = np.bincount(known.user, minlength=known.n_users)[pd.Index(known.user_ids).get_indexer(user_ids)]
    # Equal lengths stay together, so quarters may differ in size, and there may be fewer than four.
    quarter = np.searchsorted(np.unique(np.quantile(lengths, [0.25, 0.5, 0.75])), lengths)
    groups = [quarter == q for q in np.unique(quarter)]
    means, lows, highs = np.array([mean_and_interval(values[group]) for group in groups]).T
    names = [
        f"{low:,}" if low == high else f"{low:,} to {high:,}"
        for low, high in ((lengths[group].min(), lengths[group].max()) for group in groups)
    ]
    bars = go.Bar(
        x=names, y=means, marker_color=BLUE, customdata=[int(group.sum()) for group in groups],
        error_y={"array": highs - means, "arrayminus": means - lows, "color": GREY, "thickness": 1.5},
        hovertemplate="%{customdata:,} users: %{y:.4f}<extra></extra>",
    )
    return _chart(
        f"{label} by activity", [bars],
        "Users in quarters by how many of their interactions were known before the test; bars with 95 % interval.",
        xaxis={"title": {"text": "interactions known of a user"}, "type": "category"}, yaxis={"title": {"text": label}},
    )  # fmt: skip


def _optimisation_history(study: optuna.Study, trials: Sequence[FrozenTrial], metric: str) -> Html:
    complete = [trial for trial in trials if trial.state == TrialState.COMPLETE]
    pruned = [trial for trial in trials if trial.state == TrialState.PRUNED and trial.value is not None]
    values = [trial.value for trial in complete]
    running = np.minimum if study.direction == optuna.study.StudyDirection.MINIMIZE else np.maximum
    traces = [_dots(complete, [trial.number for trial in complete], name="trial")]
    if pruned:
        traces.append(_dots(pruned, [trial.number for trial in pruned], name="pruned", symbol="circle-open"))
    line = {"color": ORANGE, "shape": "hv"}
    numbers = [trial.number for trial in complete]
    traces.append(go.Scatter(x=numbers, y=running.accumulate(values), mode="lines", line=line, name="best so far"))
    return _chart(
        "Value by trial", traces, f"{metric} of each trial, and the best until then.", showlegend=True,
        legend={"orientation": "h", "y": 1.12}, xaxis={"title": {"text": "trial"}, "tickformat": "d"},
        yaxis={"title": {"text": _plain(metric)}},
    )  # fmt: skip


def _importances(study: optuna.Study) -> Html:
    found, note = importances(study), importance_note(study)
    if not found:
        return _headed("Parameter importances", _tag("p", note[:1].upper() + note[1:] + ".", "soft"))
    names = [_plain(key) for key in reversed(found)]
    bars = go.Bar(
        x=list(reversed(found.values())), y=names, orientation="h", marker_color=BLUE,
        hovertemplate="%{y}: %{x:.1%}<extra></extra>",
    )  # fmt: skip
    caption = "How much of the differences between trials each parameter explains (fANOVA)."
    return _chart(
        "Parameter importances", [bars], f"{caption} Note: {note}." if note else caption,
        xaxis={"tickformat": ".0%", "rangemode": "tozero"}, yaxis={"type": "category"},
    )  # fmt: skip


def _slices(trials: Sequence[FrozenTrial], metric: str, winner: FrozenTrial) -> list[Html]:
    """Value against each parameter, on the axis that its space has."""
    seen = [trial for trial in trials if trial.state == TrialState.COMPLETE]
    charts = []
    for key in dict.fromkeys(key for trial in seen for key in trial.params):
        having = [trial for trial in seen if key in trial.params]
        distribution = having[0].distributions[key]
        points: list[Any] = [trial.params[key] for trial in having]
        axis: dict[str, Any] = {"title": {"text": _plain(key)}}
        if isinstance(distribution, CategoricalDistribution):
            order = [_plain(choice) for choice in distribution.choices]
            points = [_plain(point) for point in points]
            axis |= {"type": "category", "categoryorder": "array", "categoryarray": order}
        elif getattr(distribution, "log", False):
            axis |= {"type": "log", **_log_ticks(min(points), max(points))}
        traces = [_dots(having, points)]
        if winner in having:
            star = {"color": ORANGE, "size": 13, "symbol": "star"}
            traces.append(_dots([winner], [points[having.index(winner)]], marker=star))
        charts.append(_chart(key, traces, "", xaxis=axis, yaxis={"title": {"text": _plain(metric)}}))
    return charts


def _parallel(study: optuna.Study, metric: str) -> Html:
    complete = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    if len(complete) < 2 or not complete[0].params:
        return Html()
    lines = optuna.visualization.plot_parallel_coordinate(study, target_name=_plain(metric)).data[0]
    for axis in lines.dimensions:
        axis.label = _plain(axis.label.rpartition(".")[2])  # the whole of a dotted key runs into its neighbour
        axis.ticktext = [_plain(text) for text in axis.ticktext] if axis.ticktext is not None else None
    lines.line.update(colorscale=[[0, GREY], [0.6, BLUE], [1, ORANGE]], reversescale=False, showscale=False)
    lines.unselected = {"line": {"opacity": 0.1}}
    caption = "A line a trial, orange the higher its value. Draw along an axis to keep only the lines through there."
    chart = _chart("Parallel coordinates", [lines], caption, height=380, margin={"l": 60, "r": 60, "t": 60, "b": 30})
    return _section("All parameters at once", Html(f'<div class="wide">{chart}</div>'))


def _dots(trials: Sequence[FrozenTrial], x: Sequence[Any], **changes: Any) -> go.Scatter:
    marker = {"color": BLUE, "size": 8, "opacity": 0.8, "symbol": changes.pop("symbol", "circle")}
    return go.Scatter(
        x=x, y=[trial.value for trial in trials], mode="markers", customdata=[trial.number for trial in trials],
        hovertemplate="trial %{customdata}: %{y:.5g}<br>%{x}<extra></extra>", **{"marker": marker, **changes},
    )  # fmt: skip


def _log_ticks(low: float, high: float) -> dict[str, list[Any]]:
    """1, 2, 5, 10, … written in full: Plotly's own write 0.002 as a bare 2."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    ticks = [m * 10.0**p for p in powers for m in ((1,) if high / low > 300 else (1, 2, 5))]
    ticks = [tick for tick in ticks if low / 1.5 <= tick <= high * 1.5] or [low, high]
    return {"tickvals": ticks, "ticktext": [f"{tick:.6g}" for tick in ticks]}


def _chart(title: str, traces: Sequence[Any], caption: str, **layout: Any) -> Html:
    """A figure with its title and caption as page text, which wraps on a phone as Plotly's would not."""
    clear = "rgba(0,0,0,0)"
    figure = go.Figure(
        traces,
        {
            "template": "none", "height": 300, "margin": {"l": 10, "r": 10, "t": 10, "b": 10}, "showlegend": False,
            "paper_bgcolor": clear, "plot_bgcolor": clear, "dragmode": False,
            "font": {"family": "system-ui, sans-serif", "size": 13, "color": GREY},
        },
    )  # fmt: skip
    # Without zoom, a finger on a chart scrolls the page.
    figure.update_xaxes(automargin=True, fixedrange=True, zeroline=False)
    figure.update_yaxes(automargin=True, fixedrange=True, zeroline=False)
    figure.update_layout(**layout)
    # `<` within a script would end it at a hostile moment.
    data = (figure.to_json() or "").replace("<", "\\u003c")
    script = f'<script type="application/json">{data}</script>'
    drawn = f'<div class="scroll"><div class="chart" role="img" aria-label="{_h(title)}">{script}</div></div>'
    return Html(f"<figure><h3>{_h(title)}</h3>{drawn}<figcaption>{_h(caption)}</figcaption></figure>")


# Pieces of a page


def _page(title: str, body: Iterable[str]) -> str:
    template = Template(files("jaxrec").joinpath("report.html").read_text(encoding="utf-8"))
    return template.substitute(title=_h(title), body="\n".join(body), plotly=_plotly())


@functools.cache
def _plotly() -> str:
    """Plotly's JavaScript, compressed: a third of its 4.8 MB."""
    return base64.b64encode(gzip.compress(get_plotlyjs().encode(), mtime=0)).decode()


def _section(title: str, *parts: Html) -> Html:
    return Html(f"<section><h2>{_h(title)}</h2>{''.join(parts)}</section>")


def _headed(title: str, *parts: Html) -> Html:
    return _box(_tag("h3", title), *parts)


def _box(*parts: Html) -> Html:
    return Html(f'<div class="box">{"".join(parts)}</div>')


def _grid(parts: Sequence[Html]) -> Html:
    return Html(f'<div class="grid">{"".join(parts)}</div>')


def _details(title: str, content: Html) -> Html:
    return Html(f'<details class="box"><summary>{_h(title)}</summary>{content}</details>')


def _cards(*cards: tuple[str, str, str]) -> Html:
    shown = (f"<div>{_h(name)}<b>{_h(value)}</b><small>{_h(note)}</small></div>" for name, value, note in cards)
    return Html(f'<div class="cards">{"".join(shown)}</div>')


def _tag(name: str, text: Any, style: str = "") -> Html:
    return Html(f'<{name} class="{style}">{_h(text)}</{name}>' if style else f"<{name}>{_h(text)}</{name}>")


def _frame(frame: pd.DataFrame, *, sortable: bool = False) -> Html:
    return _table([str(column) for column in frame], frame.itertuples(index=False), sortable=sortable)


def _table(heads: Sequence[str], rows: Iterable[Iterable[Any]], *, sortable: bool = False) -> Html:
    """A table that scrolls by itself where it is wider than the page; empty heads are left out."""
    named = [f"<th><button>{_h(head)}</button></th>" if sortable else f"<th>{_h(head)}</th>" for head in heads]
    head = f"<thead><tr>{''.join(named)}</tr></thead>" if any(heads) else ""
    body = "".join(f"<tr>{''.join(_cell(value, sortable) for value in row)}</tr>" for row in rows)
    style = ' class="sortable"' if sortable else ""
    return Html(f'<div class="scroll"><table{style}>{head}<tbody>{body}</tbody></table></div>')


def _cell(value: Any, sortable: bool) -> str:
    number = isinstance(value, int | float | np.number) and not isinstance(value, bool)
    key = f' data-key="{_h("" if _missing(value) else repr(value) if number else value)}"' if sortable else ""
    return f'<td class="{"number" if number else "text"}"{key}>{_h(_text(value))}</td>'


def _interval(result: Result, key: str) -> str:
    low, high = result.metrics.get("test_interval", {}).get(key, (math.nan, math.nan))
    return "" if math.isnan(low) else f"{low:.4f} to {high:.4f}"


def _label(key: str) -> str:
    """`ndcg@10` → NDCG@10."""
    name, at, k = key.partition("@")
    return METRICS.get(name, (name.replace("_", " "), ""))[0] + at + k


def _number(value: float | None) -> str:
    return "–" if _missing(value) else f"{value:.4f}"


def _text(value: Any) -> str:
    if _missing(value):
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple):
        return ", ".join(map(_text, value))
    return f"{value:.5g}" if isinstance(value, float) else f"{value}"


def _missing(value: Any) -> bool:
    return value is None or value is pd.NaT or (isinstance(value, float) and math.isnan(value))


def _h(text: Any) -> str:
    """For HTML."""
    return text if isinstance(text, Html) else html.escape(str(text))


def _plain(text: Any) -> str:
    """For a chart."""
    return html.escape(str(text), quote=False)
