"""Run with several seeds: one population of replicas, summarized by mean, standard deviation and interval."""

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from jaxrec import experiment, rundir, settings
from jaxrec.atomic_files import write_json, write_text
from jaxrec.console import say, say_results, table
from jaxrec.data.splits.split import Split
from jaxrec.errors import InputError
from jaxrec.experiment import Result
from jaxrec.finished import SEEDS_FILE, in_all_runs
from jaxrec.fitting.saved_slots import STATES
from jaxrec.launch.single import select
from jaxrec.launch.terminal_tables import say_data, say_undefined, shown_keys
from jaxrec.machine import use_all_cores
from jaxrec.metric_names import larger_is_better
from jaxrec.report.grid_report import Row
from jaxrec.report.seeds import seeds_report
from jaxrec.settings import Tree, by_fold, fold_of, get, seeds_differ, without_replica
from jaxrec.statistics import estimate, over_seeds

Summary = dict[str, dict[str, dict[str, float]]]  # part → metric → mean, sd, low, high


def run_seeds(tree: Tree, seeds: int, directory: Path, overwrite: bool = False) -> dict[int, Result]:
    """Train one configuration with the seeds `seed`, `seed` + 1, …; write `seed-N/` of each, a summary and a report.

    If it was killed, the same call continues from the last saved training state.

    Args:
        tree: the configuration.
        seeds: number of seeds.
        directory: output directory.
        overwrite: replace earlier results in `directory`.

    Returns:
        Results by seed, without those that failed.

    Raises:
        InputError: an invalid setting, a model without random numbers, or all seeds failed.
    """
    settings.check(tree)
    model = settings.target_name(tree["model"])
    if not settings.is_random(tree):
        raise InputError(
            f"seeds={seeds}: {model} uses no random numbers, so every seed gives the same model: omit seeds"
        )
    rundir.check_empty(directory, overwrite, "run with several seeds")
    rundir.make(directory)
    use_all_cores()
    split, load_s = experiment.prepare(tree)
    say_data(split)
    if overwrite:
        shutil.rmtree(directory / STATES, ignore_errors=True)
    with rundir.exclusive(directory):
        return train_seeds(tree, seeds, split, load_s, directory)


def train_seeds(tree: Tree, seeds: int, split: Split, load_s: float, directory: Path) -> dict[int, Result]:
    """Train one configuration with several seeds on a split; see `run_seeds`."""
    model = settings.target_name(tree["model"])
    trees = settings.with_seeds(tree, seeds)
    ((_, shared, population),) = settings.populations(trees)
    saved = rundir.saved_slots(rundir.make(directory) / STATES, trees, split.selection, saves_results=True)
    if epoch := saved.epoch:
        say(f"  continuing after epoch {epoch}")
    selected = select(shared, split, population, saved)
    for mark in ("metrics.json", SEEDS_FILE):  # of earlier results, which are now replaced
        (directory / mark).unlink(missing_ok=True)
    results: dict[int, Result] = {}
    failed: dict[int, str] = {}
    for each, outcome in zip(trees, experiment.finish_each(shared, split, selected, load_s), strict=True):
        if isinstance(outcome, str):
            failed[each["seed"]] = outcome
            say(f"failed: seed={each['seed']}: {outcome}")
        else:
            results[each["seed"]] = outcome
            rundir.write(directory / f"seed-{each['seed']}", each, outcome)
    if selected.fit.interrupted:
        say(f"finished runs: {directory}; to continue, run the same command again")
        raise KeyboardInterrupt
    if not results:
        saved.remove()
        raise InputError(next(iter(failed.values())))
    monitor = str(get(tree, "eval.monitor"))
    summary, best = summarize([*results.values()]), _best(results, monitor)
    write_text(directory / "report.html", seeds_report(directory.name, tree, results, summary, best))
    content = {"seeds": [*results], "best": best, "monitor": monitor, "failed": failed, **summary}
    write_json(directory / SEEDS_FILE, content)
    table(f"{model}, {len(results)} seeds", _shown(summary, results[best].metrics["popularity"], monitor))
    say_undefined([*results.values()])
    say_results(directory, f" (best on validation: seed-{best})")
    saved.remove()
    return results


def summarize(results: Sequence[Result], folds: Sequence[int | None] | None = None) -> Summary:
    """Return mean, standard deviation over runs, and 95% interval of each validation and test metric.

    Intervals of test metrics with a value per user cover users, seeds and folds; those of all other metrics cover
    folds, or seeds if there is one fold.

    Args:
        results: runs that differ only in their seed and fold.
        folds: fold of each; None: one for all. All folds must have the same seeds, in the same order.
    """
    by_fold: dict[int | None, list[Result]] = {}
    for fold, result in zip(folds or [None] * len(results), results, strict=True):
        by_fold.setdefault(fold, []).append(result)
    rows = pd.concat([each[0].per_user.assign(fold=place) for place, each in enumerate(by_fold.values())])
    units = pd.factorize(rows["user_id"])[0]
    summary: Summary = {}
    for part in ("validation", "test"):
        summary[part] = {}
        for key in results[0].metrics[part]:
            values = np.array([result.metrics[part][key] for result in results], np.float64)
            means = [np.mean([result.metrics[part][key] for result in each]) for each in by_fold.values()]
            own = over_seeds(values if len(by_fold) == 1 else np.array(means))
            if part == "test" and key in results[0].per_user:
                stacked = [np.stack([r.per_user[key].to_numpy(np.float64) for r in each]) for each in by_fold.values()]
                own = estimate(np.concatenate(stacked, axis=1), units=units, folds=rows["fold"].to_numpy())
            low, high = own.interval()
            sd = float(values.std(ddof=1)) if len(values) > 1 else np.nan
            summary[part][key] = {"mean": float(values.mean()), "sd": sd, "low": low, "high": high}
    return summary


def means_table(rows: Sequence[Row], trees: Sequence[Tree]) -> pd.DataFrame:
    """Return one row per setting of a grid, whose runs differ only in their seed and fold; no rows if all have one run.

    A setting with other seeds in some folds than in others, because runs failed, has no row.

    Columns: overrides without seed and fold, seeds, folds (if there are any), and for each metric PART_METRIC: mean,
    with _sd, _low and _high.
    """
    groups: dict[str, list[tuple[Row, Tree]]] = {}
    for row, tree in zip(rows, trees, strict=True):
        if row.result is not None:
            groups.setdefault(json.dumps(without_replica(tree), default=str), []).append((row, tree))
    if all(len(group) == 1 for group in groups.values()):
        return pd.DataFrame()
    records = []
    for group in groups.values():
        folds = by_fold(group, lambda each: each[1])
        if seeds_differ({fold: [tree for _, tree in runs] for fold, runs in folds.items()}):
            continue
        group = [each for runs in folds.values() for each in runs]
        name = in_all_runs(group[0][0].overrides) or "run"
        record: dict[str, object] = {"overrides": name, "seeds": len(group) // len(folds)}
        record |= {} if None in folds else {"folds": len(folds)}
        results = [row.result for row, _ in group if row.result is not None]
        for part, entries in summarize(results, [fold_of(tree) for _, tree in group]).items():
            for key, entry in entries.items():
                ends = {f"{part}_{key}_{name}": entry[name] for name in ("sd", "low", "high")}
                record |= {f"{part}_{key}": entry["mean"], **ends}
        records.append(record)
    return pd.DataFrame(records)


def shown_means(means: pd.DataFrame, monitor: str | None) -> pd.DataFrame:
    """Return the columns of `means_table` for a terminal: mean ± sd and interval of the monitored metric."""
    shown = means[[name for name in ("overrides", "seeds", "folds") if name in means]].astype(object)
    for key in (f"{part}_{monitor}" for part in ("validation", "test")):
        if key not in means:
            continue
        columns = {"mean": key, **{name: f"{key}_{name}" for name in ("sd", "low", "high")}}
        entries = [{name: row[column] for name, column in columns.items()} for row in means.to_dict("records")]
        shown[f"{key} ± sd"] = [_mean_and_sd(entry) for entry in entries]
        if key.startswith("test"):
            shown["95% interval"] = [_interval(entry) for entry in entries]
    return shown


def _mean_and_sd(entry: Mapping[str, float]) -> str:
    """Format a mean and its standard deviation over runs; the latter is left out if there is one run."""
    return f"{entry['mean']:.4f}" + ("" if np.isnan(entry["sd"]) else f" ± {entry['sd']:.4f}")


def _interval(entry: Mapping[str, float]) -> str:
    """Format the interval; empty if it is unknown."""
    return "" if np.isnan(entry["low"]) else f"{entry['low']:.4f} to {entry['high']:.4f}"


def _best(results: Mapping[int, Result], monitor: str) -> int:
    """Return the seed that is best on validation; the first without validation data."""
    sign = 1 if larger_is_better(monitor) else -1
    return max(results, key=lambda seed: sign * results[seed].metrics["validation"].get(monitor, 0.0))


def _shown(summary: Summary, popularity: Mapping[str, float], monitor: str) -> pd.DataFrame:
    rows = [("validation", monitor)] if monitor in summary["validation"] else []
    rows += [("test", key) for key in shown_keys({key: entry["mean"] for key, entry in summary["test"].items()})]
    return pd.DataFrame(
        [
            {
                "": f"{part} {key}",
                "mean ± sd over seeds": _mean_and_sd(summary[part][key]),
                "95% interval": _interval(summary[part][key]),
                "popularity": f"{popularity[key]:.4f}" if part == "test" and key in popularity else "",
            }
            for part, key in rows
        ],
        dtype=object,
    )
