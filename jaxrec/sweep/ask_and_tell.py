"""Optuna's ask and tell: trials are proposed by a worker, and their outcomes stored in the study."""

from collections.abc import Mapping, Sequence

from optuna.study import Study
from optuna.trial import FrozenTrial, Trial, TrialState

from jaxrec.sweep.journal import Journal
from jaxrec.sweep.leases import LeaseLostError
from jaxrec.sweep.objectives import Goals, measured
from jaxrec.sweep.outcome import Outcome
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


def tell(study: Study, trial: Trial, outcome: Outcome, goals: Goals) -> FrozenTrial:
    """Store an outcome; parameters that failed are queued to be tried once more."""
    attributes = {**outcome.attributes, "error": outcome.failure} if outcome.failure else outcome.attributes
    set_attributes(study, trial, attributes)
    if outcome.failure:
        finished_trial = study.tell(trial, state=TrialState.FAIL)
        # Retried once; after a second failure the parameters count as a finished trial.
        if failures_by_key(study.get_trials(deepcopy=False))[key_of(finished_trial.params)] % 2:
            study.enqueue_trial(finished_trial.params, user_attrs={"retry_of": finished_trial.number})
        return finished_trial
    for constraint in goals.constraints:
        # A process that died may have stored it.
        if str(constraint) not in study._storage.get_trial(trial._trial_id).constraints:
            trial.set_constraint(str(constraint), constraint.violation(measured(attributes, constraint.name)))
    if outcome.state == "pruned":
        if outcome.value is not None and not study._storage.get_trial(trial._trial_id).intermediate_values:
            trial.report(outcome.value, step=0)  # the only way to store the value of a pruned trial, which TPE uses
        return study.tell(trial, state=TrialState.PRUNED)
    assert outcome.value is not None
    return study.tell(trial, [outcome.value, *goals.values(attributes)])


def set_attributes(study: Study, trial: Trial, attributes: Mapping[str, object]) -> None:
    """Set user attributes of a trial, in one write if the storage is a journal."""
    if isinstance(study._storage, Journal):
        study._storage.set_trial_user_attrs(trial._trial_id, attributes)
        trial._cached_frozen_trial.user_attrs.update(attributes)
    else:
        for name, value in attributes.items():
            trial.set_user_attr(name, value)
