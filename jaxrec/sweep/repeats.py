"""Trials that repeat the parameters of an ended one: they get its outcome, and are not trained."""

from collections.abc import Iterable
from typing import Literal

from optuna.trial import FrozenTrial, TrialState

from jaxrec.sweep.objectives import value_of
from jaxrec.sweep.outcome import FINAL, Outcome
from jaxrec.sweep.space import Values
from jaxrec.sweep.trials import DONE, key_of

BOOKKEEPING = {
    "started_round",
    "ended_round",
    "worker",
    "retry_of",
    "error",
    "same_as",
    "pruned_epoch",
}  # not part of an outcome


class EndedTrials:
    """Ended trials by their parameters; of equal ones, the first."""

    def __init__(self) -> None:
        self._done: dict[str, FrozenTrial] = {}
        self._failed: dict[str, FrozenTrial] = {}  # failures that would repeat

    def add(self, trials: Iterable[FrozenTrial]) -> None:
        """Add trials; those that have not ended are ignored."""
        for trial in trials:
            if trial.state in DONE:
                self._done.setdefault(key_of(trial.params), trial)
            elif FINAL in trial.user_attrs:
                self._failed.setdefault(key_of(trial.params), trial)

    def __contains__(self, key: str) -> bool:
        return key in self._done or key in self._failed

    def done(self, params: Values) -> FrozenTrial | None:
        """Return the complete or pruned trial with these parameters, if there is one."""
        return self._done.get(key_of(params))

    def outcome(self, params: Values) -> Outcome | None:
        """Return the outcome of a trial with these parameters; None: it has to be trained."""
        if (done := self.done(params)) is not None:
            return outcome_of_repeat(done)
        if (failed := self._failed.get(key_of(params))) is not None:
            attributes = {"error": failed.user_attrs["error"], FINAL: True, "same_as": failed.number}
            return Outcome(None, "failed", attributes)
        return None


def outcome_of_repeat(done: FrozenTrial) -> Outcome:
    """Return the outcome of a trial with the parameters of a complete or pruned one."""
    attributes = {name: value for name, value in done.user_attrs.items() if name not in BOOKKEEPING}
    attributes["same_as"] = done.user_attrs.get("same_as", done.number)
    state: Literal["complete", "pruned"] = "pruned" if done.state == TrialState.PRUNED else "complete"
    return Outcome(value_of(done), state, attributes)
