"""A search by several worker processes, started by a launcher: their progress, and the best trial in the end."""

import threading
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from jaxrec import rundir
from jaxrec.console import say
from jaxrec.data.splits.split import Split
from jaxrec.errors import InputError, first_line
from jaxrec.launch.search_progress import SearchProgress
from jaxrec.launch.winner import conclude
from jaxrec.launch.worker_process import STOP, Launcher, WorkerProcess, processes
from jaxrec.sweep.interrupts import Interrupts
from jaxrec.sweep.plan import fill_or_check, open_study
from jaxrec.sweep.search_task import SearchTask
from jaxrec.sweep.storage import open_storage
from jaxrec.sweep.trials import write_trials
from jaxrec.sweep.winner import Tuned
from jaxrec.sweep.workers import Worker, any_alive, at_work

ENDED = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL)


def run_workers(
    task: SearchTask,
    split: Split,
    load_s: float,
    directory: Path,
    overwrite: bool,
    launcher: Launcher,
    settings: Mapping[str, object],
    on_poll: Callable[[], None] = lambda: None,
) -> Tuned:
    """Run or continue a search with several workers, then test the best trial.

    Args:
        task: a search on this data.
        split: the data.
        load_s: seconds it took to load.
        directory: the sweep directory.
        overwrite: replace an earlier search in `directory`.
        launcher: runs the workers.
        settings: settings by key with which workers find this search, see `worker_process.processes`.
        on_poll: called every second.

    Raises:
        InputError: the search ended early because of workers that failed.
        KeyboardInterrupt: after an interrupt, when the results of the trials that have ended are written.
    """
    plan, chosen = task.plan, task.chosen
    rundir.claim(rundir.make(directory), task.name, overwrite)
    say(f"study {task.name}: {chosen.workers} workers with sweep.population={chosen.population} each, in {directory}")
    for remark in plan.remarks:
        say(remark)
    storage = open_storage(chosen.storage, directory)
    study = open_study(plan, task.name, storage)
    launch = uuid.uuid4().hex
    workers = processes(launch, settings, chosen.storage, directory, chosen.workers, launcher.is_here)
    with at_work(study, directory) as observer, Interrupts() as interrupts:
        with observer.turn():
            fill_or_check(study, plan)
        running = _Launched(launcher, workers)
        with SearchProgress(starting="starting the workers") as progress:
            _watch(task, study, observer, running, progress, interrupts, launch, on_poll)
    for line in running.failures():
        say(line)
    write_trials(study, directory)
    runner = task.tuning.runner(split.selection, 1, directory)
    n_ended = plan.counts(study)[0]
    if not study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,)):
        if interrupts.is_requested:
            say("interrupted before the first trial was complete; to continue, run the same command again")
            raise KeyboardInterrupt
        raise InputError(f"no trial was completed: {' '.join(running.failures()) or 'all trials failed'}")
    tuned = conclude(task, study, runner, split, load_s, directory)
    if interrupts.is_requested:
        say("to continue, run the same command again")
        raise KeyboardInterrupt
    if n_ended < plan.total and plan.timeout is None:
        raise InputError(f"{n_ended} of {plan.total} trials have ended; the same command continues the search")
    return tuned


class _Launched:
    """Workers that a thread starts and waits for."""

    def __init__(self, launcher: Launcher, workers: Sequence[WorkerProcess]) -> None:
        self.launcher, self.workers = launcher, workers
        self.codes: Sequence[int] = []
        self.error = ""
        self.thread = threading.Thread(target=self._run, name="launcher", daemon=True)
        self.thread.start()

    def _run(self) -> None:
        try:
            self.codes = self.launcher.start(self.workers)
        except Exception as error:
            self.error = f"the launcher failed: {type(error).__name__}: {first_line(error)}"

    def failures(self) -> list[str]:
        """Return one line about each worker that failed."""
        failed = [(worker, code) for worker, code in zip(self.workers, self.codes, strict=False) if code != 0]
        lines = [f"{worker.log} ended with exit code {code}: {worker.last_line()}" for worker, code in failed]
        return ([self.error] if self.error else []) + lines


def _watch(
    task: SearchTask,
    study: Study,
    observer: Worker,
    running: _Launched,
    progress: SearchProgress,
    interrupts: Interrupts,
    launch: str,
    on_poll: Callable[[], None],
) -> None:
    """Show the progress of all workers until they have ended; an interrupt stops them."""
    seen = {trial.number for trial in _ended(study)}
    is_stopped = False
    while True:
        on_poll()
        # Processes may outlive the launcher that started them.
        is_over = not running.thread.is_alive() and not any_alive(study, observer)
        for trial in _ended(study):
            if trial.number not in seen:
                seen.add(trial.number)
                progress.tell(trial)
        progress.show(*task.plan.counts(study), task.plan.total)
        if is_over:
            return
        if interrupts.is_requested and not is_stopped:
            is_stopped = True
            study.set_user_attr(STOP, launch)
            say("interrupted: the workers end after the epoch in training; Ctrl-C again does not wait for them")
        time.sleep(1)


def _ended(study: Study) -> list[FrozenTrial]:
    return study.get_trials(deepcopy=False, states=ENDED)
