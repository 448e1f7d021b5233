"""Hyperparameter search in a sweep directory; only the winner is evaluated on the test split."""

import hashlib
import json
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from optuna import load_study
from optuna.trial import TrialState

from jaxrec import experiment, rundir, settings
from jaxrec.checkpoint import write_text
from jaxrec.combinations import check_validated
from jaxrec.command_line import command, override
from jaxrec.console import EpochProgress, say, table
from jaxrec.data.splits.split import Split
from jaxrec.errors import InputError
from jaxrec.experiment import Result
from jaxrec.launch.search_progress import SearchProgress
from jaxrec.launch.shown import say_data, test_table
from jaxrec.machine import use_all_cores
from jaxrec.report.report import sweep_report
from jaxrec.settings import Tree
from jaxrec.sweep.plan import Plan
from jaxrec.sweep.search import search
from jaxrec.sweep.space import space_from_yaml
from jaxrec.sweep.storage import SWEEPS, open_storage, without_password
from jaxrec.sweep.trials import in_short, leaderboard
from jaxrec.sweep.tuning import UNLIMITED, Search, Tuned, Tuning, finish


@dataclass(frozen=True, eq=False)
class SearchTask:
    """A search whose settings are checked.

    Attributes:
        name: name of the study.
        chosen: settings of the search.
        tuning: configuration and search space.
        plan: what to search for.
        overrides: command-line overrides behind the configuration.
    """

    name: str
    chosen: Search
    tuning: Tuning
    plan: Plan
    overrides: Sequence[str]


def sweep(
    tree: Tree,
    space: dict[str, Any],
    compose: Callable[[Sequence[str]], Tree],
    overrides: Sequence[str],
    directory: Path | None,
    overwrite: bool = False,
) -> Result:
    """Run or continue a search, then test the best trial.

    Args:
        tree: the configuration shared by all trials.
        space: the search space as plain dicts, see `space_from_yaml`.
        compose: composes the configuration with additional overrides.
        overrides: command-line overrides behind `tree`.
        directory: the sweep directory; None for one named after the study.
        overwrite: replace an earlier search in `directory`.

    Raises:
        InputError: an invalid setting or space, or all trials failed.
        KeyboardInterrupt: after an interrupt, when the results of the trials that have ended are written.
    """
    task = checked(tree, space, compose, overrides)
    directory = directory or SWEEPS / task.name
    rundir.check_empty(directory, overwrite, "search")
    rundir.check_study(directory, task.name, overwrite)
    use_all_cores()
    split, load_s = experiment.prepare(tree)
    task.tuning.check_data(split)
    say_data(split)
    return run(task, split, load_s, directory, overwrite).result


def checked(
    tree: Tree, space: dict[str, Any], compose: Callable[[Sequence[str]], Tree], overrides: Sequence[str]
) -> SearchTask:
    """Check a search before any work starts; see `sweep`."""
    settings.check(tree)
    check_validated(tree)
    chosen: Search = settings.build(tree["sweep"])
    tuning = Tuning(tree, space_from_yaml(space), compose)
    tuning.check()
    plan = tuning.plan(chosen, [text for text in overrides if not text.startswith("sweep")], chosen.warm_start)
    _ = plan.remarks  # fails if no trial of sweep.warm_start can be used
    name = chosen.study_name or _study_name(tree, tuning.fixed, space)
    if name.startswith("/") or {"", ".", ".."} & set(name.split("/")):
        raise InputError(f"sweep.study_name={name}: each part between slashes must be a folder name, e.g. mf/first")
    return SearchTask(name, chosen, tuning, plan, overrides)


def run(
    task: SearchTask,
    split: Split,
    load_s: float,
    directory: Path,
    overwrite: bool = False,
    on_round: Callable[[], None] = lambda: None,
) -> Tuned:
    """Run or continue a checked search on a split; `on_round` is called before each round. See `sweep`."""
    name, chosen, tuning, plan = task.name, task.chosen, task.tuning, task.plan
    rundir.claim(rundir.make(directory), name, overwrite)
    limit = f"{plan.total} trials" if plan.total < UNLIMITED else f"{plan.timeout:.3g} minutes"
    say(f"study {name}: {limit}, {chosen.population} at a time, in {directory}")
    for remark in plan.remarks:
        say(remark)
    runner = tuning.runner(split.selection, chosen.population, directory)
    storage = open_storage(chosen.storage, directory)
    interrupt = None
    try:
        with SearchProgress() as progress:

            def show(finished: int, running: int, total: int) -> None:
                on_round()
                progress.show(finished, running, total)

            study = search(
                plan,
                runner,
                study_name=name,
                storage=storage,
                directory=directory,
                on_tell=progress.tell,
                on_round=show,
            )
    except KeyboardInterrupt as error:
        interrupt, study = error, load_study(study_name=name, storage=storage)
        if not study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,)):
            say("interrupted before the first trial was complete; to continue: the same command")
            raise
        say("interrupted: finishing with the trials that have ended; Ctrl-C again stops at once")
    with EpochProgress(tuning.tree) if chosen.finalists > 1 else nullcontext(experiment.quiet) as on_epoch:
        tuned = finish(tuning, chosen, plan, runner, study, split, load_s, on_epoch)
    write(directory, name, tuned, [text for text in task.overrides if text.split("=", 1)[0] in chosen.tunes])
    _show(tuned, tuning.monitor, directory)
    if without_password(chosen.storage or "") == (chosen.storage or ""):
        say(f"details: {_look_closer(name, directory, chosen.storage)}")
    if interrupt is not None:
        say("to continue: the same command")
        raise interrupt
    return tuned


def write(directory: Path, name: str, tuned: Tuned, choices: Sequence[str]) -> None:
    """Write `best/`, `best.yaml` and `report.html` of a finished search.

    Args:
        directory: the sweep directory.
        name: name of the study.
        tuned: the finished search.
        choices: overrides implied by the search space, e.g. `model=ease`.
    """
    winner = tuned.winner
    rundir.write(directory / "best", tuned.tree, tuned.result)
    text = yaml.safe_dump(
        [*choices, *(override(key, value) for key, value in winner.params.items())], allow_unicode=True
    )
    write_text(directory / "best.yaml", f"# overrides of trial {winner.number}, validation {winner.value:.4g}\n{text}")
    if tuned.finalists is not None:
        write_text(directory / "finalists.csv", tuned.finalists.table.to_csv(index=False))
    page = sweep_report(name, tuned.study, tuned.result, tuned.notes, tuned.winner, tuned.finalists)
    write_text(directory / "report.html", page)


def _show(tuned: Tuned, monitor: str, directory: Path) -> None:
    """Print the leaderboard, the test metrics of the winner, and notes."""
    board = leaderboard(tuned.study)
    table(f"leaderboard, by validation {monitor}", board, in_short(board), str(directory / "trials.csv"))
    if tuned.finalists is not None:
        shown = tuned.finalists.table[["trial", "value", "sd", "low", "high", "difference", "p"]]
        table(f"finalists, validation {monitor} over new seeds", shown, rest=str(directory / "finalists.csv"))
    title = f"trial {tuned.winner.number}"
    parts = "train + validation" if tuned.tree["refit"] else "train"
    test_table(f"test, {title} trained on {parts}", title, tuned.result)
    for note in tuned.notes:
        say(f"note: {note}")
    say(f"results: {directory}")


def _look_closer(name: str, directory: Path, storage: str | None) -> str:
    """Return the command that shows this study, including its storage."""
    location = []
    if storage is not None:
        location = [override("storage", str(Path(storage).absolute()) if storage.endswith(".log") else storage)]
    elif directory != SWEEPS / name:
        location = [override("root", str(directory.absolute()))]
    return command("study", override("study", name), *location)


def _study_name(tree: Tree, fixed: dict[str, Any], space: dict[str, Any]) -> str:
    """Return a name with a hash of the settings, so that incomparable trials never share a study."""
    start = [tree["sweep"][key] for key in ("sampler", "warm_start") if tree["sweep"][key] is not None]
    text = json.dumps([fixed, space, *start], sort_keys=True, default=str)
    parts = (tree["data"]["_target_"], tree["model"]["_target_"])
    names = [part.rpartition(".")[2].lower() for part in parts]
    return "-".join([*names, hashlib.sha256(text.encode()).hexdigest()[:6]])
