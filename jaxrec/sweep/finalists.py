"""Finalists of a search: its best trials, trained with new seeds and compared over users and seeds.

The best of many trials is partly lucky with its seed. New seeds tell how good the best trials are on average; the
values of the search itself, by which they were selected, do not count.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from optuna.trial import FrozenTrial

from jaxrec import experiment, settings
from jaxrec.data.splits.split import Selection
from jaxrec.errors import InputError
from jaxrec.fitting.epochs import OnEpoch
from jaxrec.fitting.population import Population
from jaxrec.metric_names import larger_is_better
from jaxrec.settings import Tree
from jaxrec.statistics import LEVEL, compared


@dataclass(frozen=True, eq=False)
class Finalists:
    """Comparison of the finalists of a search.

    Attributes:
        metric: the validation metric.
        table: see `jaxrec.statistics.compared`, with the number of the trial in `trial`; best mean first.
        failed: trials with a seed that diverged, and why.
    """

    metric: str
    table: pd.DataFrame
    failed: dict[int, str]

    @property
    def winner(self) -> int:
        """Number of the trial with the best mean."""
        return int(self.table["trial"].iloc[0])

    @property
    def sentence(self) -> str:
        """One sentence: the trial that is best over the seeds, and those from which it does not differ demonstrably."""
        first, *others = self.table.to_dict("records")
        mean = f"{first['value']:.4f}" + ("" if np.isnan(first["sd"]) else f" ± {first['sd']:.4f}")
        text = f"over {first['seeds']} new seeds, {first['run']} has the best mean validation {self.metric}, {mean}"
        close = [f"{row['run']} (p = {row['p']:.2g})" for row in others if row["p"] >= LEVEL]
        return text + (f"; no difference from {' and '.join(close)} is demonstrated" if close else "")


def confirm(
    trials: Sequence[FrozenTrial],
    n_seeds: int,
    tree_of: Callable[[FrozenTrial], Tree],
    program_of: Callable[[Tree], tuple[str, Tree, Population]],
    selection: Selection,
    on_epoch: OnEpoch = experiment.no_progress,
) -> Finalists:
    """Train trials with `n_seeds` seeds after their own, and compare them on validation.

    Args:
        trials: the finalists.
        n_seeds: number of seeds of each.
        tree_of: settings of a trial.
        program_of: key, settings and population of the program of a trial; see `settings.program_of`.
        selection: training and validation data.
        on_epoch: called after each round of epochs of a program.

    Raises:
        InputError: every finalist has a seed that diverged.
        KeyboardInterrupt: training was interrupted.
    """
    programs: dict[str, tuple[Tree, list[int], list[Population]]] = {}
    for trial in trials:
        tree = tree_of(trial)
        for seeded in settings.with_seeds({**tree, "seed": tree["seed"] + 1}, n_seeds):
            key, shared, population = program_of(seeded)
            _, numbers, members = programs.setdefault(key, (shared, [], []))
            numbers.append(trial.number)
            members.append(population)
    metric = str(settings.get(tree_of(trials[0]), "eval.monitor"))
    values: dict[int, list[np.ndarray]] = {trial.number: [] for trial in trials}
    failed: dict[int, str] = {}
    units = None
    for shared, numbers, members in programs.values():
        model, evaluator = experiment.model_and_evaluator(shared, selection)
        assert evaluator is not None  # `Tuning.check_data` requires it
        population = Population.joined(members)
        selected = experiment.train(shared, selection, population, model, evaluator, on_epoch)
        if selected.fit.interrupted:
            raise KeyboardInterrupt
        evaluation = evaluator(selected.fit.params, population.at(selected.fit.best_epoch))
        units = evaluation.users
        per_user = evaluation.per_user.get(metric)
        if per_user is None:  # of all lists or predictions together: one value per seed
            per_user, units = evaluation.overall[metric][:, None], None
        for member, number in enumerate(numbers):
            if failure := experiment.failure(selected, member):
                failed[number] = failure
            values[number].append(per_user[member])
    sign = -1 if larger_is_better(metric) else 1
    good = {n: np.stack(rows).astype(np.float64) for n, rows in values.items() if n not in failed}
    if not good:
        raise InputError(f"every finalist diverged with a new seed; first failure: {next(iter(failed.values()))}")
    order = sorted(good, key=lambda n: (sign * float(np.nanmean(good[n])), n))
    table = compared({f"trial {n}": good[n] for n in order}, units)
    table.insert(0, "trial", order)
    return Finalists(metric, table, failed)
