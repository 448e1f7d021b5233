"""Progress display of a search: a bar and a table of the running trials on a terminal, else plain lines."""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Self

import pandas as pd
from optuna.trial import FrozenTrial, TrialState
from rich.console import Group, RenderableType
from rich.progress import TimeElapsedColumn

from jaxrec.console import ProgressDisplay, as_table, duration, say
from jaxrec.sweep.objectives import value_of
from jaxrec.sweep.outcome import STOPPED, Progress
from jaxrec.sweep.plan import UNLIMITED, Plan
from jaxrec.sweep.pruning import Pruning
from jaxrec.sweep.runner import SlotRunner
from jaxrec.sweep.trials import best_params, shown_params

RESERVED_LINES = 8  # lines of a terminal that are kept for everything but the running trials


class SearchProgress(ProgressDisplay):
    """Progress display of a search: pass `tell` as `on_tell` and `show` as `on_round`, inside a `with` block.

    Args:
        in_training: returns the running trials.
        pruning: when trials are ended early.
        minimize: whether smaller values are better.
        starting: what is done before the first round.
    """

    def __init__(
        self,
        in_training: Callable[[], Sequence[Progress]] = list,
        pruning: Pruning | None = None,
        minimize: bool = False,
        starting: str = "compiling",
    ) -> None:
        self.in_training, self.pruning, self.sign = in_training, pruning or Pruning(), -1 if minimize else 1
        self.start: tuple[float, int] | None = None
        self.running: list[Progress] = []
        self.best: tuple[int, float | None] = 0, None  # number and value
        super().__init__("trial", None, starting, (TimeElapsedColumn(),))

    @classmethod
    def of(cls, plan: Plan, runner: SlotRunner) -> Self:
        """Return the display of a search that trains in this process."""
        return cls(lambda: runner.in_training, plan.pruning, plan.direction == "minimize")

    def tell(self, trial: FrozenTrial) -> None:
        """Print a finished trial."""
        if trial.state == TrialState.COMPLETE:
            number, value = self.best
            self.best = max((number, value), (trial.number, trial.values[0]), key=lambda each: self._larger(each[1]))
        say(trial_line(trial))

    def _larger(self, value: float | None) -> float:
        """Return the value with its sign changed if smaller values are better; None is the worst."""
        return -math.inf if value is None else self.sign * value

    def show(self, finished: int, running: int, total: int) -> None:
        """Update the display before a round."""
        now = time.monotonic()
        started, initial = self.start = self.start or (now, finished)
        line, counted = f"{running} running", f"{finished} of {total} trials"
        if total >= UNLIMITED:
            self.total, counted = None, f"{finished} trials"
        else:
            self.total = total
            if finished > initial:
                line += f", about {duration((now - started) / (finished - initial) * (total - finished))} left"
        self.running = list(self.in_training())
        self.update(finished, line, f"  {counted} finished, {line}{self._leader()}")

    def _leader(self) -> str:
        """Return the best of the running trials, for a line of text; empty before the first validation."""
        best = max(self.running, key=lambda step: self._larger(step.value), default=None)
        if best is None or best.value is None:
            return ""
        return f"; best of them: trial {best.number}, {best.value:.4g} at epoch {best.epoch}"

    def shown(self) -> RenderableType:
        """Return the bar, the best trial so far, and the running trials, best first."""
        parts = [super().shown()]
        number, value = self.best
        if value is not None:
            parts.append(f"best so far: trial {number}, {value:.4g}")
        if self.running:
            room = max(1, self.live.console.height - RESERVED_LINES)
            parts.append(as_table("", self.table.head(room)))
            if len(self.running) > room:
                parts.append(f"  and {len(self.running) - room} more")
        return Group(*parts)

    @property
    def table(self) -> pd.DataFrame:
        """The running trials, best first: trial, epoch, value, and the last rung of a pruner with rungs."""
        rows = [
            {
                "trial": step.number,
                "epoch": f"{step.epoch} of {self.pruning.epochs}" if self.pruning.epochs > 1 else str(step.epoch),
                "best value": step.value,
                "rung": self.pruning.rung(step.epoch),
            }
            for step in sorted(self.running, key=lambda step: self._larger(step.value), reverse=True)
        ]
        return pd.DataFrame(rows).dropna(axis="columns", how="all")


def copies_line(epoch: int, best: float, parents: Mapping[int, int]) -> str:
    """Format the copies in a population after an epoch."""
    copies = ", ".join(f"trial {number} copies {parent}" for number, parent in parents.items())
    return f"  epoch {epoch}: best {best:.4g}; {copies}"


def trial_line(trial: FrozenTrial) -> str:
    """Format number, value, parameters and epochs of a finished trial."""
    value = trial.state.name.lower() if value_of(trial) is None else f"{value_of(trial):.4g}"
    if trial.state == TrialState.PRUNED:
        value = f"pruned at {value}, epoch {trial.last_step}" if value_of(trial) is not None else value
    if STOPPED in trial.user_attrs:
        value = f"{value}, stopped at epoch {trial.user_attrs['epochs']}"
    return f"  trial {trial.number}: {value}  {shown_params(best_params(trial))}"
