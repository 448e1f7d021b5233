"""Terminal output: progress bars on a terminal, plain lines in a file or a pipe."""

import logging
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

import pandas as pd
from rich import box
from rich.console import Console, RenderableType
from rich.live import Live
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table

from jaxrec.fitting.epochs import Fit
from jaxrec.metric_names import larger_is_better
from jaxrec.settings import Tree, get

console = Console(highlight=False, soft_wrap=True)
SECONDS_BETWEEN_LINES = 10
UNBOUNDED = 100_000  # columns


def show_warnings() -> None:
    """Let warnings of jaxrec through, which Hydra's configuration of logging silences."""
    logging.getLogger("jaxrec").setLevel(logging.WARNING)
    for name in list(logging.root.manager.loggerDict):
        if name.startswith("jaxrec"):
            logging.getLogger(name).disabled = False


@contextmanager
def silent(is_silent: bool = True) -> Iterator[None]:
    """Print nothing while in context."""
    before, console.quiet = console.quiet, is_silent
    try:
        yield
    finally:
        console.quiet = before


def say(line: str) -> None:
    """Print one line."""
    console.print(line, markup=False)


def say_results(path: Path, note: str = "") -> None:
    """Print where the results are, relative to the working directory if they are inside."""
    here = Path.cwd()
    say(f"results: {path.relative_to(here) if path.is_relative_to(here) else path}{note}")


def table(
    title: str, frame: pd.DataFrame, narrow: pd.DataFrame | None = None, rest: str = "", to: Console | None = None
) -> None:
    """Print a frame as a table, at full width if the output is not a terminal.

    Args:
        title: title of the table.
        frame: the table.
        narrow: replacement if the table is wider than the terminal.
        rest: file with the columns missing in `narrow`.
        to: the console to print to; None: the console of the process.
    """
    to = to or console
    full, width = as_table(title, frame), to.width
    if not to.is_terminal:
        to.width = UNBOUNDED
    is_narrow = (
        narrow is not None and full.__rich_measure__(to, to.options.update(max_width=UNBOUNDED)).maximum > to.width
    )
    to.print(as_table(title, narrow) if is_narrow and narrow is not None else full)
    to.width = width
    if is_narrow and rest:
        to.print(f"  all columns: {rest}", markup=False, highlight=False, soft_wrap=True)


def as_table(title: str, frame: pd.DataFrame) -> Table:
    """Build a table; numbers are right-aligned and never wrap, text wraps on narrow terminals and is never cut."""
    result = Table(title=title or None, title_justify="left", box=box.SIMPLE_HEAD)
    for column in frame.columns:
        numeric = pd.api.types.is_numeric_dtype(frame[column])
        result.add_column(str(column), justify="right" if numeric else "left", overflow="fold", no_wrap=numeric)
    for row in frame.itertuples(index=False):
        result.add_row(*(_text(cell) for cell in row))
    return result


def _text(cell: object) -> str:
    if cell is None or cell is pd.NaT or (isinstance(cell, float) and cell != cell):
        return ""
    return f"{cell:.4g}" if isinstance(cell, float) else str(cell).replace("[", r"\[")


class ProgressDisplay:
    """Progress bar on a terminal, else a line every `SECONDS_BETWEEN_LINES`; use it in a `with` block.

    Args:
        unit: what is counted.
        total: how many there will be; None: not known yet.
        starting: what is done before the first is counted.
        columns: columns between the bar and the description.
    """

    def __init__(self, unit: str, total: int | None, starting: str, columns: Sequence[ProgressColumn]) -> None:
        self.total, self.starting, self.bar = total, starting, None
        self.last_line = time.monotonic()
        self.live = Live(console=console, get_renderable=self.shown, transient=True)
        if console.is_terminal and not console.quiet:
            parts = TextColumn(unit), MofNCompleteColumn(), BarColumn(), *columns, TextColumn("{task.description}")
            self.bar = Progress(*parts, console=console)

    def __enter__(self) -> Self:
        if self.bar is not None:
            self.bar.add_task(self.starting, total=self.total)
            self.live.start(refresh=True)
        else:
            say(f"  {self.starting} ...")
        return self

    def shown(self) -> RenderableType:
        """Return what a terminal shows now."""
        return self.bar or ""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.live.stop()

    def update(self, completed: int, description: str, line: str) -> None:
        """Update the bar, or print `line` if it is time for one."""
        if self.bar is not None:
            self.bar.update(self.bar.tasks[0].id, completed=completed, total=self.total, description=description)
        elif time.monotonic() - self.last_line > SECONDS_BETWEEN_LINES:
            self.last_line = time.monotonic()
            say(line)


class EpochProgress(ProgressDisplay):
    """Training progress display: pass it as `on_epoch`, inside a `with` block that closes the progress bar."""

    def __init__(self, tree: Tree) -> None:
        total, self.monitor = get(tree, "trainer.epochs"), get(tree, "eval.monitor")
        starting = "compiling" if total else "fitting"
        super().__init__("epoch", total, starting, (TimeElapsedColumn(), TimeRemainingColumn()))

    def __call__(self, epoch: int, rows: list[dict[str, float]]) -> None:
        """Update the display with one row per member; empty for members that have stopped."""
        line = self._line(rows)
        self.update(epoch, line, f"  epoch {epoch} of {self.total}: {line}")

    def _line(self, rows: list[dict[str, float]]) -> str:
        live = [row for row in rows if row]
        losses = [row["loss"] for row in live]
        scores = [row[self.monitor] for row in live if self.monitor in row]
        best = max if larger_is_better(self.monitor) else min
        parts = [f"loss {min(losses):.4f}"] if losses else []
        parts += [f"validation {self.monitor} {best(scores):.4f}"] if scores else []
        parts += [f"{len(live)} of {len(rows)} members"] if len(rows) > 1 else []
        return ", ".join(parts)


def duration(seconds: float) -> str:
    """Format seconds in the two largest relevant units.

    Example:
        >>> duration(4000)
        '1 h 7 min'
    """
    if seconds < 59.5:
        return f"{seconds:.0f} s"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min"


def fit_line(fit: Fit, epochs: int, monitor: str) -> str:
    """Summarize a fit: epochs, stop reason, best epoch and its validation metric, seconds.

    For a population, show the range of numbers and the best metric; diverged members are only counted.
    """
    total, compiling = fit.compile_s + fit.train_s + fit.validate_s, f" ({fit.compile_s:.1f} s compiling)"
    seconds = f"{total:.1f} s{compiling if fit.compile_s >= 0.05 else ''}"
    several = len(fit.history) > 1
    good = [m for m, rows in enumerate(fit.history) if rows and not fit.diverged[m]]
    n_diverged = sum(fit.diverged)
    if not any(fit.history):
        return f"{'interrupted in the first epoch' if fit.interrupted else 'fitted'}; {seconds}"
    trained = [fit.history[m][-1]["epoch"] for m in good]
    parts = [f"trained {f'{len(fit.history)} members, ' if several else ''}{_span(trained)} of {epochs} epochs"]
    stopped = sum(n < epochs for n in trained)
    if fit.interrupted:
        parts.append("interrupted")
    elif stopped:
        parts.append(f"{f'{stopped} ' if several else ''}stopped early (no validation improvement)")
    if n_diverged:
        parts.append(f"{n_diverged} diverged" if several else "diverged")
    if good:
        kept = [fit.best_epoch[m] for m in good]
        reached = [
            row[monitor] for m in good for row in fit.history[m] if row["epoch"] == fit.best_epoch[m] and monitor in row
        ]
        best = max if larger_is_better(monitor) else min
        score = f", {'best ' if several else ''}validation {monitor} {best(reached):.4g}" if reached else ""
        parts.append(f"best epoch{'s' if len(set(kept)) > 1 else ''} {_span(kept)}{score}")
    return f"{'; '.join(parts)}; {seconds}"


def _span(numbers: Sequence[float]) -> str:
    """Format a range of numbers, e.g. `3` or `3 to 5`."""
    return " to ".join(map(str, dict.fromkeys((int(min(numbers, default=0)), int(max(numbers, default=0))))))
