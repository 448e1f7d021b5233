"""Validation values of the users in each trial, by which the best trial is corrected for having been chosen.

A validation measures every user, and reports means. Here the values of the users behind the best mean of each trial are
kept, too: nothing is computed for them. They are stored in a small file per trial, so that all workers of a search that
share its directory, and processes that continue it, find them.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from weakref import WeakKeyDictionary

import numpy as np
from jaxtyping import Array, Bool, Float
from optuna.study import Study, StudyDirection
from optuna.trial import TrialState

from jaxrec import backend, experiment, settings
from jaxrec.atomic_files import write_atomic
from jaxrec.bootstrap import Corrected, best_corrected, pooled
from jaxrec.data.splits.split import Selection
from jaxrec.evaluation.evaluation import Evaluator, Measured
from jaxrec.fitting.member import Member
from jaxrec.hyper import Hyper
from jaxrec.models.model import Model, Params
from jaxrec.settings import Tree
from jaxrec.sweep.objectives import value_of, violated
from jaxrec.sweep.trials import ranked

FOLDER = "validation"  # of the files in a sweep directory
MAX_TRIALS = 1000  # trials beyond the best ones are never the best on other users
MATCH = 1e-4  # relative difference between a value of the study and the mean of its stored values

Sums = Float[np.ndarray, "2 G"]  # sum and number of the values of each user, or group of users


class ObservedEvaluator(Evaluator):
    """An evaluator of trials that keeps the values of the users for one metric, at the best epoch of each member.

    Users are pooled into at most `bootstrap.MAX_UNITS` groups.

    Args:
        evaluator: measures the members.
        metric: key of the metric; nothing is kept if it has no values of users.
    """

    def __init__(self, evaluator: Evaluator, metric: str) -> None:
        self.evaluator, self.metric = evaluator, metric
        self.model, self.ground_truth = evaluator.model, evaluator.ground_truth
        self.undefined, self.prefix = evaluator.undefined, evaluator.prefix
        self.best: WeakKeyDictionary[Member, Sums] = WeakKeyDictionary()
        owner = np.unique(self.ground_truth.queries.users, return_inverse=True)[1]
        self._group, self._n_groups = pooled(owner, np.random.default_rng(0))
        self._latest: Float[Array, "P R"] | None = None

    def measure(self, params: Params, hyper: Hyper, active: Bool[np.ndarray, "P"] | None = None) -> Measured:
        """Metrics of every member; see `Evaluator.measure`."""
        measured = self.evaluator.measure(params, hyper, active)
        self._latest = measured.per_user.get(self.metric)
        return measured

    def keep(self, improved: Mapping[Member, int]) -> None:
        """Keep the latest values of members in these slots, as their best ones."""
        values = self.latest(improved.values())
        self.best |= {member: values[slot] for member, slot in improved.items() if slot in values}
        self._latest = None

    def latest(self, members: Collection[int]) -> dict[int, Sums]:
        """Return the latest values of these members of the population, if there are any."""
        if self._latest is None or not members:
            return {}
        values = backend.to_host(self._latest)  # all: to pick rows of them, devices would wait for each other
        return {member: self._pooled(values[member].astype(np.float64)) for member in members}

    def _pooled(self, values: Float[np.ndarray, "R"]) -> Sums:
        is_defined = ~np.isnan(values)
        weights = np.where(is_defined, values, 0.0), is_defined
        return np.stack([np.bincount(self._group, part, self._n_groups) for part in weights]).astype(np.float32)


def observed(tree: Tree, selection: Selection) -> tuple[Model, ObservedEvaluator]:
    """Return the model of a program of trials, and what validates it; see `experiment.model_and_evaluator`."""
    model, evaluator = experiment.model_and_evaluator(tree, selection)
    assert evaluator is not None  # `Tuning.check_data` requires it
    return model, ObservedEvaluator(evaluator, str(settings.get(tree, "eval.monitor")))


@dataclass(eq=False)
class UserValues:
    """Values of the users in the trials of a search, by number of the trial.

    Attributes:
        directory: the sweep directory; None: they are kept in memory
    """

    directory: Path | None = None
    _kept: dict[int, Sums] = field(default_factory=dict)

    def write(self, number: int, sums: Sums | None) -> None:
        """Store the values of a trial, if there are any."""
        if sums is None:
            return
        if self.directory is None:
            self._kept[number] = sums
        else:
            write_atomic(self._file(self.directory, number), lambda path: np.save(path, sums))

    def read(self, number: int, value: float) -> Sums | None:
        """Return the values of a trial; None if there are none of this mean, e.g. because another worker has them."""
        if self.directory is None:
            sums = self._kept.get(number)
        else:
            try:
                sums = np.load(self._file(self.directory, number), allow_pickle=False)
            except (OSError, ValueError, EOFError):
                return None
        if sums is None or sums.ndim != 2 or len(sums) != 2:
            return None
        total, n = sums.sum(axis=1, dtype=np.float64)
        return sums if n and np.isclose(total / n, value, rtol=MATCH, atol=1e-9) else None

    @staticmethod
    def _file(directory: Path, number: int) -> Path:
        return directory / FOLDER / f"{number}.npy"

    def corrected(self, study: Study) -> tuple[Corrected | None, int]:
        """Return the best value of a study, corrected for the choice, and how many complete trials have no values here.

        The candidates are the trials from which `trials.best` chooses, those with the fewest violated constraints, and
        the pruned ones, with the values that they had reached: on other users another trial would have been pruned.
        Of trials with equal parameters one counts.
        """
        sign = 1 if study.directions[0] == StudyDirection.MAXIMIZE else -1
        best, *others = ranked(study)
        pruned = study.get_trials(deepcopy=False, states=(TrialState.PRUNED,))
        # A pruned trial that had reached more than the best one could not win by it.
        behind = [t for t in pruned if (v := value_of(t)) is not None and sign * v <= sign * (value_of(best) or 0.0)]
        found, n_missing = [], 0
        for trial in [best, *others, *behind]:
            if "same_as" in trial.user_attrs or len(violated(trial)) > len(violated(best)):
                continue
            sums = self.read(trial.number, value_of(trial) or 0.0)
            if sums is not None:
                found.append(sums)
            elif trial.state == TrialState.COMPLETE:
                n_missing += 1
        if n_missing or not found or len({sums.shape for sums in found}) > 1:
            return None, n_missing
        means = np.array([sums[0].sum(dtype=np.float64) / sums[1].sum() for sums in found])
        strongest = [found[place] for place in np.argsort(-sign * means, kind="stable")[:MAX_TRIALS]]
        sums, counts = np.stack(strongest, axis=1)
        result = best_corrected(sums, counts, larger_is_better=sign > 0)._replace(n=len(found))
        return (None if np.isnan(result.corrected) else result), 0
