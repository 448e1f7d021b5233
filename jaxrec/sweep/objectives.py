"""Objectives and constraints of a search: validation metrics, training time, size and latency of a trial."""

import math
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from optuna.study import Study
from optuna.trial import FrozenTrial

from jaxrec.errors import InputError
from jaxrec.metric_names import larger_is_better

COSTS = ("train_seconds", "n_parameters", "latency_ms")  # of a trial, besides validation metrics; smaller is better


class Constraint(NamedTuple):
    """A bound that a trial must keep to be the winner."""

    name: str
    is_lower: bool
    bound: float

    def __str__(self) -> str:
        return f"{self.name} {'>=' if self.is_lower else '<='} {self.bound:g}"

    def violation(self, value: float) -> float:
        """Return by how much a value is beyond the bound; positive if it is, infinite for NaN."""
        if math.isnan(value):
            return math.inf
        return self.bound - value if self.is_lower else value - self.bound


@dataclass(frozen=True)
class Goals:
    """Further objectives besides the monitored metric, and constraints.

    Attributes:
        objectives: names of the further objectives.
        constraints: bounds that the winner must keep.
    """

    objectives: Sequence[str] = ()
    constraints: Sequence[Constraint] = ()

    @property
    def directions(self) -> list[str]:
        """Direction of each further objective."""
        return ["minimize" if is_minimized(name) else "maximize" for name in self.objectives]

    @property
    def costs(self) -> set[str]:
        """Costs that are measured for each trial."""
        return {*self.objectives, *(each.name for each in self.constraints)}.intersection(COSTS)

    def values(self, attributes: Mapping[str, object]) -> list[float]:
        """Return the value of each further objective from the attributes of a trial."""
        return [measured(attributes, name) for name in self.objectives]

    def n_violated(self, attributes: Mapping[str, object]) -> int:
        """Return the number of constraints that a trial violates."""
        return sum(each.violation(measured(attributes, each.name)) > 0 for each in self.constraints)


def goals(objectives: Sequence[str], constraints: Sequence[str], monitor: str, metrics: Collection[str]) -> Goals:
    """Parse the settings of objectives and constraints.

    Args:
        objectives: names, the first of which is the monitored metric; none: that metric alone.
        constraints: texts such as `coverage@10 >= 0.2`.
        monitor: the monitored validation metric.
        metrics: all validation metrics.

    Raises:
        InputError: an unknown name or a malformed constraint.
    """
    available = (*metrics, *COSTS)
    for name in objectives:
        _check_name("sweep.objectives", name, available)
    if objectives and objectives[0] != monitor:
        raise InputError(
            f"sweep.objectives={list(objectives)}: the first must be eval.monitor, {monitor}, by which trials are "
            f"stopped and the winner is chosen: put {monitor} first, or set eval.monitor"
        )
    if twice := [name for name in objectives if list(objectives).count(name) > 1]:
        raise InputError(f"sweep.objectives has {twice[0]} twice: remove one")
    return Goals(tuple(objectives[1:]), tuple(_constraint(text, available) for text in constraints))


def is_minimized(name: str) -> bool:
    """Return whether smaller values of an objective are better."""
    return name in COSTS or not larger_is_better(name)


def measured(attributes: Mapping[str, object], name: str) -> float:
    """Return the value of a metric or cost from the attributes of a trial; NaN if it is missing."""
    value = attributes.get("seconds" if name == "train_seconds" else name)
    return float(value) if isinstance(value, int | float) else math.nan


def value_of(trial: FrozenTrial) -> float | None:
    """Return the first objective of a trial; None if it has none."""
    return None if trial.values is None else trial.values[0]


def is_feasible(trial: FrozenTrial) -> bool:
    """Return whether a trial violates no constraint."""
    return all(violation <= 0 for violation in trial.constraints.values())


def violated(trial: FrozenTrial) -> list[str]:
    """Return the constraints that a trial violates."""
    return [text for text, violation in trial.constraints.items() if violation > 0]


def objectives_of(study: Study) -> list[str]:
    """Return the names of all objectives of a study with several; empty for one objective."""
    return list(study.user_attrs.get("objectives") or [])


def front(study: Study) -> list[FrozenTrial]:
    """Return the Pareto front: feasible trials that no other exceeds in one objective without losing in another.

    Of equal parameters the first trial is returned. Empty for a study with one objective.
    """
    if len(study.directions) == 1:
        return []
    found = [trial for trial in study.best_trials if "same_as" not in trial.user_attrs]
    return sorted(found, key=lambda trial: trial.number)


def _constraint(text: str, available: Sequence[str]) -> Constraint:
    found = re.fullmatch(r"\s*(\S.*?)\s*(>=|<=)\s*(\S+)\s*", str(text))
    try:
        bound = float(found[3]) if found else math.nan
    except ValueError:
        bound = math.nan
    if found is None or not math.isfinite(bound):
        raise InputError(
            f"sweep.constraints: {text!r} is not a constraint: write a name, >= or <=, and a number, e.g. "
            "'coverage@10 >= 0.2' or 'train_seconds <= 60'"
        )
    _check_name("sweep.constraints", found[1], available)
    return Constraint(found[1], found[2] == ">=", bound)


def _check_name(key: str, name: str, available: Sequence[str]) -> None:
    if name not in available:
        raise InputError(f"{key}: {name} is not measured; choose one of {', '.join(available)}")
