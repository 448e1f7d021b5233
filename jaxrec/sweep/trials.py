"""Trials of a study: progress counts, leaderboard, and the trials table."""

import json
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
from optuna.study import Study, StudyDirection
from optuna.trial import FrozenTrial, TrialState

from jaxrec.atomic_files import write_atomic
from jaxrec.errors import InputError
from jaxrec.sweep.file_lock import FileLock
from jaxrec.sweep.objectives import front, is_feasible, objectives_of, value_of, violated
from jaxrec.sweep.outcome import FINAL, STOPPED
from jaxrec.sweep.pbt import LINEAGE, params_at
from jaxrec.sweep.space import Values

DONE = (TrialState.COMPLETE, TrialState.PRUNED)  # states of trials that ended with an outcome
FORMAT = 1  # of studies: their attributes, and those of their trials
ROUNDS = ("started_round", "ended_round")  # attributes of a trial, and the last columns of the trials table


def check_format(study: Study) -> None:
    """Raise an InputError for a study of a later version of jaxrec."""
    if (found := study.user_attrs.get("format", FORMAT)) != FORMAT:
        raise InputError(
            f"study {study.study_name} has format {found}, but this version of jaxrec supports {FORMAT}: update jaxrec"
        )


def best(study: Study) -> FrozenTrial:
    """Return the complete trial with the best value of the first objective; ties go to the earliest.

    Trials that violate fewer constraints are better.
    """
    if not (trials := ranked(study)):
        raise InputError(f"study {study.study_name} has no complete trial yet")
    return trials[0]


def ranked(study: Study) -> list[FrozenTrial]:
    """Return the complete trials, best first: fewest violated constraints, best first objective, first number."""
    sign = -1 if study.directions[0] == StudyDirection.MAXIMIZE else 1
    complete = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))

    def order(trial: FrozenTrial) -> tuple[int, float, int, int]:
        # Of equal members of a population the earliest epoch, which no other in its ancestry can equal.
        epoch = trial.user_attrs["best_epoch"] if LINEAGE in trial.user_attrs else 0
        return len(violated(trial)), sign * (value_of(trial) or 0.0), epoch, trial.number

    return sorted(complete, key=order)


def leaderboard(study: Study, n: int = 10) -> pd.DataFrame:
    """Return the `n` best complete trials, best first: number, value, further objectives and parameters."""
    names, efficient = objectives_of(study)[1:], {trial.number for trial in front(study)}
    rows = []
    for trial in ranked(study)[:n]:
        others = further(trial, names)
        marks = {"on front": "yes" if trial.number in efficient else "no"} if names else {}
        marks |= {"feasible": "yes" if is_feasible(trial) else "no"} if trial.constraints else {}
        rows.append({"number": trial.number, "value": value_of(trial), **others, **marks, **best_params(trial)})
    return pd.DataFrame(rows, columns=None if rows else ["number", "value"])


def best_params(trial: FrozenTrial) -> Values:
    """Return the parameters of a trial's best epoch; those of a member of a population change."""
    if not (lineage := trial.user_attrs.get(LINEAGE)) or "best_epoch" not in trial.user_attrs:
        return trial.params
    return params_at(trial.params, lineage, trial.user_attrs["best_epoch"])


def further(trial: FrozenTrial, names: Sequence[str]) -> Values:
    """Return the values of the objectives after the first, by name."""
    values = zip(names, trial.values[1:], strict=True)
    return {name: int(value) if name == "n_parameters" else value for name, value in values}


def n_leading(study: Study) -> int:
    """Return the number of columns of `leaderboard` before the parameters."""
    names = objectives_of(study)
    return 2 + len(names) + any(trial.constraints for trial in study.get_trials(deepcopy=False))


def in_short(board: pd.DataFrame, n_first: int = 2) -> pd.DataFrame:
    """Return a table of trials for a narrow terminal: all columns after the first in one that may wrap."""
    first = list(board.columns[:n_first])
    others = board.columns[n_first:]
    params = [dict(zip(others, row, strict=True)) for row in board[others].to_numpy(object)]
    return board[first].assign(parameters=[shown_params(row) for row in params])


def shown_params(params: Mapping[Any, Any]) -> str:
    """Format the parameters of a trial for display, with four significant digits."""
    return " ".join(
        f"{key}={value:.4g}" if isinstance(value, float) else f"{key}={value}" for key, value in params.items()
    )


def trials_table(study: Study) -> pd.DataFrame:
    """Return number, state, value, parameters, attributes and rounds of every trial, in order."""
    efficient = {trial.number for trial in front(study)}
    rows = [
        _row(trial, study, efficient)
        for trial in sorted(study.get_trials(deepcopy=False), key=lambda trial: trial.number)
    ]
    names = list(dict.fromkeys(["number", "state", "value", *(name for row in rows for name in row)]))
    last = [name for name in ROUNDS if name in names]
    return pd.DataFrame(rows, columns=[name for name in names if name not in last] + last)


def write_trials(study: Study, directory: Path) -> None:
    """Write `trials.csv`: number, state, value, parameters and attributes of every trial."""
    # Under the lock, so that the process that read last also writes last.
    with FileLock(directory / "ask.lock"):
        write_atomic(directory / "trials.csv", partial(trials_table(study).to_csv, index=False))


def progress(trials: Sequence[FrozenTrial], combinations: Collection[str] | None) -> tuple[int, int]:
    """Return how many of the target trials are finished, and how many are running."""
    finished = [key_of(params_of(t)) for t in trials if t.state in DONE]
    running = [key_of(params_of(t)) for t in trials if t.state == TrialState.RUNNING]
    failed = failures_by_key(trials)
    if combinations is None:
        return len(finished) + sum(n // 2 for n in failed.values()), len(running)
    done = {*finished, *(key for key, n in failed.items() if n >= 2)}.intersection(combinations)
    return len(done), len(set(running).intersection(combinations) - done)


def failures_by_key(trials: Sequence[FrozenTrial]) -> Counter[str]:
    """Count failures per parameter set; orphaned trials do not count, final failures count twice."""
    counts: Counter[str] = Counter()
    for trial in trials:
        if trial.state == TrialState.FAIL and "orphan" not in trial.user_attrs:
            counts[key_of(params_of(trial))] += 2 if FINAL in trial.user_attrs else 1
    return counts


def epochs_to_repeat(trial: FrozenTrial, validate_every: int) -> int | None:
    """Return after how many epochs a trial ended; one that was stopped, after its last validation. None: no epochs."""
    epochs = trial.user_attrs.get("epochs")
    return epochs - epochs % validate_every if epochs and STOPPED in trial.user_attrs else epochs


def state_of(trial: FrozenTrial) -> str:
    """Return the name of the state: complete, pruned, running, waiting or failed."""
    return "failed" if trial.state == TrialState.FAIL else trial.state.name.lower()


def params_of(trial: FrozenTrial) -> Values:
    """Return the parameters of a trial, including one still in the queue."""
    return trial.params or dict(trial.system_attrs.get("fixed_params", {}))


def key_of(params: Mapping[str, object]) -> str:
    """Return a canonical string key of the parameters."""
    return json.dumps(params, sort_keys=True)


def _row(trial: FrozenTrial, study: Study, efficient: Collection[int]) -> Values:
    row = {"number": trial.number, "state": state_of(trial), "value": value_of(trial), **params_of(trial)}
    if trial.state == TrialState.COMPLETE and (names := objectives_of(study)):
        row |= further(trial, names[1:]) | {"is_on_front": trial.number in efficient}
    if trial.constraints:
        row["is_feasible"] = is_feasible(trial)
    # The worker is an id without meaning outside of the search.
    attributes = {name: value for name, value in trial.user_attrs.items() if name not in row and name != "worker"}
    return row | {name: json.dumps(v) if isinstance(v, dict | list) else v for name, v in attributes.items()}
