"""Warm start: complete trials of an earlier study are added to a new study before its first trial."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import optuna
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from jaxrec.errors import InputError
from jaxrec.sweep.journal import read_journal
from jaxrec.sweep.objectives import value_of
from jaxrec.sweep.space import Dimension, Values, is_searched
from jaxrec.sweep.storage import SWEEPS
from jaxrec.sweep.study import open_study
from jaxrec.sweep.trials import best_params, key_of

ADDED = "warm_start"  # attribute of an added trial: study and number it comes from


def without_added(trials: Sequence[FrozenTrial]) -> list[FrozenTrial]:
    """Return the trials of a study without those added from another."""
    return [trial for trial in trials if ADDED not in trial.user_attrs]


def open_source(source: str | Path | Study, storage: str | None, metric: str) -> Study:
    """Return the study to start from.

    Args:
        source: name of a study in `storage`, or the path of a sweep directory; or an open study.
        storage: storage of the new search; None: sweep directories under outputs/sweeps.
        metric: metric of the new study.

    Raises:
        InputError: there is no such study, or it has another metric.
    """
    study = source if isinstance(source, Study) else _open(str(source), storage)
    if (other := study.user_attrs.get("metric")) != metric:
        raise InputError(
            f"sweep.warm_start={study.study_name}: its metric is {other}, this search is for {metric}: set the same "
            "eval.monitor, or start from another study"
        )
    return study


def usable(source: Study, space: Mapping[str, Dimension], fixed: Mapping[str, object]) -> dict[int, Values]:
    """Return the parameters of the complete trials that lie in a space, by number; of equal ones, the first.

    A setting may be fixed in one of the studies and searched in the other.

    Args:
        source: the earlier study.
        space: the space of the new study.
        fixed: its settings shared by all trials.
    """
    found: dict[str, tuple[int, Values]] = {}
    shared = source.user_attrs.get("fixed", {})
    for trial in source.get_trials(deepcopy=False, states=(TrialState.COMPLETE,)):
        if best_params(trial) != trial.params:  # changed in training: its value belongs to no single settings
            continue
        settings = {**shared, **trial.params}
        params: Values = {}
        for key, dimension in space.items():
            if is_searched(dimension, params):
                if key not in settings or not dimension.contains(settings[key]):
                    break
                params[key] = settings[key]
        else:
            if all(key in space or fixed.get(key) == value for key, value in trial.params.items()):
                found.setdefault(key_of(params), (trial.number, params))
    return dict(found.values())


def add(study: Study, source: Study, space: Mapping[str, Dimension], fixed: Mapping[str, object]) -> None:
    """Add the usable trials of a study to another; those added before are left out."""
    before = {trial.user_attrs.get(ADDED) for trial in study.get_trials(deepcopy=False)}
    for number, params in usable(source, space, fixed).items():
        if (mark := f"{source.study_name}:{number}") not in before:
            of_params = {key: space[key].distribution() for key in params}
            value = value_of(source.trials[number])
            study.add_trial(
                optuna.trial.create_trial(value=value, params=params, distributions=of_params, user_attrs={ADDED: mark})
            )


def describe(source: Study, space: Mapping[str, Dimension], fixed: Mapping[str, object]) -> str:
    """Return how many trials will be added, and which settings they were trained with differ.

    Raises:
        InputError: no complete trial lies in the space.
    """
    complete = source.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    added = usable(source, space, fixed)
    if not added:
        raise InputError(
            f"sweep.warm_start={source.study_name}: none of its {len(complete)} complete trials lies in the search "
            "space: widen the space, or start from another study"
        )
    shared = source.user_attrs.get("fixed", {})
    differ = [key for key in fixed if key in shared and _plain(fixed[key]) != _plain(shared[key])]
    text = f"warm start: {len(added)} of {len(complete)} complete trials of {source.study_name} are added"
    return text + (f", trained with another {', '.join(differ)}" if differ else "")


def _open(source: str, storage: str | None) -> Study:
    if (journal := Path(source) / "journal.log").is_file():
        stored = read_journal(journal)
        names = optuna.get_all_study_names(stored)
        if len(names) != 1:
            raise InputError(f"sweep.warm_start={source}: {journal} holds {len(names)} studies, not one")
        return optuna.load_study(study_name=names[0], storage=stored)
    try:
        return open_study(source, SWEEPS, storage)[0]
    except InputError as error:
        raise InputError(f"sweep.warm_start={source}: {error}. The path of a sweep directory works, too") from error


def _plain(value: object) -> object:
    return list(value) if isinstance(value, tuple) else value
