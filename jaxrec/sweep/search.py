"""Search loop: Optuna proposes trials, a runner trains them side by side, and every outcome is stored.

Guarantees, for any number of processes and if any worker is killed at any time:

- A search ends with exactly `n_trials` complete or pruned trials; parameters that failed twice count as one trial.
- A trial whose process died is continued by another process under its number; no trial is lost or counted twice.
- Only outcomes of the runner are stored, and the settings shared by all trials never change within a study.
- Decisions depend on validations and never on clocks. Each trial records the round in which it started and ended, so a
  search with one worker that is killed and started again proposes and prunes the same trials as an uninterrupted one.
  The one exception is `Plan.timeout`, after which no trials are proposed and those in training are stopped.
- Equal parameters are trained once; a trial that repeats another gets its value, and the attribute `same_as`.

The rounds of a process are in `worker_loop.py`.
"""

from collections.abc import Callable
from pathlib import Path

from optuna.storages import BaseStorage
from optuna.study import Study
from optuna.trial import FrozenTrial

from jaxrec.errors import InputError
from jaxrec.sweep.interrupts import Interrupts
from jaxrec.sweep.outcome import Runner
from jaxrec.sweep.plan import Plan, fill_or_check, open_study, quiet_optuna
from jaxrec.sweep.trials import DONE, write_trials
from jaxrec.sweep.warm_start import without_added
from jaxrec.sweep.worker_loop import WorkerLoop
from jaxrec.sweep.workers import at_work


def search(
    plan: Plan,
    runner: Runner,
    *,
    study_name: str,
    storage: BaseStorage,
    directory: Path,
    on_tell: Callable[[FrozenTrial], None] = lambda trial: None,
    on_round: Callable[[int, int, int], None] = lambda finished, running, total: None,
) -> Study:
    """Train trials until the study has enough of them; an existing study of this name is continued.

    Args:
        plan: what to search for.
        runner: trains the trials. An exception marks its running trials as failed and propagates; Ctrl-C leaves them
            for the next process.
        study_name: name of the study.
        storage: storage of the study.
        directory: the sweep directory, where `trials.csv` is written. The processes of a study in a journal or in
            SQLite share its file; those of a study on a server need not share anything.
        on_tell: called with each trial after its outcome is stored.
        on_round: called before each round with the numbers of finished trials, of trials running here, and of all.

    Returns:
        The study. If other processes run the last trials, it returns after those have ended.

    Raises:
        InputError: the study has other settings, or a whole population in a row (at least three trials) failed.
    """
    with quiet_optuna(), at_work(study := open_study(plan, study_name, storage), directory) as worker:
        with worker.turn():
            fill_or_check(study, plan)
        study.pruner = plan.pruning.pruner()
        loop = WorkerLoop(plan, runner, study, worker, directory, on_tell, on_round)
        try:
            with Interrupts() as interrupts:
                loop.run(interrupts)
        finally:
            write_trials(study, directory)
    if loop.failures and not without_added(study.get_trials(deepcopy=False, states=DONE)):
        raise InputError(f"all trials failed; first failure: {loop.failures[0]}")
    return study
