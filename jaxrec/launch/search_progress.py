"""Progress display of a search: a bar on a terminal, plain lines in a file or a pipe."""

import time
from collections.abc import Mapping

from optuna.trial import FrozenTrial, TrialState
from rich.progress import TimeElapsedColumn

from jaxrec.console import ProgressDisplay, duration, say
from jaxrec.sweep.trials import best_params, shown_params
from jaxrec.sweep.tuning import UNLIMITED


class SearchProgress(ProgressDisplay):
    """Progress display of a search: pass `tell` as `on_tell` and `show` as `on_round`, inside a `with` block."""

    def __init__(self, starting: str = "compiling") -> None:
        super().__init__("trial", None, starting, (TimeElapsedColumn(),))
        self.start: tuple[float, int] | None = None

    def tell(self, trial: FrozenTrial) -> None:
        """Print a finished trial."""
        say(trial_line(trial))

    def show(self, finished: int, running: int, total: int) -> None:
        """Update the display before a round."""
        now = time.monotonic()
        started, initial = self.start = self.start or (now, finished)
        line = f"{running} running"
        if total >= UNLIMITED:
            self.total = None
            self.update(finished, line, f"  {finished} trials finished, {line}")
            return
        if finished > initial:
            line += f", about {duration((now - started) / (finished - initial) * (total - finished))} left"
        self.total = total
        self.update(finished, line, f"  {finished} of {total} trials finished, {line}")


def copies_line(epoch: int, best: float, parents: Mapping[int, int]) -> str:
    """Format the copies in a population after an epoch."""
    copies = ", ".join(f"trial {number} copies {parent}" for number, parent in parents.items())
    return f"  epoch {epoch}: best {best:.4g}; {copies}"


def trial_line(trial: FrozenTrial) -> str:
    """Format number, value, parameters and epochs of a finished trial."""
    value = trial.state.name.lower() if trial.value is None else f"{trial.value:.4g}"
    if trial.state == TrialState.PRUNED:
        value = f"pruned at {value}, epoch {trial.last_step}" if trial.value is not None else value
    return f"  trial {trial.number}: {value}  {shown_params(best_params(trial))}"
