"""What a person at the terminal sees: bars there, plain lines in a file or a pipe."""

import time
from types import TracebackType
from typing import Any

import pandas as pd
from rich import box
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from jaxrec.metric_names import larger_is_better
from jaxrec.settings import Tree, get

console = Console(highlight=False, soft_wrap=True)
SECONDS_BETWEEN_LINES = 10
UNBOUNDED = 100_000  # columns


def say(line: str) -> None:
    """One line."""
    console.print(line, markup=False)


def table(title: str, frame: pd.DataFrame) -> None:
    """A frame as a table."""
    print_table(console, as_table(title, frame))


def print_table(to: Console, shown: Table) -> None:
    """A table as wide as it is where there is no terminal; nothing is folded in a file or a pipe."""
    before = to.width
    if not to.is_terminal:
        to.width = UNBOUNDED
    to.print(shown)
    to.width = before


def as_table(title: str, frame: pd.DataFrame) -> Table:
    """Numbers to the right, text whole: what is too long for the terminal is folded, never cut."""
    shown = Table(title=title or None, title_justify="left", box=box.SIMPLE_HEAD)
    for column in frame.columns:
        numeric = pd.api.types.is_numeric_dtype(frame[column])
        shown.add_column(str(column), justify="right" if numeric else "left", overflow="fold")
    for row in frame.itertuples(index=False):
        shown.add_row(*(_text(cell) for cell in row))
    return shown


def _text(cell: Any) -> str:
    if cell is None or cell is pd.NaT or (isinstance(cell, float) and cell != cell):
        return ""
    return f"{cell:.4g}" if isinstance(cell, float) else str(cell).replace("[", r"\[")


class Epochs:
    """Shows training as it goes: pass it as `on_epoch`, inside `with`, which ends the bar however training ends."""

    def __init__(self, tree: Tree) -> None:
        self.total, self.monitor = get(tree, "trainer.epochs"), get(tree, "eval.monitor")
        self.bar = None
        self.last_line = time.monotonic()
        if console.is_terminal:
            columns = (
                TextColumn("epoch"),
                MofNCompleteColumn(),
                BarColumn(),
                TimeElapsedColumn(),
                TimeRemainingColumn(),
                TextColumn("{task.description}"),
            )
            self.bar = Progress(*columns, console=console, transient=True)

    def __enter__(self) -> "Epochs":
        if self.bar is not None:
            self.bar.start()
            self.bar.add_task("compiling", total=self.total)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.bar is not None:
            self.bar.stop()

    def __call__(self, epoch: int, rows: list[dict[str, Any]]) -> None:
        """One row a member; empty for one that has stopped."""
        line = self._line(rows)
        if self.bar is not None:
            self.bar.update(self.bar.tasks[0].id, completed=epoch, description=line)
        elif time.monotonic() - self.last_line > SECONDS_BETWEEN_LINES:
            self.last_line = time.monotonic()
            say(f"  epoch {epoch} of {self.total}: {line}")

    def _line(self, rows: list[dict[str, Any]]) -> str:
        live = [row for row in rows if row]
        losses = [row["loss"] for row in live]
        scores = [row[self.monitor] for row in live if self.monitor in row]
        best = max if larger_is_better(self.monitor) else min
        parts = [f"loss {min(losses):.4f}"] if losses else []
        parts += [f"validation {self.monitor} {best(scores):.4f}"] if scores else []
        parts += [f"{len(live)} of {len(rows)} members"] if len(rows) > 1 else []
        return ", ".join(parts)


def fit_line(history: list[dict[str, Any]], best_epoch: int, epochs: int, monitor: str, interrupted: bool) -> str:
    """How the training of one member ended: epochs, why it stopped, the best epoch and what it reached."""
    if not history:
        return ""
    trained = history[-1]["epoch"]
    parts = [f"trained {trained} of {epochs} epochs"]
    if interrupted:
        parts.append("interrupted")
    elif trained < epochs:
        parts.append("stopped early, validation no longer improved")
    kept = next((row for row in history if row["epoch"] == best_epoch), {})
    score = f", validation {monitor} {kept[monitor]:.4g}" if monitor in kept else ""
    parts.append(f"best epoch {best_epoch}{score}")
    return f"{'; '.join(parts)}; {sum(row['seconds'] for row in history):.1f} s"
