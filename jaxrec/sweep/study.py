"""Study inspection, also while a search runs: list studies, show progress and importances, repeat a trial."""

import difflib
import os
import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import optuna
import pandas as pd
from optuna.storages import BaseStorage
from optuna.study import Study, StudyDirection
from optuna.trial import FrozenTrial, TrialState
from rich.console import Console

from jaxrec.command_line import command as shell_command
from jaxrec.command_line import override
from jaxrec.console import table
from jaxrec.errors import InputError
from jaxrec.sweep.journal import read_journal
from jaxrec.sweep.objectives import front, objectives_of, value_of, violated
from jaxrec.sweep.outcome import STOPPED
from jaxrec.sweep.pbt import LINEAGE, is_number, schedule_of
from jaxrec.sweep.space import Values
from jaxrec.sweep.storage import read_storage
from jaxrec.sweep.trials import (
    best,
    check_format,
    epochs_to_repeat,
    in_short,
    leaderboard,
    n_leading,
    params_of,
    state_of,
)
from jaxrec.sweep.workers import is_run

STATES = ("complete", "pruned", "running", "interrupted", "waiting", "failed")


def list_studies(root: Path) -> pd.DataFrame:
    """Return the studies in the sweep directories under `root`: trials by state, best value, metric, last change.

    An unreadable journal gets a row with the reason in `note`.
    """
    if root.is_file():
        raise InputError(f"root={root} is a file: name a folder of sweep directories")
    _check_readable(root)
    rows = []
    for journal in sorted(root.rglob("journal.log")):
        changed = datetime.fromtimestamp(journal.stat().st_mtime).replace(microsecond=0)
        try:
            studies = _studies(read_journal(journal))
        except InputError as error:
            name = journal.parent.relative_to(root).as_posix()
            rows.append({"name": name, "last_change": changed, "note": f"broken: {error}"})
            continue
        rows += [{**_summary(study, journal.parent), "last_change": changed, "note": ""} for study in studies]
    return pd.DataFrame(rows, columns=["name", *STATES, "best_value", "metric", "last_change", "note"])


def open_study(name: str, root: Path, storage: str | None = None) -> tuple[Study, Path]:
    """Return the study called `name` and its sweep directory; searched under `root`, or in `storage`."""
    if storage is not None:
        studies = {study.study_name: (study, root / name) for study in _studies(read_storage(storage))}
    else:
        _check_readable(root)
        # The directory of that name first, so that a broken journal elsewhere does not matter.
        studies = {}
        for journal in sorted(root.rglob("journal.log"), key=lambda path: path.parent != root / name):
            if name in studies:
                break
            try:
                studies |= {study.study_name: (study, journal.parent) for study in _studies(read_journal(journal))}
            except InputError:
                if journal.parent in (root / name, root):
                    raise
    if name in studies:
        check_format(studies[name][0])
        return studies[name]
    close = difflib.get_close_matches(name, studies, n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(close)}?" if close else f"available: {', '.join(sorted(studies))}"
    if not studies:
        hint = "there are no studies there"
    raise InputError(f"no study called {name} in {'the storage' if storage else root}; {hint}")


def _check_readable(root: Path) -> None:
    """Raise InputError if the folder may not be listed, which a search for journals would take for an empty one."""
    if root.exists() and not os.access(root, os.R_OK | os.X_OK):
        raise InputError(f"root={root} cannot be read: permission denied")


def importances(study: Study) -> dict[str, float]:
    """Return parameter importances in descending order, summing to 1; empty if undefined, see `importance_note`."""
    if len(set(_complete_values(study))) < 2 or _is_population(study):
        return {}
    # Optuna explains low values of a target, and high values of a single objective that is maximized.
    sign = -1 if study.directions[0] == StudyDirection.MAXIMIZE else 1
    target = (lambda trial: sign * trial.values[0]) if len(study.directions) > 1 else None
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "PedAnovaImportanceEvaluator computes")
        by_name = optuna.importance.get_param_importances(study, target=target)
    return dict(sorted(by_name.items(), key=lambda item: -item[1]))


def importance_note(study: Study) -> str:
    """Return a caveat about the importances, or why there are none; empty if there is none."""
    values = _complete_values(study)
    if _is_population(study):
        return "no importances: the settings of the trials change while they train (sweep.strategy=pbt)"
    if len(values) < 2:
        return f"no importances: at least two complete trials are needed, the study has {len(values)}"
    if len(set(values)) == 1:
        return f"no importances: all {len(values)} complete trials have the same value"
    return f"importances from only {len(values)} complete trials are unreliable" if len(values) < 20 else ""


def command(study: Study, trial_number: int, schedule_file: str | None = None) -> str:
    """Return the shell command that repeats a trial; one that was pruned or stopped is trained for as many epochs.

    Args:
        study: the study.
        trial_number: number of the trial.
        schedule_file: file with the schedule of a member of a population; None: it is part of the command.
    """
    trial = trial_of(study, trial_number)
    params: Values = dict(trial.params)
    key = "trainer.validate_every"
    epochs = epochs_to_repeat(trial, params.get(key, study.user_attrs.get("fixed", {}).get(key, 1)))
    is_early = trial.state == TrialState.PRUNED or STOPPED in trial.user_attrs
    if epochs and is_early and LINEAGE not in trial.user_attrs:  # a schedule has its own number of epochs
        params["trainer.epochs"] = epochs
    typed = fixed_overrides(study, params)
    if LINEAGE in trial.user_attrs:
        params = {key: value for key, value in params.items() if not is_number(key)}
        params["trainer.schedule"] = schedule_file or schedule_of(study, trial)
    varied = [override(key, value) for key, value in params.items()]
    return shell_command("train", *typed, *varied)


def trial_of(study: Study, number: int) -> FrozenTrial:
    """Return the trial of this number; raise an InputError if there is none."""
    trials = {trial.number: trial for trial in study.get_trials(deepcopy=False)}
    if number not in trials:
        raise InputError(f"study {study.study_name} has no trial {number}; it has 0 to {len(trials) - 1}")
    return trials[number]


def fixed_overrides(study: Study, params: Values) -> list[str]:
    """Return the command-line overrides of a search that apply to a trial: those of keys that it does not vary."""
    overrides = study.user_attrs.get("overrides", [])
    return [text for text in overrides if text.lstrip("+").split("=", 1)[0] not in params]


def show_studies(studies: pd.DataFrame, console: Console | None = None) -> None:
    """Print the table returned by `list_studies`."""
    console = console or Console()
    if studies.empty:
        console.print("no studies yet")
        return
    trials = [_counts(row) for row in studies.to_dict("records")]
    columns = studies.drop(columns=list(STATES))
    columns.insert(1, "trials", trials)
    table("", columns, to=console)


def in_training(study: Study, directory: Path) -> pd.DataFrame:
    """Return the running trials: number, last reported epoch, best value so far, and parameters."""
    running = [trial for trial in study.get_trials(deepcopy=False) if _state(study, directory, trial) == "running"]
    rows = [
        {
            "number": trial.number,
            "epoch": trial.last_step,
            "value": trial.intermediate_values.get(-1 if trial.last_step is None else trial.last_step),
            **params_of(trial),
        }
        for trial in running
    ]
    return pd.DataFrame(rows, columns=None if rows else ["number", "epoch", "value"])


def show(study: Study, directory: Path, n: int = 10, console: Console | None = None) -> None:
    """Print a study: trials by state, those running, the best `n`, importances, how to repeat the best trial.

    Args:
        study: the study; nothing is written to it.
        directory: its sweep directory, which tells running trials from interrupted ones.
        n: number of trials on the leaderboard.
        console: the console to print to; None: a new one.
    """
    console = console or Console()
    summary = _summary(study, directory)
    metric = summary["metric"] or "value"
    console.print(f"{study.study_name}: {_counts(summary) or 'no trials yet'}", markup=False, highlight=False)
    if errors := [
        trial.user_attrs["error"] for trial in study.get_trials(deepcopy=False) if "error" in trial.user_attrs
    ]:
        console.print(f"last failure: {errors[-1]}", markup=False, highlight=False)
    if summary["interrupted"]:
        hint = "the process of interrupted trials has ended: the same search command continues them"
        console.print(hint, soft_wrap=True)
    running = in_training(study, directory).rename(columns={"value": f"best {metric}"})
    if len(running):
        table("trials in training", running, in_short(running, 3), to=console)
    if not summary["complete"]:
        return
    ranked = leaderboard(study, n).rename(columns={"value": metric})
    first, names = study.directions[0].name.lower(), objectives_of(study)
    table(f"best trials, to {first} {metric}", ranked, in_short(ranked, n_leading(study)), to=console)
    if names:
        console.print(f"on the Pareto front of {', '.join(names)}: {numbers_of(front(study))}", highlight=False)
    if broken := violated(best(study)):
        console.print(f"no trial satisfies {' and '.join(broken)}", highlight=False)
    if by_name := importances(study):
        table("importances", pd.DataFrame(list(by_name.items()), columns=["parameter", "importance"]), to=console)
    if note := importance_note(study):
        console.print(note, highlight=False)
    # Neither wrapped nor colored, so that it can be copied.
    console.print("to repeat the best trial:")
    console.print(command(study, best(study).number), markup=False, highlight=False, soft_wrap=True)


def numbers_of(trials: Sequence[FrozenTrial]) -> str:
    """Return the numbers of trials as text."""
    return (
        f"trial{'s' * (len(trials) != 1)} {', '.join(str(trial.number) for trial in trials)}" if trials else "no trial"
    )


def _complete_values(study: Study) -> list[float]:
    return [trial.values[0] for trial in study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))]


def _is_population(study: Study) -> bool:
    return any(LINEAGE in trial.user_attrs for trial in study.get_trials(deepcopy=False))


def _counts(summary: Mapping[Any, Any]) -> str:
    return ", ".join(f"{summary[state]:.0f} {state}" for state in STATES if summary[state] > 0)


def _studies(storage: BaseStorage) -> list[Study]:
    names = optuna.get_all_study_names(storage)
    return [optuna.load_study(study_name=name, storage=storage) for name in names]


def _state(study: Study, directory: Path, trial: FrozenTrial) -> str:
    """Return the state of a trial; a running one is interrupted if its process has ended."""
    is_dead = trial.state == TrialState.RUNNING and not is_run(study, directory, trial)
    return "interrupted" if is_dead else state_of(trial)


def _summary(study: Study, directory: Path) -> dict[str, Any]:
    counts = Counter(_state(study, directory, trial) for trial in study.get_trials(deepcopy=False))
    return {
        "name": study.study_name,
        **{state: counts[state] for state in STATES},
        "best_value": value_of(best(study)) if counts["complete"] else None,
        "metric": study.user_attrs.get("metric", ""),
    }
