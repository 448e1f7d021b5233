"""Members in training: the settings and the record of each."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, cast

import jax
import numpy as np

from jaxrec.fitting.population import Population
from jaxrec.fitting.saved_slots import EpochRow, Record
from jaxrec.hyper import Hyper


class Rules(NamedTuple):
    """Rules of validation and early stopping; see `EpochLoop`."""

    patience: int | None
    validate_every: int
    monitor: str
    sign: int  # 1 if larger values of the monitor are better, else -1


@dataclass(eq=False)
class Member:
    """One training run: its settings and its record.

    Attributes:
        seed: seed of initial parameters, example order and negatives
        hyper: its hyperparameters, scalars
        epochs: number of epochs after which it ends
        later: its hyperparameters from these epochs on, counted from 1
        history: one row per epoch: epoch, loss, seconds, validation metrics
        best_epoch: epoch of the kept parameters; 0 before the first epoch with a finite loss and score
        score: best validation so far; larger is better
        stale: validations since then
        seconds: its share of the time of training and validation
        diverged: whether its last loss was not finite
        ended: whether its training has ended
        lineage: when it became a copy of another member, as JSON values; see `sweep.pbt`
    """

    seed: int
    hyper: Hyper
    epochs: int
    later: Mapping[int, Hyper] = field(default_factory=dict)
    history: list[EpochRow] = field(default_factory=list)
    best_epoch: int = 0
    score: float = -np.inf
    stale: int = 0
    seconds: float = 0.0
    diverged: bool = False
    ended: bool = False
    lineage: list[Any] = field(default_factory=list)

    @property
    def epoch(self) -> int:
        """Number of epochs trained."""
        return len(self.history)

    @property
    def record(self) -> Record:
        """Fields that training changes, as JSON values."""
        return cast(Record, {name: getattr(self, name) for name in Record.__annotations__})

    def restore(self, record: Record) -> None:
        """Set what training had changed."""
        vars(self).update(record)

    def is_due(self, rules: Rules) -> bool:
        """Whether the next epoch is validated."""
        epoch = self.epoch + 1
        return epoch % rules.validate_every == 0 or epoch == self.epochs

    def add(self, row: EpochRow, rules: Rules | None) -> bool:
        """Add an epoch to the record; return whether it is the best so far.

        Without rules nothing is validated: the latest epoch with a finite loss counts as the best.
        """
        self.history.append(row)
        self.diverged = not np.isfinite(row["loss"])
        improved = False
        if rules is None:
            improved = not self.diverged
        elif rules.monitor in row:
            score = rules.sign * row[rules.monitor]
            improved = not self.diverged and score > self.score  # False for NaN
            self.score, self.stale = (score, 0) if improved else (self.score, self.stale + 1)
        if improved:
            self.best_epoch = self.epoch
        is_stale = rules is not None and rules.patience is not None and self.stale >= rules.patience
        self.ended = self.diverged or is_stale or self.epoch >= self.epochs
        return improved

    @property
    def metrics(self) -> dict[str, float]:
        """Validation metrics at the best epoch."""
        return metrics_at(self.history, self.best_epoch)


def metrics_at(history: Sequence[EpochRow], epoch: int) -> dict[str, float]:
    """Validation metrics at an epoch, counted from 1; none before the first."""
    row = history[epoch - 1] if epoch else {}
    return {key: value for key, value in row.items() if key not in ("epoch", "loss", "seconds")}


def members_of(population: Population, epochs: Sequence[int]) -> list[Member]:
    """The members of a population, each with its number of epochs."""
    own = [jax.tree.map(lambda x: x[m], population[1:]) for m in range(population.size)]  # noqa: B023
    return [Member(int(population.seeds[m]), own[m][0], int(epochs[m]), own[m][1]) for m in range(population.size)]
