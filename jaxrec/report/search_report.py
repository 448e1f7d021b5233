"""Page of a search: the best trial and its test metrics, all trials, and what made them better or worse."""

import math
from collections.abc import Collection, Sequence

import optuna
import pandas as pd
from optuna.trial import FrozenTrial, TrialState

from jaxrec.bootstrap import Corrected
from jaxrec.experiment import Result
from jaxrec.page.html import Cell, Html, box, cards, decimals, frame, grid, interval, page, section, table, tag
from jaxrec.page.metric_labels import label
from jaxrec.report import charts
from jaxrec.report.lineage import lineage
from jaxrec.report.occupancy import occupancy
from jaxrec.report.pareto import display_name, pareto_section
from jaxrec.report.result_metrics import interrupted, metric_table, test_cards
from jaxrec.report.trial_curves import learning_curves
from jaxrec.report.trial_sample import sample, sample_note
from jaxrec.sweep.finalists import Finalists
from jaxrec.sweep.objectives import COSTS, objectives_of, value_of
from jaxrec.sweep.outcome import STOPPED
from jaxrec.sweep.pbt import LINEAGE
from jaxrec.sweep.study import command, importance_note, importances
from jaxrec.sweep.trials import best, best_params, further, leaderboard, params_of, state_of


def sweep_report(
    name: str,
    study: optuna.Study,
    result: Result,
    notes: Sequence[str] = (),
    winner: FrozenTrial | None = None,
    finalists: Finalists | None = None,
    kept: Collection[int] = (),
    corrected: Corrected | None = None,
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
        corrected: the winner's value, corrected for having been chosen among the trials.
    """
    trials = study.get_trials(deepcopy=False)
    complete = [trial for trial in trials if trial.state == TrialState.COMPLETE]
    pruned = [trial for trial in trials if trial.state == TrialState.PRUNED and value_of(trial) is not None]
    ended = [*complete, *pruned]
    key = str(study.user_attrs.get("metric", "value"))
    winner, metric, others = winner or best(study), label(key), objectives_of(study)[1:]
    minimize = study.directions[0] == optuna.study.StudyDirection.MINIMIZE
    tested = "the best trial and the runs in front/ were" if kept else "the best trial was"
    aim = f"Search on {result.known.name} for the {'lowest' if minimize else 'highest'} {metric}."
    aim += f" Further objectives: {'; '.join(map(display_name, others))}." if others else ""
    ranked = leaderboard(study).rename(columns={"number": "trial", "value": metric, **_names(others)})
    body = [
        tag("h1", name),
        tag(
            "p",
            f"{aim} Only {tested} evaluated on the test set.",
            "soft",
        ),
        interrupted(result),
        *(tag("p", (note[:1].upper() + note[1:] + ".").replace(key, metric), "warn") for note in notes),
        cards(
            (f"best {metric}", decimals(value_of(winner)), f"trial {winner.number}"),
            *test_cards(result),
            _counted(trials),
        ),
        section("Best trial", *_chance(winner, metric, corrected), grid(_best(study, winner))),
        pareto_section(study, winner, kept),
        section("Test metrics of the best trial", metric_table(result)),
        *(
            _population(trials, ended, winner, metric, minimize=minimize)
            if LINEAGE in winner.user_attrs
            else _searched(study, complete, pruned, winner, metric, minimize=minimize)
        ),
        *([_finalists(finalists, metric)] if finalists is not None else []),
        section("Leaderboard", box(frame(_rounded(ranked, metric, others)))),
        section("All trials", _trial_table(trials, metric, others, minimize=minimize)),
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
            Cell(decimals(row["value"]), note=interval(row["low"], row["high"])),
            Cell(decimals(row["sd"])),
            Cell(
                decimals(row["difference"]) if place else "reference",
                note=interval(row["difference_low"], row["difference_high"]),
            ),
            Cell(f"{row['p']:.2g}" if math.isfinite(row["p"]) else ""),
        ]
        for place, row in enumerate(finalists.table.to_dict("records"))
    ]
    text = (
        f"The best trials, each trained with {finalists.table['seeds'].iloc[0]} new seeds. sd: standard deviation over "
        "seeds. In small type: 95% intervals over users and seeds. p: of the difference from the first trial, with "
        "Holm's correction."
    )
    failed = [tag("p", f"Trial {number} is left out: {why}.", "warn") for number, why in finalists.failed.items()]
    heads = ["trial", metric, "sd", "difference", "p"]
    return section("Finalists", box(table(heads, rows), tag("p", text, "soft note")), *failed)


def _best(study: optuna.Study, winner: FrozenTrial) -> list[Html]:
    link = Html('<p>Full report of this trial: <a href="best/report.html">best/report.html</a></p>')
    schedule = "best/schedule.yaml" if LINEAGE in winner.user_attrs else None
    again = box(tag("h3", "Train this trial again"), tag("pre", command(study, winner.number, schedule)), link)
    title = f"Trial {winner.number}" + (f", at epoch {winner.user_attrs['best_epoch']}" if schedule else "")
    return [box(tag("h3", title), table([], best_params(winner).items())), again]


def _chance(winner: FrozenTrial, metric: str, corrected: Corrected | None) -> list[Html]:
    """Return how much of the best of several values is chance."""
    if corrected is None or corrected.n == 1:
        return []
    return [tag("p", f"Trial {winner.number}: {metric} {corrected}.", "soft")]


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
    attributes = {"epochs": "epochs", "best_epoch": "best epoch", STOPPED: "stopped by", "seconds": "seconds"}
    attributes["error"] = "error"
    note = f"{sample_note(len(trials))} All of them are in trials.csv." if sample_note(len(trials)) else ""
    rows = [
        {
            "trial": trial.number,
            "state": state_of(trial),
            metric: value_of(trial),
            **({display_name(name): value for name, value in further(trial, others).items()} if trial.values else {}),
            **(best_params(trial) or params_of(trial)),
            **{
                title: _attribute(trial.user_attrs[key]) for key, title in attributes.items() if key in trial.user_attrs
            },
        }
        for trial in sample(trials, minimize=minimize)
    ]
    hint = tag("p", f"{note} Click a column header to sort.".strip(), "soft")
    return hint + box(frame(_rounded(pd.DataFrame(rows, dtype=object), metric, others), sortable=True))


def _attribute(value: object) -> object:
    """Return a value for the table of trials, seconds with one decimal."""
    return Cell(f"{value:,.1f}", key=value) if isinstance(value, float) else value


def _names(objectives: Sequence[str]) -> dict[str, str]:
    """Return the display name of each objective."""
    return {name: display_name(name) for name in objectives}


def _rounded(trials: pd.DataFrame, metric: str, others: Sequence[str]) -> pd.DataFrame:
    """Return a table of trials whose metrics have as many decimals as in all other tables."""
    columns = [metric, *(display_name(name) for name in others if name not in COSTS)]
    table = trials.copy()
    for column in table.columns.intersection(columns):
        table[column] = trials[column].map(lambda v: Cell(decimals(v), key=v) if isinstance(v, float) else v)
    return table
