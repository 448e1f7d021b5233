"""Pruning: trials that fall behind at the same number of epochs are ended early."""

import warnings
from dataclasses import dataclass

import optuna

from jaxrec.errors import InputError

PRUNERS = ("none", "median", "percentile", "halving", "hyperband", "wilcoxon")
REPORTS = 20  # validations that a trial reports over all of its epochs; each costs a write to the study
FIRST_RUNG = 8  # epochs before which the order of trials says little


@dataclass(frozen=True)
class Pruning:
    """When trials are ended early.

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
