"""Proposals of trials."""

from collections.abc import Mapping, Sequence

from optuna.study import Study
from optuna.trial import FrozenTrial, Trial, TrialState

from jaxrec.sweep.leases import LeaseLostError
from jaxrec.sweep.plan import Plan
from jaxrec.sweep.space import Values, is_searched
from jaxrec.sweep.trials import failures_by_key, key_of, params_of
from jaxrec.sweep.workers import Worker


def ask(study: Study, worker: Worker) -> Trial:
    """Return a new trial; none is left if the turn was lost in between."""
    worker.check()
    trial = study.ask()
    try:
        worker.check()
    except LeaseLostError:  # others did not count this trial
        trial.set_user_attr("orphan", True)
        study.tell(trial, state=TrialState.FAIL)
        raise
    return trial


def suggest(study: Study, plan: Plan, trial: Trial) -> None:
    """Propose the parameters of a trial; a process may have died while it did."""
    before, params = trial.params, Values()
    for name, dimension in plan.dimensions.items():
        if not is_searched(dimension, params):
            continue
        distribution = dimension.distribution()
        is_drawn = not (name in trial._fixed_params or distribution.single() or name in trial.relative_params)
        if name in before and is_drawn:  # draw again, so that the following draws are the same
            frozen = study._storage.get_trial(trial._trial_id)
            study.sampler.sample_independent(study, frozen, name, distribution)
        params[name] = trial._suggest(name, distribution)


def enqueue_combinations(
    study: Study, trials: Sequence[FrozenTrial], combinations: Mapping[str, Values], n_free: int
) -> None:
    """Queue combinations without a trial, in order, until `n_free` are waiting."""
    used = {key_of(params_of(trial)) for trial in trials if trial.state != TrialState.FAIL}
    used |= {key for key, n in failures_by_key(trials).items() if n >= 2}
    n_waiting = sum(trial.state == TrialState.WAITING for trial in trials)
    for key in [key for key in combinations if key not in used][: max(0, n_free - n_waiting)]:
        study.enqueue_trial(combinations[key])
