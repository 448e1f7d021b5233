"""Outputs of commands, in a form that can be compared."""

import hashlib
import json
import math
import os
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

TIMED = (  # columns that differ between equal runs
    *("seconds", "train_s", "compile_s", "evaluate_s", "load_s", "search_s", "latency_ms", "worker"),
)
LOCKS = (".lock", ".flock")
TEMPORARY = "temporary"

Contents = dict[str, object]  # name of a file → the part of its contents that is compared


def training(folder: Path) -> Contents:
    """Return the output of a finished `jaxrec train`, without times and process names."""
    found: Contents = {}
    for name, path in _files(folder).items():
        if path.name == "metrics.json":
            metrics = json.loads(path.read_text())
            found[name] = {key: value for key, value in metrics.items() if key not in ("time", "environment")}
        elif path.suffix == ".csv":
            table = pd.read_csv(path) if path.read_text().strip() else pd.DataFrame()  # a history without epochs
            found[name] = table[[column for column in table if column not in TIMED]].to_json()
        elif path.suffix in (".safetensors", ".parquet"):
            found[name] = hashlib.sha256(path.read_bytes()).hexdigest()
        elif path.name in ("best.yaml", "schedule.yaml"):
            found[name] = path.read_text().replace(str(folder), "FOLDER")
        elif path.suffix in (".yaml", ".html", ".json"):
            found[name] = "present"
    return found | dict.fromkeys(temporary(folder), TEMPORARY)


def digests(folder: Path) -> Contents:
    """Return digests of all files of an output."""
    found: Contents = {name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in _files(folder).items()}
    return found | dict.fromkeys(temporary(folder), TEMPORARY)


def trials(folder: Path) -> Contents:
    """Return what must hold for a search by several workers, whichever were killed."""
    table = pd.read_csv(folder / "trials.csv")
    parameters = table[[column for column in table if column.startswith(("model.", "optimizer.", "negatives."))]]
    best = json.loads((folder / "best" / "metrics.json").read_text())["validation"]["ndcg@10"]
    return {
        "files": sorted(path.name for path in folder.iterdir() if path.name[0] != "." and "broken" not in path.name),
        "numbers": table["number"].tolist(),
        "unfinished": table.loc[~table["state"].isin(("complete", "pruned")), "state"].tolist(),
        "distinct": len(parameters.drop_duplicates()),
        # A worker has fewer cores than the process that trains the best trial again.
        "best is the best trial": math.isclose(
            best, table.loc[table["state"] == "complete", "value"].max(), rel_tol=1e-5
        ),
    }


def temporary(folder: Path) -> list[str]:
    """Return the names of temporary files."""
    hidden = (path for path in folder.rglob(".*") if path.is_file() and path.suffix not in LOCKS)
    return [str(path.relative_to(folder)) for path in hidden if path.name not in LOCKS]


def age(folder: Path) -> None:
    """Make temporary files look old, as if the command were started again much later."""
    for name in temporary(folder):
        os.utime(folder / name, (0, 0))


def differing(found: Contents, expected: Contents) -> list[str]:
    """Return the names of files that differ."""
    return [name for name in found | expected if found.get(name) != expected.get(name)]


def broken(found: Contents, complete: Sequence[Contents], last: str) -> list[str]:
    """Return the names of files that are wrong in the output of a killed command.

    Args:
        found: the output.
        complete: complete outputs; a file must equal that of one of them.
        last: the file that is written last: if it exists, the output must be complete.
    """
    visible = {name: content for name, content in found.items() if content != TEMPORARY}
    half = [name for name, content in visible.items() if content not in [each.get(name) for each in complete]]
    if half or last not in visible or visible in complete:
        return half
    return [f"{last} beside an incomplete output"]


def _files(folder: Path) -> dict[str, Path]:
    paths = [path for path in sorted(folder.rglob("*")) if path.is_file() and not path.name.startswith(".")]
    return {str(path.relative_to(folder)): path for path in paths}
