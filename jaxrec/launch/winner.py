"""The best trial of a search: tested, written and shown."""

import hashlib
import json
import shutil
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path

import pandas as pd
import yaml
from optuna.study import Study

from jaxrec import experiment, rundir, settings
from jaxrec.atomic_files import read_json, write_json, write_text
from jaxrec.bootstrap import Corrected
from jaxrec.command_line import command, override
from jaxrec.console import EpochProgress, say, say_results, table
from jaxrec.data.splits.split import Split
from jaxrec.errors import InputError
from jaxrec.launch.terminal_tables import test_table
from jaxrec.report.search_report import sweep_report
from jaxrec.settings import SCHEDULE
from jaxrec.sweep.finalists import Finalists
from jaxrec.sweep.front import front_runs
from jaxrec.sweep.objectives import front, value_of
from jaxrec.sweep.pbt import is_number
from jaxrec.sweep.runner import SlotRunner
from jaxrec.sweep.search_task import SearchTask
from jaxrec.sweep.servers import without_password
from jaxrec.sweep.storage import SWEEPS
from jaxrec.sweep.study import command as study_command
from jaxrec.sweep.study import numbers_of
from jaxrec.sweep.trials import in_short, leaderboard, n_leading
from jaxrec.sweep.winner import Tuned, finish

WINNER_FILE = "winner.json"  # which trial `best/` is of, and the state of the search that chose it; written last
FINALISTS_FILE = "finalists.csv"
FRONT = "front"  # folder of the runs of a Pareto front


def conclude(task: SearchTask, study: Study, runner: SlotRunner, split: Split, load_s: float, directory: Path) -> Tuned:
    """Test the best trial, write the results of a search, and print them.

    If an earlier process has concluded the same trials in this directory, its results are printed.
    """
    name, chosen = task.name, task.chosen
    state = _state_of(task, study, split)
    tuned = _concluded_before(task, study, split, directory, state)
    if tuned is None:
        (directory / WINNER_FILE).unlink(missing_ok=True)
        progress = EpochProgress(task.tuning.tree) if chosen.finalists > 1 else nullcontext(experiment.no_progress)
        with progress as on_epoch:
            tuned = finish(task, runner, study, split, load_s, on_epoch)
        kept = _write_front(directory, task, tuned, split, load_s) if chosen.keep == "front" else []
        choices = [text for text in task.overrides if text.split("=", 1)[0] in chosen.tunes]
        write(directory, name, tuned, choices, kept)
        found = {"state": state, "trial": tuned.winner.number, "notes": tuned.notes}
        if tuned.corrected is not None:
            found["corrected"] = tuned.corrected._asdict()
        write_json(directory / WINNER_FILE, found)
    elif runner.saved is not None and task.plan.counts(study)[0] >= task.plan.total:
        runner.saved.remove()
    if chosen.keep == "front":
        runs = directory / FRONT
        say(f"Pareto front: {numbers_of(front(study))}; runs of {len([*runs.iterdir()])} in {runs}")
    _show(tuned, task.tuning.monitor, directory)
    if without_password(chosen.storage or "") == (chosen.storage or ""):
        say(f"details: {_look_closer(name, directory, chosen.storage)}")
    return tuned


def _state_of(task: SearchTask, study: Study, split: Split) -> str:
    """Return a hash of all that the winner depends on: settings, space, trials, data and versions."""
    trials = [(t.number, t.state.name, t.values, t.params) for t in study.get_trials(deepcopy=False)]
    parts = [
        task.name,
        task.tuning.tree,
        task.tuning.space,
        trials,
        experiment.facts(split),
        experiment.environment(""),
    ]
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()


def _concluded_before(task: SearchTask, study: Study, split: Split, directory: Path, state: str) -> Tuned | None:
    """Return the winner that an earlier process has tested and written; None if there is none of this state."""
    if not (directory / WINNER_FILE).exists():
        return None
    try:
        found = read_json(directory / WINNER_FILE)
        if found.get("state") != state:
            return None
        result = rundir.load_result(directory / "best", split.test.known)
        finalists = None
        if task.chosen.finalists > 1 and (file := directory / FINALISTS_FILE).exists():
            finalists = Finalists(task.tuning.monitor, pd.read_csv(file), {})
    except (InputError, OSError, ValueError):  # a file was removed or damaged: the best trial is tested again
        return None
    (winner,) = (trial for trial in study.get_trials(deepcopy=False) if trial.number == found["trial"])
    tree = task.tuning.winner_tree(study, winner, task.chosen.refit)
    corrected = Corrected(**found["corrected"]) if "corrected" in found else None
    return Tuned(study, winner, tree, result, found["notes"], finalists, corrected)


def write(directory: Path, name: str, tuned: Tuned, choices: Sequence[str], kept: Sequence[int] = ()) -> None:
    """Write `best/`, `best.yaml` and `report.html` of a finished search.

    Args:
        directory: the sweep directory.
        name: name of the study.
        tuned: the finished search.
        choices: overrides implied by the search space, e.g. `model=ease`.
        kept: numbers of trials with a run in `front`.
    """
    winner = tuned.winner
    rundir.write(directory / "best", tuned.tree, tuned.result)
    params = winner.params
    if settings.get(tuned.tree, SCHEDULE):
        file = _write_schedule(directory / "best" / "schedule.yaml", tuned)
        params = {key: value for key, value in params.items() if not is_number(key)} | {SCHEDULE: str(file)}
    text = yaml.safe_dump([*choices, *(override(key, value) for key, value in params.items())], allow_unicode=True)
    head = f"# overrides of trial {winner.number}, validation {value_of(winner):.4g}"
    write_text(directory / "best.yaml", f"{head}\n{text}")
    if tuned.finalists is not None:
        write_text(directory / FINALISTS_FILE, tuned.finalists.table.to_csv(index=False))
    page = sweep_report(
        name, tuned.study, tuned.result, tuned.notes, tuned.winner, tuned.finalists, kept, tuned.corrected
    )
    write_text(directory / "report.html", page)


def _write_schedule(file: Path, tuned: Tuned) -> Path:
    """Write the schedule of the best member of a population; return the absolute path."""
    file, winner = file.resolve(), tuned.winner
    head = f"# Trial {winner.number}, validation {value_of(winner):.4g}. To train it again from scratch:"
    again = study_command(tuned.study, winner.number, str(file))
    plain = json.loads(json.dumps(settings.get(tuned.tree, SCHEDULE)))
    content = yaml.safe_dump(plain, sort_keys=False, allow_unicode=True)
    write_text(file, f"{head}\n#   {again}\n{content}")
    return file


def _write_front(directory: Path, task: SearchTask, tuned: Tuned, split: Split, load_s: float) -> list[int]:
    """Write a run directory for each trial of the Pareto front; return their numbers."""
    folder = directory / FRONT
    shutil.rmtree(folder, ignore_errors=True)  # of an earlier, shorter search
    kept = []
    for number, tree, result in front_runs(task, tuned, split, load_s):
        rundir.write(folder / str(number), tree, result)
        kept.append(number)
    return kept


def _show(tuned: Tuned, monitor: str, directory: Path) -> None:
    """Print the leaderboard, the test metrics of the winner, and notes."""
    board = leaderboard(tuned.study)
    short = in_short(board, n_leading(tuned.study))
    table(f"leaderboard, by validation {monitor}", board, short, str(directory / "trials.csv"))
    if tuned.corrected is not None and tuned.corrected.n > 1:
        say(f"trial {tuned.winner.number}: validation {monitor} {tuned.corrected}")
    if tuned.finalists is not None:
        shown = tuned.finalists.table[["trial", "value", "sd", "low", "high", "difference", "p"]]
        table(f"finalists, validation {monitor} over new seeds", shown, rest=str(directory / FINALISTS_FILE))
    title = f"trial {tuned.winner.number}"
    parts = "train + validation" if tuned.tree["refit"] else "train"
    test_table(f"test, {title} trained on {parts}", title, tuned.result)
    for note in tuned.notes:
        say(f"note: {note}")
    say_results(directory)


def _look_closer(name: str, directory: Path, storage: str | None) -> str:
    """Return the command that shows this study, including its storage."""
    location = []
    if storage is not None:
        location = [override("storage", str(Path(storage).absolute()) if storage.endswith(".log") else storage)]
    elif directory != SWEEPS / name:
        location = [override("root", str(directory.absolute()))]
    return command("study", override("study", name), *location)
