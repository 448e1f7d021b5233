"""Runs of the trials on the Pareto front of a search."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from optuna.trial import FrozenTrial

from jaxrec import experiment
from jaxrec.data.splits.split import Split
from jaxrec.experiment import Result
from jaxrec.settings import Tree
from jaxrec.sweep.objectives import front
from jaxrec.sweep.search_task import SearchTask
from jaxrec.sweep.winner import Tuned, train_again

MAX_KEPT = 10  # runs of a front


class FrontRun(NamedTuple):
    """A trial of the front, trained and tested."""

    number: int
    tree: Tree
    result: Result


def front_runs(task: SearchTask, tuned: Tuned, split: Split, load_s: float = 0.0) -> Iterator[FrontRun]:
    """Train the trials of the front again, by the same program, and test them; at most `MAX_KEPT`.

    The winner is not trained again.

    Raises:
        KeyboardInterrupt: training was interrupted.
    """
    for trial in spread(front(tuned.study), MAX_KEPT):
        if trial.number == tuned.winner.number:
            yield FrontRun(trial.number, tuned.tree, tuned.result)
            continue
        tree = task.tuning.tree_of_trial(trial) | {"refit": tuned.tree["refit"]}
        shared, selected = train_again(task.tuning, tree, split.selection, task.chosen.population)
        (result,) = experiment.finish(shared | {"refit": tree["refit"]}, split, selected, load_s)
        if result.metrics["interrupted"]:
            raise KeyboardInterrupt
        yield FrontRun(trial.number, tree, result)


def spread(trials: Sequence[FrozenTrial], n: int) -> list[FrozenTrial]:
    """Return up to `n` trials, evenly spaced in the order of the first objective, with both ends; by number."""
    ranked = sorted(trials, key=lambda trial: (trial.values[0], trial.number))
    if len(ranked) > n:
        ranked = [ranked[round(place * (len(ranked) - 1) / (n - 1))] for place in range(n)]
    return sorted(ranked, key=lambda trial: trial.number)
