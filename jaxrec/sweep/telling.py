"""Outcomes of trials, stored in the study."""

from collections.abc import Mapping

from optuna.study import Study
from optuna.trial import FrozenTrial, Trial, TrialState

from jaxrec.sweep.journal import Journal
from jaxrec.sweep.objectives import Goals, measured
from jaxrec.sweep.outcome import Outcome
from jaxrec.sweep.trials import failures_by_key, key_of


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
