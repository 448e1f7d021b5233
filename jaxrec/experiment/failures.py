"""Reasons why members of a population failed."""

import math
from collections.abc import Sequence

import numpy as np

from jaxrec.experiment.training import Selected
from jaxrec.fitting.population import Population
from jaxrec.fitting.saved_slots import EpochRow

DIVERGED = "training diverged: decrease optimizer.learning_rate, or limit gradients by optimizer.clip_norm"
UNDEFINED = "the validation metric eval.monitor is undefined on this data: choose another eval.monitor"


def failure(selected: Selected, member: int) -> str | None:
    """Return why a member failed: divergence or an undefined monitor metric; None if it did not."""
    history, validation = selected.fit.history[member], selected.validation[member]
    if selected.fit.diverged[member]:
        return failure_of(history) if history else "interrupted before its first epoch"
    if validation and not any(map(math.isfinite, validation.values())):
        return DIVERGED
    return None


def failure_of(history: Sequence[EpochRow]) -> str:
    """Return why no epoch of a member had a finite loss and score."""
    row = next((row for row in history if math.isfinite(row["loss"])), None)
    if row is not None and _only_monitor_missing(row):
        return UNDEFINED
    last = history[-1]
    return f"{DIVERGED} (loss {last['loss']:g} in epoch {last['epoch']})"


def _only_monitor_missing(row: EpochRow) -> bool:
    metrics = [value for key, value in row.items() if key not in ("epoch", "loss", "seconds")]
    return any(map(math.isnan, metrics)) and any(map(math.isfinite, metrics))


def numbers_of_member(population: Population, member: int) -> str:
    """Return the numbers of a member that differ from those of others, as text."""
    values = {path: np.asarray(value) for path, value in population.hyper.numbers.items()}
    own = [f"{path}={value[member]:g}" for path, value in values.items() if len(np.unique(value)) > 1]
    return f", member {member}: {', '.join(own)}" if own else ""
