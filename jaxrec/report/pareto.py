"""Pareto front of a search with several objectives: a chart for each further objective, and a table."""

from collections.abc import Collection, Sequence

import plotly.graph_objects as go
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from jaxrec.page.figure import BLUE, GRAY, LEGEND, ORANGE, chart, log_ticks, titled
from jaxrec.page.html import Cell, Html, box, decimals, grid, section, table, tag
from jaxrec.page.metric_labels import label
from jaxrec.report.trial_sample import sample
from jaxrec.sweep.objectives import COSTS, front, is_feasible, objectives_of

NAMES = {"train_seconds": "training time, s", "n_parameters": "parameters", "latency_ms": "latency, ms"}
LOG = 20  # costs over a wider range than this factor are drawn on a logarithmic axis


def pareto_section(study: Study, winner: FrozenTrial, kept: Collection[int]) -> Html:
    """Return the section of the Pareto front; empty for a study with one objective.

    Args:
        study: all trials.
        winner: the trial in `best`.
        kept: numbers of trials with a run in `front`.
    """
    names = objectives_of(study)
    if not names:
        return Html()
    efficient = front(study)
    charts = [_chart(study, efficient, winner, names, place) for place in range(1, len(names))]
    return section("Pareto front", grid(charts), _table(efficient, winner, names, kept))


def display_name(name: str) -> str:
    """Return the display name of an objective."""
    return NAMES.get(name) or label(f"validation {name}")


def _number(name: str, value: float) -> str:
    """Format the value of an objective: metrics with four decimals, numbers of parameters in full."""
    return f"{value:,.0f}" if name == "n_parameters" else f"{value:,.5g}" if name in COSTS else decimals(value)


def _chart(study: Study, efficient: Sequence[FrozenTrial], winner: FrozenTrial, names: Sequence[str], at: int) -> Html:
    """Draw the first objective against another one."""
    complete = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    numbers = {trial.number for trial in efficient}
    minimize = study.directions[0].name == "MINIMIZE"
    others = sample([trial for trial in complete if trial.number not in numbers], minimize=minimize)
    groups = {
        "on the front": (efficient, {"color": ORANGE, "size": 9}),
        "dominated": ([t for t in others if is_feasible(t)], {"color": BLUE, "size": 7, "opacity": 0.7}),
        "infeasible": ([t for t in others if not is_feasible(t)], {"color": GRAY, "size": 7, "symbol": "x-thin-open"}),
        "best": ([winner], {"color": ORANGE, "size": 15, "symbol": "star-open", "line": {"width": 2}}),
    }
    traces = [
        go.Scatter(
            x=[trial.values[at] for trial in own],
            y=[trial.values[0] for trial in own],
            customdata=[trial.number for trial in own],
            mode="markers",
            name=name,
            marker=marker,
            hovertemplate="trial %{customdata}: %{y:.5g} at %{x:.5g}<extra></extra>",
        )
        for name, (own, marker) in groups.items()
        if own
    ]
    values = [trial.values[at] for trial in (*efficient, *others, winner)]
    axis = titled(display_name(names[at]))
    if names[at] in COSTS and min(values) > 0 and max(values) > LOG * min(values):
        axis |= {"type": "log", **log_ticks(min(values), max(values))}
    layout = {
        "xaxis": axis,
        "yaxis": titled(display_name(names[0])),
        "showlegend": True,
        "legend": LEGEND,
        "height": 380,
    }
    title = f"{display_name(names[0])} and {display_name(names[at])}"
    return chart(f"{title[:1].upper()}{title[1:]}", traces, "One point per complete trial.", **layout)


def _table(efficient: Sequence[FrozenTrial], winner: FrozenTrial, names: Sequence[str], kept: Collection[int]) -> Html:
    if not efficient:
        return box(tag("p", "No trial satisfies all constraints, so there is no front.", "warn"))
    keys = list(dict.fromkeys(key for trial in efficient for key in trial.params))
    rows = []
    for trial in sorted(efficient, key=lambda trial: -trial.values[0]):
        number: object = trial.number
        if trial.number in kept:
            number = Html('<a href="front/{}/report.html">{}</a>').format(trial.number, trial.number)
        mark = " (best)" if trial.number == winner.number else ""
        values = [Cell(_number(name, value), key=value) for name, value in zip(names, trial.values, strict=True)]
        rows.append([Cell(Html("{}{}").format(number, mark), key=trial.number), *values])
        rows[-1] += [trial.params.get(key, "") for key in keys]
    note = "No complete trial is better than one of these in one objective without being worse in another."
    heads = ["trial", *map(display_name, names), *keys]
    return box(table(heads, rows, sortable=True), tag("p", note, "soft note"))
