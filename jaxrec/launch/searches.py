"""Hyperparameter search in a sweep directory; only the winner is evaluated on the test split."""

import os
from collections.abc import Callable, Sequence
from pathlib import Path

from optuna import load_study
from optuna.storages import BaseStorage
from optuna.study import Study
from optuna.trial import TrialState

from jaxrec import experiment, rundir, settings
from jaxrec.console import say
from jaxrec.data.splits.split import Selection, Split
from jaxrec.experiment import Result
from jaxrec.launch.many_workers import run_workers
from jaxrec.launch.search_progress import SearchProgress, copies_line
from jaxrec.launch.terminal_tables import say_data
from jaxrec.launch.winner import conclude
from jaxrec.launch.worker_process import HERE, LAUNCH, Launcher, leave_memory_to_workers, stopped_with_launch
from jaxrec.machine import use_all_cores
from jaxrec.settings import Tree
from jaxrec.sweep.best_trial import hand_over
from jaxrec.sweep.pbt_runner import make_runner
from jaxrec.sweep.plan import UNLIMITED, open_study
from jaxrec.sweep.runner import SlotRunner
from jaxrec.sweep.search import search
from jaxrec.sweep.search_task import SearchTask, check_search
from jaxrec.sweep.storage import SWEEPS, open_storage
from jaxrec.sweep.trials import best
from jaxrec.sweep.winner import Tuned

ASSUMED = 2  # members while sweep.population=auto is not decided


def sweep(
    tree: Tree,
    space: Tree,
    compose: Callable[[Sequence[str]], Tree],
    overrides: Sequence[str],
    directory: Path | None,
    overwrite: bool = False,
    launcher: Launcher = HERE,
) -> Result | None:
    """Run or continue a search, then test the best trial.

    Args:
        tree: the configuration shared by all trials.
        space: the search space as plain dicts, see `space_from_yaml`.
        compose: composes the configuration with additional overrides.
        overrides: command-line overrides behind `tree`.
        directory: the sweep directory; None for one named after the study.
        overwrite: replace an earlier search in `directory`.
        launcher: runs the workers, if there are several.

    Returns:
        The test of the best trial; None if this process is one of several workers.

    Raises:
        InputError: an invalid setting or space, or all trials failed.
        KeyboardInterrupt: after an interrupt, when the results of the trials that have ended are written.
    """
    is_auto = tree["sweep"]["population"] == "auto"  # chosen when the data is read
    tree = settings.put(tree, {"sweep.population": ASSUMED}) if is_auto else tree
    task = check_search(tree, space, compose, overrides)
    directory = directory or SWEEPS / task.name
    rundir.check_empty(directory, overwrite, "search")
    rundir.check_study(directory, task.name, overwrite)
    if task.chosen.workers > 1:
        leave_memory_to_workers()
    use_all_cores()
    split, load_s = experiment.prepare(tree)
    task = task.on(split)
    say_data(split)
    if is_auto:
        population = task.tuning.largest_population(split.selection)
        say(f"sweep.population=auto: {population} trials at once")
        task = check_search(settings.put(tree, {"sweep.population": population}), space, compose, overrides).on(split)
    if LAUNCH in os.environ:
        run_part(task, split, directory)
        return None
    if task.chosen.workers > 1:
        own = {"sweep.study_name": task.name, "hydra.sweep.dir": str(directory)}
        return run_workers(task, split, load_s, directory, overwrite, launcher, own).result
    return run(task, split, load_s, directory, overwrite).result


def run(
    task: SearchTask,
    split: Split,
    load_s: float,
    directory: Path,
    overwrite: bool = False,
    on_round: Callable[[], None] = lambda: None,
) -> Tuned:
    """Run or continue a search on its data; `on_round` is called before each round. See `sweep`."""
    name, chosen, plan = task.name, task.chosen, task.plan
    rundir.claim(rundir.make(directory), name, overwrite)
    limit = f"{plan.total} trials" if plan.total < UNLIMITED else f"{plan.timeout:.3g} minutes"
    say(f"study {name}: {limit}, {min(chosen.population, plan.total)} at a time, in {directory}")
    for remark in plan.remarks:
        say(remark)
    storage = open_storage(chosen.storage, directory)
    runner = runner_of(task, split.selection, storage, directory)
    interrupt = None
    try:
        study = train_trials(task, runner, storage, directory, on_round)
    except KeyboardInterrupt as error:
        interrupt, study = error, load_study(study_name=name, storage=storage)
        if not study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,)):
            say("interrupted before the first trial was complete; to continue, run the same command again")
            raise
        say("interrupted: finishing with the trials that have ended; Ctrl-C again stops at once")
    tuned = conclude(task, study, runner, split, load_s, directory)
    if interrupt is not None:
        say("to continue, run the same command again")
        raise interrupt
    return tuned


def run_part(task: SearchTask, split: Split, directory: Path) -> None:
    """Train trials as one of several workers of a launch, which tests the best trial."""
    runner = task.tuning.runner(split.selection, task.chosen.population, directory)
    storage = open_storage(task.chosen.storage, directory)
    study = open_study(task.plan, task.name, storage)
    try:
        with stopped_with_launch(study):
            train_trials(task, runner, storage, directory)
    finally:
        if study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,)):
            hand_over(runner.best, best(study).number, runner.saved)


def runner_of(task: SearchTask, selection: Selection, storage: BaseStorage, directory: Path | None) -> SlotRunner:
    """Return what trains the trials of a search in this process; without a directory it saves no training states."""
    return make_runner(
        task,
        selection,
        directory,
        lambda: load_study(study_name=task.name, storage=storage).trials,
        lambda epoch, best, parents: say(copies_line(epoch, best, parents)),
    )


def train_trials(
    task: SearchTask,
    runner: SlotRunner,
    storage: BaseStorage,
    directory: Path,
    on_round: Callable[[], None] = lambda: None,
) -> Study:
    """Train the trials of a search in this process, with a progress display; `on_round` is called before each round."""
    with SearchProgress.of(task.plan, runner) as progress:

        def show(finished: int, running: int, total: int) -> None:
            on_round()
            progress.show(finished, running, total)

        return search(
            task.plan,
            runner,
            study_name=task.name,
            storage=storage,
            directory=directory,
            on_tell=progress.tell,
            on_round=show,
        )
