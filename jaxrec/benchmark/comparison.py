"""Comparison of two results of a benchmark case, row by row."""

import json
from pathlib import Path
from typing import Any

import pandas as pd

from jaxrec.errors import InputError

Row = dict[str, Any]  # a timing and what belongs to it, by name
NOTABLE = 0.01  # smaller relative changes of a number are not shown


def read(path: Path, case: str) -> list[Row]:
    """Rows of an earlier result of this case. Raises an InputError if the file holds none."""
    try:
        result = json.loads(path.read_text())
        found, rows = result["case"], result["rows"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"compare={path} is not a result of jaxrec benchmark ({error})") from error
    if found != case:
        raise InputError(f"compare={path} is a result of case={found}, not of case={case}")
    return rows


def changes(before: list[Row], now: list[Row]) -> pd.DataFrame:
    """Table of every value that changed in rows of equal names: before, now, and the ratio of numbers."""
    old, found = {row["name"]: row for row in before}, []
    for row in now:
        earlier = old.get(row["name"], {})
        for key in earlier.keys() | row.keys():
            x, y = earlier.get(key), row.get(key)
            if key.endswith("seconds") or x == y or not earlier:
                continue
            ratio = y / x if isinstance(x, int | float) and isinstance(y, int | float) and x else None
            if ratio is None or abs(ratio - 1) > NOTABLE:
                found.append({"name": row["name"], "value": key, "before": x, "now": y, "ratio": ratio})
    return pd.DataFrame(found, columns=["name", "value", "before", "now", "ratio"]).sort_values(["name", "value"])
