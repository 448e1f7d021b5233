"""Grid runs: every combination once; combinations that differ only in traced numbers train as one population."""

import json
import shutil
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path

import pandas as pd

from jaxrec import experiment, rundir, settings
from jaxrec.atomic_files import remove_mark, write_text
from jaxrec.console import say, say_results, table
from jaxrec.data.splits.split import Split
from jaxrec.errors import InputError, named
from jaxrec.experiment import Result
from jaxrec.finished import GRID_FILE
from jaxrec.fitting.population import Population
from jaxrec.fitting.saved_slots import STATES, SavedSlots
from jaxrec.launch.seeds import means_table, shown_means
from jaxrec.launch.single import select
from jaxrec.launch.terminal_tables import say_data, say_undefined, shown_keys
from jaxrec.machine import use_all_cores
from jaxrec.report.grid_report import Row, by_validation, grid_report, runs_table
from jaxrec.settings import Tree
from jaxrec.sweep.storage import SWEEPS


def grid(
    combinations: list[tuple[Tree, list[str]]], directory: Path | None, overwrite: bool = False
) -> list[Result | None]:
    """Train every combination once; combinations that one program can train form one population.

    All are validated before the first is trained. A failed combination is reported, and is None in the results.

    Args:
        combinations: configuration and overrides of each combination.
        directory: output directory; None for a new one under outputs/sweeps.
        overwrite: replace an earlier grid in `directory`.

    Returns:
        One result per combination, None for failed ones.

    Raises:
        InputError: an invalid combination, or all combinations failed.
    """
    trees = [tree for tree, _ in combinations]
    rows = [Row(" ".join(overrides) or "run") for _, overrides in combinations]
    for row, tree in zip(rows, trees, strict=True):
        with named(row.overrides if len(trees) > 1 else ""):
            settings.check(tree)
    if directory is not None:
        rundir.check_empty(directory, overwrite, "grid")
    use_all_cores()
    splits: dict[str, tuple[Split, float]] = {}
    groups = list(settings.populations(trees))
    for positions, shared, _ in groups:
        if (key := _data_of(shared)) not in splits:
            splits[key] = experiment.prepare(shared)
            say_data(splits[key][0])
        with named(rows[positions[0]].overrides if len(trees) > 1 else ""):
            experiment.check(shared, splits[key][0].selection)
    directory = rundir.make(directory or SWEEPS / f"grid-{datetime.now():%Y%m%d-%H%M%S}")
    with rundir.exclusive(directory):
        return _train(groups, splits, trees, rows, directory)


def _train(
    groups: Sequence[tuple[list[int], Tree, Population]],
    splits: Mapping[str, tuple[Split, float]],
    trees: Sequence[Tree],
    rows: list[Row],
    directory: Path,
) -> list[Result | None]:
    """Train the populations of a grid, and write its tables and reports."""
    remove_mark(directory / GRID_FILE)  # of a grid that is replaced
    for positions, shared, population in groups:
        split, load_s = splits[_data_of(shared)]
        say(" | ".join(rows[p].overrides for p in positions))
        own = [trees[position] for position in positions]
        # The training states of every group are saved: a grid that was killed is continued by the same command
        saved = rundir.saved_slots(directory / STATES / str(positions[0]), own, split.selection, saves_results=True)
        outcomes, interrupted = _outcomes(shared, split, population, saved, load_s)
        for position, outcome in zip(positions, outcomes, strict=True):
            name = rows[position].overrides
            if isinstance(outcome, str):
                rows[position] = Row(name, error=outcome)
                say(f"failed: {name}: {outcome}")
            else:
                rows[position] = Row(name, outcome)
                rundir.write(directory / str(position), trees[position], outcome)
        if interrupted:
            say(f"finished runs: {directory}")
            raise KeyboardInterrupt
    if all(row.result is None for row in rows):
        raise InputError("; ".join(f"{row.overrides}: {row.error}" for row in rows))
    _conclude(rows, trees, splits, directory)
    return [row.result for row in rows]


def _outcomes(
    shared: Tree, split: Split, population: Population, saved: SavedSlots, load_s: float
) -> tuple[Sequence[Result | str], bool]:
    """Train a population; return the result or the error of each member, and whether it was interrupted."""
    try:
        selected = select(shared, split, population, saved)
    except InputError as error:
        return [str(error)] * population.size, False
    return experiment.finish_each(shared, split, selected, load_s), selected.fit.interrupted


def _conclude(
    rows: Sequence[Row], trees: Sequence[Tree], splits: Mapping[str, tuple[Split, float]], directory: Path
) -> None:
    """Write and print the tables of a grid, and write its report."""
    tree, first = next((tree, row.result) for tree, row in zip(trees, rows, strict=True) if row.result is not None)
    baseline = experiment.popularity_on_validation(tree, splits[_data_of(tree)][0].selection)
    popularity = {"validation": baseline, "test": first.metrics["popularity"]}
    runs = runs_table(rows, popularity if len(splits) == 1 else {})
    monitors = {tree["eval"]["monitor"] for tree in trees}
    n_data = len({_data_of(settings.without_replica(tree)) for tree in trees})
    monitor = monitors.pop() if len(monitors) == 1 and n_data == 1 else None
    means = by_validation(means_table(rows, trees), monitor)
    write_text(directory / "report.html", grid_report(directory.name, runs, monitor, first.known.name, means))
    if len(means):
        write_text(directory / "seeds.csv", means.to_csv(index=False))
    write_text(directory / GRID_FILE, runs.to_csv(index=False))
    shutil.rmtree(directory / STATES, ignore_errors=True)
    _print(runs, means, monitor, shown_keys(first.metrics["test"]), directory)
    say_undefined([row.result for row in rows if row.result is not None])
    say_results(directory)


def _print(runs: pd.DataFrame, means: pd.DataFrame, monitor: str | None, keys: Sequence[str], directory: Path) -> None:
    """Print the runs, best validation first, and the means over seeds."""
    parts = "validation", "test"
    columns = [c for c in ("run", "overrides", *(f"{p}_{key}" for p in parts for key in keys)) if c in runs]
    ranked = by_validation(runs[runs.state != "failed"][columns], monitor)
    essential = ["run", "overrides", *(c for c in (f"{p}_{monitor}" for p in parts) if c in runs)]
    narrow = ranked[essential if len(essential) > 2 else columns[:4]]
    title = f"by validation {monitor}" if monitor else "runs"
    table(title, narrow=narrow, frame=ranked, rest=str(directory / GRID_FILE))
    if len(means):
        over = "folds and seeds" if "folds" in means else "seeds"
        table(f"means over {over}", shown_means(means, monitor), rest=str(directory / "seeds.csv"))


def _data_of(tree: Tree) -> str:
    return json.dumps([tree["data"], tree["split"]], default=str)
