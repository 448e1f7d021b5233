"""Finished runs on disk: where the runs of a run, search, grid or several seeds are."""

import re
from pathlib import Path
from typing import Any

import pandas as pd

from jaxrec.atomic_files import read_json
from jaxrec.errors import InputError

SEEDS_FILE = "seeds.json"  # summary of a run with several seeds, written last
GRID_FILE = "runs.csv"  # table of a grid, written last


def finished_run(directory: Path) -> Path:
    """Return the directory of the run to load: itself, `best` of a search, or the seed that is best on validation.

    `metrics.json`, written last, marks a finished run.

    Raises:
        InputError: the directory holds a grid, of which no run is the best for every purpose.
    """
    if (directory / "metrics.json").exists():
        return directory
    if (directory / "best" / "metrics.json").exists():
        return directory / "best"
    if (directory / SEEDS_FILE).exists():
        return directory / f"seed-{_seeds(directory)['best']}"
    if (directory / GRID_FILE).exists() and (runs := _of_grid(directory)):
        raise InputError(f"{directory} holds the {len(runs)} runs of a grid: name one of them, e.g. {runs[0][1]}")
    return directory


def finished_runs(directory: Path) -> list[tuple[str, Path]]:
    """Return name and directory of every run to compare: all seeds, the complete runs of a grid, or one run.

    Runs that differ only in their seed or fold have the same name: the directory, or in a grid the other overrides.
    """
    if not (directory / "metrics.json").exists():
        if (directory / SEEDS_FILE).exists():
            return [(str(directory), directory / f"seed-{seed}") for seed in _seeds(directory)["seeds"]]
        if (directory / GRID_FILE).exists():
            return _of_grid(directory)
    return [(str(directory), finished_run(directory))]


def in_all_runs(overrides: str) -> str:
    """Return overrides without those of the seed and of the fold, in which the runs of a setting differ."""
    return re.sub(r"(^| )(seed|split\.fold)=\d+(?= |$)", "", overrides).strip()


def _seeds(directory: Path) -> dict[str, Any]:
    summary = read_json(directory / SEEDS_FILE)
    if not isinstance(summary, dict) or not {"best", "seeds"} <= summary.keys():
        raise InputError(f"{directory / SEEDS_FILE} has no keys best and seeds: train again with seeds=N")
    seeds = summary["seeds"]
    if not isinstance(seeds, list) or not all(type(seed) is int for seed in [*seeds, summary["best"]]):
        raise InputError(f"{directory / SEEDS_FILE} has seeds that are not integers: train again with seeds=N")
    return summary


def _of_grid(directory: Path) -> list[tuple[str, Path]]:
    file = directory / GRID_FILE
    try:
        table = pd.read_csv(file, dtype=str)
        complete = table[table["state"] == "complete"]
        names = [in_all_runs(str(text)) for text in complete["overrides"]]
        paths = [directory / path for path in complete["path"]]
        if outside := [path for path in paths if not path.resolve().is_relative_to(directory.resolve())]:
            raise ValueError(f"{outside[0]} is outside the folder")
        return [(name or str(directory), path) for name, path in zip(names, paths, strict=True)]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{file} is not the table of a grid: {' '.join(str(error).split())}") from error
