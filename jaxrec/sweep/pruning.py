"""Pruning: trials that fall behind at the same number of epochs are ended early."""

import copy
import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import optuna
from optuna.storages import BaseStorage
from optuna.study import Study
from optuna.trial import FrozenTrial, Trial

from jaxrec.errors import InputError

PRUNERS = ("none", "median", "percentile", "halving", "hyperband", "wilcoxon")
REPORTS = 20  # validations that a trial reports over all of its epochs; each costs a write to the study
FIRST_RUNG = 8  # epochs before which the order of trials says little


@dataclass(frozen=True)
class Pruning:
    """Settings of early stopping of trials that fall behind.

    Attributes:
        name: one of `PRUNERS`. halving: asynchronous successive halving, where at each rung the better half of the
            trials that reached it goes on
        epochs: maximum number of epochs of a trial
        validate_every: epochs between validations
    """

    name: str = "none"
    epochs: int = 1
    validate_every: int = 1

    def __post_init__(self) -> None:
        if self.name not in PRUNERS:
            raise InputError(f"sweep.pruner={self.name} is unknown; choose one of {', '.join(PRUNERS)}")

    @property
    def interval(self) -> int:
        """Epochs between reports, a multiple of `validate_every`."""
        return self.validate_every * max(1, round(self.epochs / REPORTS / self.validate_every))

    @property
    def first_rung(self) -> int:
        """Epochs before the first decision: `FIRST_RUNG` or a fifth of all, in whole intervals."""
        return self.interval * max(1, round(max(FIRST_RUNG, self.epochs / 5) / self.interval))

    def rung(self, epoch: int) -> int | None:
        """Return the last rung of successive halving that a trial has reached; None if there is none."""
        if self.name != "halving" or epoch < self.first_rung:
            return None
        return self.first_rung * 2 ** int(math.log2(epoch / self.first_rung))

    def is_reported(self, epoch: int) -> bool:
        """Whether the validation at this epoch is reported to the study."""
        return epoch % self.interval == 0

    def pruner(self) -> optuna.pruners.BasePruner:
        """Return the Optuna pruner."""
        rung = self.first_rung
        match self.name:
            case "median":
                return optuna.pruners.MedianPruner(n_warmup_steps=rung, interval_steps=self.interval)
            case "percentile":
                return optuna.pruners.PercentilePruner(25.0, n_warmup_steps=rung, interval_steps=self.interval)
            case "halving":
                return optuna.pruners.SuccessiveHalvingPruner(min_resource=rung, reduction_factor=2)
            case "hyperband":
                most = max(self.epochs, rung)
                return optuna.pruners.HyperbandPruner(min_resource=rung, max_resource=most, reduction_factor=2)
            case "wilcoxon":
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
                    return optuna.pruners.WilcoxonPruner(p_threshold=0.1, n_startup_steps=max(2, rung // self.interval))
        return optuna.pruners.NopPruner()


@dataclass
class Delayed:
    """A storage to which a pruner writes attributes of trials later.

    Attributes:
        storage: the storage
        writes: what is to be written
    """

    storage: BaseStorage
    writes: list[Callable[[], None]] = field(default_factory=list)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.storage, name)

    def set_trial_system_attr(self, trial_id: int, key: str, value: Any) -> None:
        """Write an attribute later."""
        self.writes.append(lambda: self.storage.set_trial_system_attr(trial_id, key, value))


def report(study: Study, trial: Trial, stored: FrozenTrial, epoch: int, value: float) -> bool:
    """Report a validation of a trial to the study; return whether the trial is to be pruned.

    A process that died may have reported this validation before: then nothing is written again.

    Args:
        study: the study.
        trial: the trial in training.
        stored: the same trial as the study has it.
        epoch: number of epochs trained.
        value: its best validation so far.
    """
    was_pruned = stored.user_attrs.get("pruned_epoch") == epoch  # by a process that then died
    if epoch in stored.intermediate_values and not was_pruned:
        return False
    decision, writes = decide(study, stored, epoch, value)
    if decision and not was_pruned:
        trial.set_user_attr("pruned_epoch", epoch)
    for write in writes:
        write()
    if epoch not in stored.intermediate_values:
        trial.report(value, epoch)
    return decision or was_pruned


def decide(study: Study, trial: FrozenTrial, epoch: int, value: float) -> tuple[bool, list[Callable[[], None]]]:
    """Return whether to prune a trial with a validation that is not reported yet, and what the pruner wants to store.

    Nothing is written, so that a process that dies before it stores the decision makes the same one again.
    """
    delayed, before = Delayed(study._storage), copy.copy(study)
    before._storage = delayed  # type: ignore[assignment]
    reported = copy.copy(trial)
    reported.intermediate_values = {**trial.intermediate_values, epoch: value}
    return study.pruner.prune(before, reported), delayed.writes
