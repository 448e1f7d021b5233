"""Hyperparameter search in Python: `search` returns a `SearchResult` with the best model and all trials."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from optuna.storages import BaseStorage, InMemoryStorage

from jaxrec import rundir, settings
from jaxrec.api.recipe import Metrics, Recipe
from jaxrec.api.trained_model import TrainedModel
from jaxrec.config import compose
from jaxrec.console import say, silent
from jaxrec.data.data_warnings import data_warnings
from jaxrec.data.splits.split import Split
from jaxrec.errors import InputError
from jaxrec.launch import winner
from jaxrec.launch.many_workers import run_workers
from jaxrec.launch.python_workers import python_launcher
from jaxrec.launch.searches import runner_of, train_trials
from jaxrec.machine import use_all_cores
from jaxrec.models.model import Model
from jaxrec.settings import CONF, Tree
from jaxrec.sweep.objectives import value_of
from jaxrec.sweep.scratch import scratch_folder
from jaxrec.sweep.search_settings import Search
from jaxrec.sweep.search_task import SearchTask, plan_of
from jaxrec.sweep.space import Values, space_from_yaml
from jaxrec.sweep.storage import open_storage
from jaxrec.sweep.trials import leaderboard, trials_table
from jaxrec.sweep.tuning import Tuning
from jaxrec.sweep.winner import Tuned, finish
from jaxrec.user_paths import expanded


class SearchResult:
    """Result of a finished search.

    Attributes:
        best: the best trial by validation, tested: a `TrainedModel`.
        best_params: its values of the searched settings.
        trials: one row per trial: number, state, value, parameters, validation metrics, best epoch, seconds.
        notes: reasons to doubt the winner, e.g. a value at the edge of the space.
        corrected: the best value, corrected for having been chosen among the trials: `value`, `corrected`, `low`,
            `high`, `n` and `optimism`; None where the metric has no values of users, or with finalists.
        study: the Optuna study.
    """

    def __init__(self, tuned: Tuned) -> None:
        self.best = TrainedModel.from_result(tuned.tree, tuned.result)
        self.best_params: Values = tuned.winner.params
        self.trials: pd.DataFrame = trials_table(tuned.study)
        self.notes, self.study = list(tuned.notes), tuned.study
        self.corrected = tuned.corrected
        self._value = value_of(tuned.winner)

    def leaderboard(self, n: int = 10) -> pd.DataFrame:
        """Return the best n trials."""
        return leaderboard(self.study, n)

    def __repr__(self) -> str:
        params = ", ".join(
            f"{key}={value:.4g}" if isinstance(value, float) else f"{key}={value}"
            for key, value in self.best_params.items()
        )
        return f"SearchResult({len(self.trials)} trials; best {self._value:.4f} with {params})"


def search(
    split: Split,
    model: str | type[Model] | Model = "mf",
    *,
    space: str | Mapping[str, Any] | None = None,
    n_trials: int | None = None,
    population: int | None = None,
    sampler: str | None = None,
    pruner: str | None = None,
    strategy: str | None = None,
    interval: int | None = None,
    timeout: float | None = None,
    objectives: Sequence[str] = (),
    constraints: Sequence[str] = (),
    finalists: int | None = None,
    warm_start: "str | Path | SearchResult | None" = None,
    seed: int = 0,
    loss: str | Callable[..., object] | None = None,
    negatives: str | None = None,
    optimizer: str | None = None,
    metrics: Metrics | None = None,
    overrides: Mapping[str, object] | None = None,
    refit: bool = False,
    directory: str | Path | None = None,
    workers: int = 1,
    verbose: bool = True,
) -> SearchResult:
    """Search for the settings with the best validation metric; only the winner is tested.

    Args:
        split: a split of `jaxrec.split` with a validation part.
        model: as for `fit`; all trials share it, and also loss, negatives, optimizer, metrics and
            overrides.
        space: values by setting: a list of choices, or `{"low": 1e-4, "high": 1e-1, "log": True}` (`integer`, `step`
            as in conf/sweep); or a name of conf/sweep; None: the space of `conf/sweep/MODEL.yaml`.
        n_trials: number of trials; None: as in that file, or 32.
        population: number of trials trained at once, as one program.
        sampler: auto, tpe, random, cmaes, qmc, nsga2, gp or grid, as in conf/sweep/none.yaml.
        pruner: none, median, percentile, halving, hyperband or wilcoxon; None: halving.
        strategy: search, or pbt for population-based training of `population` members, whose settings change in
            training; None: search.
        interval: epochs between copies of strategy pbt; None: a tenth of all epochs.
        timeout: minutes after which no more trials start, and those in training are stopped, with their best validation
            so far; column `stopped` of `trials` marks them.
        objectives: the monitored metric, then others to trade off: validation metrics such as `novelty@10`,
            `train_seconds`, `n_parameters`, `latency_ms`. Column `is_on_front` of `trials` marks the Pareto front.
        constraints: bounds for the best trial, e.g. `["coverage@10 >= 0.2", "train_seconds <= 60"]`.
        finalists: number of best trials that are trained again with `sweep.finalist_seeds` (3) new seeds; the best
            mean wins. None: 1, the best value wins.
        warm_start: an earlier search for the same metric, from which the sampler learns first: its result or
            directory, or the name of a study under outputs/sweeps. Its complete trials that lie in the space are
            added, and do not count toward `n_trials`.
        seed: seed of the sampler.
        refit: retrain the best trial on train and validation before the test.
        directory: stores the study, the tables and the best run, and resumes an existing study; None: nothing is
            written to disk.
        workers: number of processes that train trials, e.g. one for each GPU. Own models, losses and metrics must be
            imported from a module, and a process that uses a GPU before must leave memory to them
            (`XLA_PYTHON_CLIENT_PREALLOCATE=false`).
        verbose: print what was left out of the data, and trials as they finish.

    Returns:
        The best model and all trials.

    Raises:
        InputError: as for `fit`; no search space; no validation data; all trials failed.

    Example:
        >>> result = jaxrec.search(split, "mf", n_trials=32)
        >>> result.best.recommend([196]), result.trials
        >>> jaxrec.search(split, "ease", space={"model.regularization": {"low": 10, "high": 2000, "log": True}})
    """
    use_all_cores()
    options = {
        "n_trials": n_trials,
        "population": population,
        "sampler": sampler,
        "pruner": pruner,
        "timeout": timeout,
        "strategy": strategy,
        "interval": interval,
        "finalists": finalists,
        "seed": seed,
        "workers": workers,
        "refit": refit,
        "objectives": tuple(objectives),
        "constraints": tuple(constraints),
    }
    chosen = _settings(model, space, options)
    tree = chosen.measuring(Recipe(split, model, loss, negatives, optimizer, metrics).tree(overrides or {}))
    tuning = Tuning(tree, space_from_yaml(chosen.space), _compose_trial, chosen.goals(tree))
    source = warm_start.study if isinstance(warm_start, SearchResult) else warm_start
    plan = plan_of(chosen, tuning, overrides or {}, "omit it from overrides, or put it into space", source=source)
    folder = None if directory is None else expanded(directory)
    name = "search" if folder is None else folder.resolve().name
    task = SearchTask(name, chosen, tuning, plan, []).on(split)
    if folder is not None:
        rundir.check_empty(folder, False, "search")
        rundir.claim(rundir.make(folder), name, overwrite=False)
    with silent(not verbose), scratch_folder() if folder is None else nullcontext(folder) as place:
        if workers > 1:
            return SearchResult(run_workers(task, split, 0.0, place, False, python_launcher(task, split, place), {}))
        for remark in (*data_warnings(split), *plan.remarks):
            say(remark)
        storage: BaseStorage = InMemoryStorage() if folder is None else open_storage(None, folder)
        runner = runner_of(task, split.selection, storage, folder)
        study = train_trials(task, runner, storage, place)
        tuned = finish(task, runner, study, split)
        if folder is not None:
            winner.write(folder, name, tuned, [])
    return SearchResult(tuned)


def _compose_trial(texts: Sequence[str]) -> Tree:
    raise InputError(f"{texts[0].partition('=')[0]} is not a setting of this model; search over one model at a time")


def _dimension(key: str, value: object) -> Tree:
    """Return a dimension of a space as in conf/sweep."""
    if isinstance(value, np.ndarray):
        value = value.tolist()
    if isinstance(value, list | tuple | range):
        return {"choices": list(value)}
    if isinstance(value, Mapping):
        return dict(value)
    raise InputError(f"space: {key}={value!r}: write a list of choices, or {{'low': ..., 'high': ...}}")


def _settings(model: object, space: str | Mapping[str, Any] | None, options: Mapping[str, object]) -> Search:
    """Return the settings of the group `sweep`: options, and a given space or that of a file in conf/sweep."""
    if isinstance(space, Mapping):
        dimensions = {key: _dimension(key, value) for key, value in space.items()}
        config = compose(["sweep=none"])["sweep"] | {"space": dimensions}
    else:
        known = sorted(path.stem for path in CONF.glob("sweep/*.yaml") if path.stem not in ("none", "compare"))
        name = space or model
        if name not in known:
            raise InputError(f"there is no search space {name}: set space={{...}} or one of {', '.join(known)}")
        config = compose([f"sweep={name}"])["sweep"]
    given = {key: value for key, value in options.items() if value is not None}
    config |= {key: value.item() if isinstance(value, np.generic) else value for key, value in given.items()}
    settings.check({"sweep": config})
    chosen: Search = settings.build(config)
    return chosen
