"""Progress display of a search: a bar on a terminal, plain lines in a file or a pipe."""

import time
from types import TracebackType

from optuna.trial import FrozenTrial, TrialState
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from jaxrec.console import SECONDS_BETWEEN_LINES, console, duration, say
from jaxrec.sweep.trials import shown_params


class SearchProgress:
    """Progress display of a search: pass `tell` as `on_tell` and `show` as `on_round`, inside a `with` block."""

    def __init__(self) -> None:
        self.start: tuple[float, int] | None = None
        self.last_line = time.monotonic()
        self.bar = None
        if console.is_terminal:
            columns = (TextColumn("trial"), MofNCompleteColumn(), BarColumn(), TimeElapsedColumn())
            self.bar = Progress(*columns, TextColumn("{task.description}"), console=console, transient=True)

    def __enter__(self) -> "SearchProgress":
        if self.bar is not None:
            self.bar.start()
            self.bar.add_task("compiling", total=None)
        else:
            say("  compiling ...")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.bar is not None:
            self.bar.stop()

    def tell(self, trial: FrozenTrial) -> None:
        """Print a finished trial."""
        say(trial_line(trial))

    def show(self, finished: int, running: int, total: int) -> None:
        """Update the display before a round."""
        now = time.monotonic()
        started, initial = self.start = self.start or (now, finished)
        line = f"{running} running"
        if finished > initial:
            line += f", about {duration((now - started) / (finished - initial) * (total - finished))} left"
        if self.bar is not None:
            self.bar.update(self.bar.tasks[0].id, completed=finished, total=total, description=line)
        elif now - self.last_line > SECONDS_BETWEEN_LINES:
            self.last_line = now
            say(f"  {finished} of {total} trials finished, {line}")


def trial_line(trial: FrozenTrial) -> str:
    """Format number, value, parameters and epochs of a finished trial."""
    value = trial.state.name.lower() if trial.value is None else f"{trial.value:.4g}"
    if trial.state == TrialState.PRUNED:
        value = f"pruned at {value}, epoch {trial.last_step}" if trial.value is not None else value
    return f"  trial {trial.number}: {value}  {shown_params(trial.params)}"
