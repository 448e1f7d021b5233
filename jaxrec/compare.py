"""Comparison of finished runs on the users of one test split, over users and seeds."""

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa

from jaxrec.atomic_files import read_json
from jaxrec.errors import InputError, first_line
from jaxrec.finished import finished_runs
from jaxrec.metric_names import larger_is_better
from jaxrec.page.html import Html
from jaxrec.page.metric_labels import label
from jaxrec.report.comparison import comparison_report
from jaxrec.report.protocol import protocol
from jaxrec.rundir import read_config
from jaxrec.settings import Tree, by_fold, differing, flat, fold_of, get, is_random, seeds_differ, without_replica
from jaxrec.statistics import LEVEL, compared

# What identifies the data, in metrics.json; runs of earlier versions have no fingerprint.
OF_DATA = ("users", "items", "train", "validation", "test", "fingerprint")
NOT_METRICS = ("user_id", "item_id", "known")  # columns of per_user.parquet that are not metrics


@dataclass(frozen=True, eq=False)
class Run:
    """One finished run."""

    directory: Path
    config: Tree
    metrics: Tree
    per_user: pd.DataFrame

    @property
    def fold(self) -> int | None:
        """Test period, of a split that has several."""
        return fold_of(self.config)

    @property
    def replica(self) -> tuple[int | None, int]:
        """Fold and seed."""
        return self.fold, self.config.get("seed", 0)

    @property
    def name(self) -> str:
        """Seed and fold as words."""
        fold, seed = self.replica
        return f"seed {seed}" if fold is None else f"fold {fold}, seed {seed}"


@dataclass(frozen=True, eq=False)
class Setting:
    """Runs that differ only in their seed and fold."""

    name: str
    runs: list[Run] = field(default_factory=list)

    def matches(self, run: Run) -> bool:
        """Return whether a run is another seed or fold of this setting."""
        return run.replica not in {each.replica for each in self.runs} and _shared(run) == _shared(self.runs[0])

    @property
    def folds(self) -> dict[int | None, list[Run]]:
        """The runs of each fold, in order of their seeds."""
        return by_fold(self.runs, lambda run: run.config)

    def values(self, metric: str) -> np.ndarray:
        """Return a test metric of each row of every fold by seed, [S, R]."""
        by_fold = [[run.per_user[metric].to_numpy(np.float64) for run in runs] for runs in self.folds.values()]
        return np.concatenate([np.stack(values) for values in by_fold], axis=1)


@dataclass(frozen=True, eq=False)
class Comparison:
    """Settings compared by one test metric; the first is the reference.

    Attributes:
        metric: the metric.
        settings: the settings, by name.
        table: see `jaxrec.statistics.compared`.
    """

    metric: str
    settings: dict[str, Setting]
    table: pd.DataFrame

    def page(self, lead: Sequence[Html] = ()) -> str:
        """Return the HTML report; the parts in `lead` come first."""
        first, *_ = self.settings.values()
        head = dict(protocol(without_replica(first.runs[0].config), first.runs[0].metrics))
        users = pd.concat([runs[0].per_user["user_id"] for runs in first.folds.values()])
        leaves = [_leaves(setting.runs[0].config) for setting in self.settings.values()]
        return comparison_report(
            self.metric,
            self.table,
            verdicts(self.metric, self.table),
            head={"Users": f"{users.nunique():,}"}
            | {key: head[key] for key in ("Split", "Ranking", "Leakage") if key in head},
            by_run={
                name: [(run.name, _mean(run, self.metric)) for run in setting.runs]
                for name, setting in self.settings.items()
            },
            means=pd.DataFrame({name: _means(setting) for name, setting in self.settings.items()}),
            settings=[[key, *(own.get(key, "") for own in leaves)] for key in differing(*leaves)],
            directories={name: [str(run.directory) for run in setting.runs] for name, setting in self.settings.items()},
            lead=lead,
            n_folds=len(first.folds),
        )


def compare(runs: Sequence[str], metric: str | None = None, min_settings: int = 2) -> Comparison:
    """Compare runs on the users of one test split; the settings of the first run are the reference.

    Args:
        runs: directories of runs, of runs with several seeds, of grids (all complete runs), or of searches (the best
            trial). Runs that differ only in their seed or in the fold of their split count as one setting.
        metric: a test metric; None: the `eval.monitor` of the first run.
        min_settings: least number of settings.

    Returns:
        The comparison.

    Raises:
        InputError: fewer than `min_settings` settings; different data, splits or evaluations; an unknown metric.
    """
    settings: list[Setting] = []
    for argument in runs:
        for name, directory in finished_runs(Path(argument)):
            run = _load(directory)
            same = next((setting for setting in settings if setting.matches(run)), None)
            if same is None:
                settings.append(same := Setting(name))
            same.runs.append(run)
    if len(settings) < min_settings:
        n = sum(len(setting.runs) for setting in settings)
        raise InputError(
            "compare needs runs of two or more settings: jaxrec compare RUN_DIR RUN_DIR"
            + (f"; the {n} runs here differ only in their seed or fold" if n > 1 else "")
        )
    first = settings[0].runs[0]
    metric = metric or str(get(first.config, "eval.monitor"))
    if metric not in first.per_user:
        names = ", ".join(str(column) for column in first.per_user if column not in NOT_METRICS)
        raise InputError(f"metric={metric} is not in {first.directory}/per_user.parquet; choose one of {names}")
    folds = settings[0].folds
    for setting in settings:
        _check_replicas(settings[0], setting)
        for run in setting.runs:
            _check_same(folds[run.fold][0], run, metric)
    rows = pd.concat([runs[0].per_user.assign(fold=fold) for fold, runs in folds.items()])
    named = dict(zip(_short([setting.name for setting in settings]), settings, strict=True))
    table = compared(
        {name: setting.values(metric) for name, setting in named.items()},
        pd.factorize(rows["user_id"])[0],
        [name for name, setting in named.items() if not is_random(setting.runs[0].config)],
        pd.factorize(rows["fold"])[0],
    )
    return Comparison(metric, named, table)


def verdicts(metric: str, table: pd.DataFrame) -> list[str]:
    """Return one sentence for each run but the reference; "beats" needs p < .05 over users and seeds."""
    reference, *others = table.to_dict("records")
    shown, lines = label(metric), []
    for row in others:
        p, names = f"(p = {row['p']:.2g})", [row["run"], reference["run"]]
        single = [each["run"] for each in (row, reference) if np.isnan(each["sd"])]
        if not row["p"] < LEVEL:
            lines.append(f"no difference between {names[0]} and {names[1]} in {shown} is demonstrated {p}")
            continue
        better, worse = names if (row["difference"] > 0) == larger_is_better(metric) else names[::-1]
        if single:
            why = "one seed each" if len(single) == 2 else f"one seed of {single[0]}"
            lines.append(
                f"{better} is ahead of {worse} in {shown} among users {p}, but with {why}: differences between seeds "
                "are not included"
            )
        else:
            lines.append(f"{better} beats {worse} in {shown} {p}")
    return lines


def _load(directory: Path) -> Run:
    metrics = read_json(directory / "metrics.json")  # written last: without it the run is not finished
    file = directory / "per_user.parquet"
    try:
        per_user = pd.read_parquet(file)
    except (OSError, ValueError, pa.ArrowException) as error:
        raise InputError(f"{file} cannot be read ({first_line(error)}): train the run again") from error
    if "user_id" not in per_user:
        raise InputError(f"{file} has no column user_id: train the run again")
    order = [name for name in ("user_id", "item_id") if name in per_user]
    return Run(
        directory, read_config(directory), metrics, per_user.sort_values(order, kind="stable", ignore_index=True)
    )


def _check_replicas(first: Setting, setting: Setting) -> None:
    """Raise an InputError for a setting with other folds than the first, or with other seeds in one of its folds."""
    if setting.folds.keys() != first.folds.keys():
        own, others = ("no folds" if None in each.folds else f"folds {[*each.folds]}" for each in (setting, first))
        raise InputError(
            f"{setting.name} has {own}, {first.name} has {others}: train the same folds of both, split=rolling "
            "split.fold=0,1,..."
        )
    if seeds_differ({fold: [run.config for run in runs] for fold, runs in setting.folds.items()}):
        seeds = {fold: [str(run.replica[1]) for run in runs] for fold, runs in setting.folds.items()}
        listed = "; ".join(f"fold {fold}: {', '.join(each)}" for fold, each in seeds.items())
        raise InputError(
            f"{setting.name} has other seeds in some folds than in others ({listed}): train the missing runs"
        )


def _check_same(first: Run, run: Run, metric: str) -> None:
    """Raise an InputError for runs whose test metrics are of other data, users or items."""
    if _fingerprint(first) is None or _fingerprint(first) != _fingerprint(run):
        _check_data(first, run)
    ids = [name for name in ("user_id", "item_id") if name in first.per_user]
    if metric not in run.per_user or not run.per_user[ids].equals(first.per_user[ids]):
        raise InputError(
            f"{run.directory} does not have {metric} of the users of {first.directory}: evaluate both in the same way"
        )


def _check_data(first: Run, run: Run) -> None:
    """Raise an InputError that says in what the data of two runs differs."""
    one, other = ({group: each.config[group] for group in ("data", "split")} for each in (first, run))
    for key in differing(one, other)[:1]:
        raise InputError(
            f"{first.directory} has {key}={flat(one).get(key)}, {run.directory} has {key}={flat(other).get(key)}: runs "
            "can be compared only on the same data and split"
        )
    for key in OF_DATA:
        before, later = (each.metrics.get("data", {}).get(key) for each in (first, run))
        if None not in (before, later) and before != later:
            raise InputError(
                f"{run.directory} had other data than {first.directory} ({key}: {later} and {before}): the files have "
                "changed in between; train both again"
            )


def _fingerprint(run: Run) -> str | None:
    """Return the fingerprint of the run's interactions and split; None for a run of an earlier version."""
    return run.metrics.get("data", {}).get("fingerprint")


def _leaves(config: Tree) -> dict[str, str]:
    """Return settings as text by key; a target is the name of its class, under the key of its group."""
    names = ("seed", "split.fold")  # of a run, not settings of its model; those of a search are not either
    own = {
        key: value
        for key, value in flat(config).items()
        if key not in names and not key.startswith("sweep.") and not key.endswith("._partial_")
    }
    texts = {
        key: json.dumps(value) if value is None or isinstance(value, bool) else str(value) for key, value in own.items()
    }
    return {
        key.removesuffix("._target_"): text.rpartition(".")[2] if key.endswith("._target_") else text
        for key, text in texts.items()
    }


def _shared(run: Run) -> str:
    return json.dumps(without_replica(run.config), sort_keys=True, default=str)


def _short(names: Sequence[str]) -> list[str]:
    """Return directories relative to the folder that all of them share; equal names are numbered."""
    paths = {name: Path(name).absolute() for name in names if Path(name).is_dir()}
    common = os.path.commonpath([path.parent for path in paths.values()]) if paths else ""
    texts = [os.path.relpath(paths[name], common) if name in paths else name for name in names]
    counts = [texts[: place + 1].count(text) for place, text in enumerate(texts)]
    return [text if count == 1 else f"{text} ({count})" for text, count in zip(texts, counts, strict=True)]


def _mean(run: Run, metric: str) -> float:
    return float(run.per_user[metric].mean())


def _means(setting: Setting) -> pd.Series:
    """Return every test metric, the mean over seeds and folds."""
    return pd.DataFrame([run.metrics["test"] for run in setting.runs], dtype=float).mean()
