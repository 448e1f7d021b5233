"""The best trial of a search: chosen, trained again if its parameters are not available, and tested."""

from dataclasses import dataclass

from optuna.study import Study
from optuna.trial import FrozenTrial

from jaxrec import experiment, settings
from jaxrec.bootstrap import Corrected
from jaxrec.data.splits.split import Selection, Split
from jaxrec.experiment import Result, Selected
from jaxrec.fitting.epochs import OnEpoch
from jaxrec.fitting.saved_slots import SavedSlots
from jaxrec.settings import Tree
from jaxrec.sweep.best_trial import handed_over
from jaxrec.sweep.finalists import Finalists, confirm
from jaxrec.sweep.objectives import value_of, violated
from jaxrec.sweep.pbt import LINEAGE
from jaxrec.sweep.plan import UNLIMITED
from jaxrec.sweep.runner import SlotRunner
from jaxrec.sweep.search_task import SearchTask
from jaxrec.sweep.trials import best, ranked
from jaxrec.sweep.tuning import Tuning
from jaxrec.sweep.verdict import verdict
from jaxrec.sweep.warm_start import ADDED


@dataclass(frozen=True, eq=False)
class Tuned:
    """Result of a finished search.

    Attributes:
        study: all trials.
        winner: the best trial by validation.
        tree: configuration of the winner.
        result: run of the winner, including test metrics.
        notes: reasons to doubt the winner; see `verdict`.
        finalists: comparison of the best trials over new seeds, which chose the winner; None: the best value won.
        corrected: the winner's value, corrected for having been chosen among the trials; None: it is unknown.
    """

    study: Study
    winner: FrozenTrial
    tree: Tree
    result: Result
    notes: list[str]
    finalists: Finalists | None = None
    corrected: Corrected | None = None


def finish(
    task: SearchTask,
    runner: SlotRunner,
    study: Study,
    split: Split,
    load_s: float = 0.0,
    on_epoch: OnEpoch = experiment.no_progress,
) -> Tuned:
    """Evaluate the best trial on the test split.

    It is trained again only if another process trained it and did not hand over its parameters. With several
    finalists, the best trial is the one with the best mean over new seeds; see `finalists`. The training states
    of a search whose trials have all ended are removed.

    Raises:
        KeyboardInterrupt: it was interrupted while it was trained again.
    """
    tuning, chosen, plan = task.tuning, task.chosen, task.plan
    winner, finalists = _chosen(task, study, split.selection, on_epoch)
    tree = tuning.winner_tree(study, winner, chosen.refit)
    if runner.best is not None and runner.best.number == winner.number:
        selected, shared = runner.best.selected, runner.best.tree | {"refit": tree["refit"]}
    else:  # by the same program, so that the numbers are the same
        shared, selected = train_again(
            tuning, tree, split.selection, chosen.population, handed_over(winner.number, runner.saved)
        )
    (result,) = experiment.finish(shared, split, selected, load_s)
    if result.metrics["interrupted"]:
        raise KeyboardInterrupt
    if broken := violated(winner):
        result.metrics["violated_constraints"] = broken
    baseline = experiment.popularity_on_validation(tuning.tree, split.selection, only_monitor=True)
    if LINEAGE in winner.user_attrs:  # its parameters were not those of all epochs
        notes = verdict(study, {}, baseline, settings.get(tuning.tree, "trainer.epochs"), winner)
    else:
        notes = verdict(study, tuning.space, baseline, settings.get(tree, "trainer.epochs"), winner)
    n_ended = plan.counts(study)[0]
    if n_ended < plan.total < UNLIMITED:
        notes.append(f"{n_ended} of {plan.total} trials have ended: start the same search again to continue it")
    elif runner.saved is not None and n_ended >= plan.total:
        runner.saved.remove()
    value = selected.validation[0][tuning.monitor]
    if (origin := winner.user_attrs.get(ADDED)) and value != value_of(winner):
        notes.append(
            f"the best trial is {origin} of sweep.warm_start; trained with the settings of this search, its "
            f"validation {tuning.monitor} is {value:.4g} instead of {value_of(winner):.4g}"
        )
    corrected = None
    if finalists is not None:
        notes.append(finalists.sentence)
    elif tuning.monitor in result.per_user:  # it has values of users
        corrected, n_missing = runner.user_values.corrected(study)
        if n_missing:
            notes.append(
                f"how much of the best {tuning.monitor} is chance is not known; complete trials that were validated "
                f"elsewhere: {n_missing}"
            )
    return Tuned(study, winner, tree, result, notes, finalists, corrected)


def _chosen(
    task: SearchTask, study: Study, selection: Selection, on_epoch: OnEpoch
) -> tuple[FrozenTrial, Finalists | None]:
    """The best trial by validation, or of several finalists the best over new seeds, with their comparison."""
    tuning, chosen, winner = task.tuning, task.chosen, best(study)
    equal = [trial for trial in ranked(study) if len(violated(trial)) == len(violated(winner))]
    trials = {trial.number: trial for trial in equal[: chosen.finalists]}
    if len(trials) < 2 or not settings.is_random(tuning.tree):
        return winner, None
    finalists = confirm(
        [*trials.values()],
        chosen.finalist_seeds,
        lambda trial: tuning.winner_tree(study, trial),
        lambda tree: settings.program_of(tree, tuning.extremes),
        selection,
        on_epoch,
    )
    return trials[finalists.winner], finalists


def train_again(
    tuning: Tuning, tree: Tree, selection: Selection, n_slots: int, saved: SavedSlots | None = None
) -> tuple[Tree, Selected]:
    """Train a trial again, by the same program; return the settings of the program and the trained model.

    Args:
        tuning: the search.
        tree: settings of the trial.
        selection: training and validation data.
        n_slots: number of slots of the search; a sequence model in fewer slots than devices splits its batches.
        saved: its parameters, if another process has handed them over: then nothing is trained.
    """
    _, shared, population = settings.program_of(tree, tuning.extremes)
    return shared, experiment.select(shared, selection, population, saved=saved, n_slots=n_slots)
