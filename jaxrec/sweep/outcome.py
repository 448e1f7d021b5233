"""Outcomes of trials, and the interface of what trains them."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal, NamedTuple, Protocol

from jaxrec.sweep.space import Values

FINAL = "final"  # attribute of a failure that training again would repeat, such as divergence
STOPPED = "stopped"  # attribute of a complete trial that trained for less than all epochs: what stopped it


@dataclass(frozen=True)
class Outcome:
    """Outcome of one trial.

    Args:
        value: the validation metric; None if there is none, e.g. for a failed trial.
        state: whether the trial finished, was stopped early (pruned), or failed.
        attributes: further JSON values to store: other metrics, best epoch, seconds; "error" is the failure message.
    """

    value: float | None
    state: Literal["complete", "pruned", "failed"] = "complete"
    attributes: Mapping[str, object] = field(default_factory=dict)

    @property
    def failure(self) -> str | None:
        """Reason this counts as a failure; None if it does not."""
        if self.state == "failed":
            return str(self.attributes.get("error", "no reason given"))
        if self.value is None:
            return None if self.state == "pruned" else "a complete trial without a value"
        return None if math.isfinite(self.value) else f"the value is {self.value}"


class Progress(NamedTuple):
    """State of a trial after a round.

    Attributes:
        number: number of the trial
        epoch: epochs trained
        value: best validation so far; None before the first
        outcome: outcome of a trial that has ended, else None
    """

    number: int
    epoch: int = 0
    value: float | None = None
    outcome: Outcome | None = None


class Runner(Protocol):
    """Trains trials side by side, see `sweep.runner.SlotRunner`."""

    def add(self, number: int, params: Values, trained: int = 0) -> None:
        """Start a trial.

        Args:
            number: number of the trial.
            params: its parameters.
            trained: epochs trained by a process that ended; they are repeated at the next `advance` without being
                reported. -1: the trial starts one round later.
        """

    def advance(self, seconds: float = math.inf) -> Iterable[Progress]:
        """Train one epoch of every trial; yield the progress of each, in order of numbers.

        Args:
            seconds: after these, no more trials without epochs are trained; those that are left are not yielded.
        """

    def prune(self, number: int) -> Outcome:
        """End a trial early and return its outcome."""

    def stop(self, number: int) -> Outcome | None:
        """End a trial with its best validation so far; None: it has none yet, and nothing changes."""

    def save(self, is_interrupted: bool) -> bool:
        """Save the trials in training between two rounds, if it is time or if interrupted; return whether it did."""
