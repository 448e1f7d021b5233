"""Every combination of a grid once, as populations where one program can train several."""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

from jaxrec import experiment, rundir, settings
from jaxrec.checkpoint import write_text
from jaxrec.console import say, table
from jaxrec.data.splits.split import Split
from jaxrec.errors import InputError
from jaxrec.experiment import Result
from jaxrec.launch.shown import say_data, say_undefined, shown_keys
from jaxrec.launch.single import select
from jaxrec.machine import use_all_cores
from jaxrec.report.grid_report import Row, by_validation, grid_report, runs_table
from jaxrec.settings import Tree
from jaxrec.sweep.storage import SWEEPS


def grid(
    combinations: list[tuple[Tree, list[str]]], directory: Path | None, overwrite: bool = False
) -> list[Result | None]:
    """Every combination once; those that one program can train are one population.

    All are checked before the first is trained. One that fails is named, and None in the results; the others are kept.
    Raises an InputError where all fail.
    """
    trees = [tree for tree, _ in combinations]
    rows = [Row(" ".join(chosen) or "run") for _, chosen in combinations]
    for row, tree in zip(rows, trees, strict=True):
        with _named(row, trees):
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
        with _named(rows[positions[0]], trees):
            experiment.check(shared, splits[key][0].selection)
    directory = rundir.make(directory or SWEEPS / f"grid-{datetime.now():%Y%m%d-%H%M%S}")
    for positions, shared, population in groups:
        split, load_s = splits[_data_of(shared)]
        say(" | ".join(rows[p].overrides for p in positions))
        try:
            selected = select(shared, split, population)
        except InputError as error:
            outcomes: list[Result | str] = [str(error)] * len(positions)
            interrupted = False
        else:
            outcomes = experiment.finish_each(shared, split, selected, load_s)
            interrupted = selected.fit.interrupted
        for position, outcome in zip(positions, outcomes, strict=True):
            name = rows[position].overrides
            if isinstance(outcome, str):
                rows[position] = Row(name, error=outcome)
                say(f"failed: {name}: {outcome}")
            else:
                rows[position] = Row(name, outcome)
                rundir.write(directory / str(position), trees[position], outcome)
        if interrupted:
            say(f"what was finished is in {directory}")
            raise KeyboardInterrupt
    results = [row.result for row in rows]
    first = next((i for i, result in enumerate(results) if result is not None), None)
    if first is None:
        raise InputError("; ".join(f"{row.overrides}: {row.error}" for row in rows))
    tree, found = trees[first], rows[first].result
    assert found is not None
    baseline = experiment.popularity_on_validation(tree, splits[_data_of(tree)][0].selection)
    runs = runs_table(rows, {"validation": baseline, "test": found.metrics["popularity"]})
    monitors = {tree["eval"]["monitor"] for tree in trees}
    monitor = monitors.pop() if len(monitors) == 1 and len(splits) == 1 else None
    write_text(directory / "runs.csv", runs.to_csv(index=False))
    write_text(directory / "report.html", grid_report(directory.name, runs, monitor, found.known.name))
    keys = shown_keys(found.metrics["test"])
    shown = [
        c for c in ("run", "overrides", *(f"{p}_{key}" for p in ("validation", "test") for key in keys)) if c in runs
    ]
    ranked = by_validation(runs[runs.state != "failed"][shown], monitor)
    essential = ["run", "overrides", *(c for c in (f"{p}_{monitor}" for p in ("validation", "test")) if c in runs)]
    narrow = ranked[essential if len(essential) > 2 else shown[:4]]
    table(
        f"by validation {monitor}" if monitor else "runs", narrow=narrow, frame=ranked, rest=str(directory / "runs.csv")
    )
    say_undefined([result for result in results if result is not None])
    say(f"results: {directory}")
    return results


@contextmanager
def _named(row: Row, trees: Sequence[Tree]) -> Iterator[None]:
    """Errors say which combination they are about, where there are several."""
    try:
        yield
    except InputError as error:
        raise InputError(f"{row.overrides}: {error}" if len(trees) > 1 else str(error)) from error


def _data_of(tree: Tree) -> str:
    return json.dumps([tree["data"], tree["split"]], default=str)
