"""Category trees: pairs of category and parent → path from the root to each category."""

import codecs
import csv
import io
import re
from pathlib import Path

import numpy as np
import pandas as pd

from jaxrec.data.reading import tables
from jaxrec.errors import InputError

STRAY = re.compile(r"[^!-~]+")  # everything but printable ASCII, meaningless as ids are digits


def category_paths(file: Path) -> tuple[pd.DataFrame, dict[str, int]]:
    """Read a category tree and return the path of each category, from the root to the category itself.

    Stray bytes are removed, blank and repeated rows are dropped, and a parent without a row of its own is a root; all
    are counted in the notes.

    Args:
        file: integer columns categoryid and parentid (empty for a root).

    Returns:
        A frame with index category and column category_path, and notes.

    Raises:
        InputError: the tree has a cycle, a category has two parents, or an id is not an integer.
    """
    notes: dict[str, int] = {}
    child, parent = _pairs(file, notes)
    ids = np.unique(np.concatenate([child, parent[parent >= 0]]))
    if unknown := len(ids) - len(np.unique(child)):
        notes[f"parents without a row in {file.name}, taken as roots"] = unknown
    n = len(ids)
    up = np.full(n + 1, n)  # n is a virtual node above the roots
    has_parent = parent >= 0
    up[np.searchsorted(ids, child[has_parent])] = np.searchsorted(ids, parent[has_parent])
    _reject_cycle(file, ids, up)
    levels = [np.arange(n)]
    while (parents := up[levels[-1]]).min() < n:
        levels.append(parents)
    paths = [ids[row[row < n]].tolist() for row in np.stack(levels[::-1], axis=1)]
    return pd.DataFrame({"category_path": paths}, index=pd.Index(ids, name="category")), notes


def _pairs(file: Path, notes: dict[str, int]) -> tuple[np.ndarray, np.ndarray]:
    """Read the category and parent of each row, -1 for no parent."""
    raw = tables.content(file)
    if raw.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise InputError(f"{file} is UTF-16: save it as UTF-8")
    reader = csv.reader(io.StringIO(raw.removeprefix(codecs.BOM_UTF8).decode("latin-1"), newline=""))
    header = [STRAY.sub("", name) for name in next(reader, [])]
    positions = [tables.position(file, header, "the tree", name) for name in ("categoryid", "parentid")]
    parents: dict[int, int] = {}
    odd = repeated = 0
    for row in reader:
        fields = [STRAY.sub("", field) for field in row]
        odd += fields != [field.strip(" \t") for field in row]
        if not any(fields):
            continue
        place = f"line {reader.line_num} of {file}"
        if len(fields) != len(header):
            raise InputError(f"{place} has {len(fields)} fields, the header has {len(header)}: fix that line")
        category, parent = (fields[i] for i in positions)
        if not category.isdecimal() or not (parent.isdecimal() or not parent):
            raise InputError(f"{place} has the category {category!r} and the parent {parent!r}: ids must be integers")
        child, parent_id = int(category), int(parent or -1)
        repeated += child in parents
        if parents.setdefault(child, parent_id) != parent_id:
            raise InputError(
                f"{place}: category {child} has the parent {parent or 'none'}, but another one in an earlier line"
            )
    if repeated:
        notes[f"rows of {file.name} repeated, dropped"] = repeated
    if odd:
        notes[f"rows of {file.name} with stray bytes, cleaned"] = odd
    if not parents:
        raise InputError(f"{file} has a header but no rows")
    return np.fromiter(parents, np.int64), np.fromiter(parents.values(), np.int64)


def _reject_cycle(file: Path, ids: np.ndarray, up: np.ndarray) -> None:
    """Raise InputError if the tree has a cycle: n steps up from a node end above the roots or in a cycle."""
    ancestor = up
    for _ in range(len(up).bit_length()):
        ancestor = ancestor[ancestor]
    if (ancestor == len(ids)).all():
        return
    node = int(ancestor[np.flatnonzero(ancestor < len(ids))[0]])
    cycle = [node]
    while (node := int(up[node])) != cycle[0]:
        cycle.append(node)
    names = " → ".join(str(ids[i]) for i in [*cycle, cycle[0]])
    raise InputError(f"{file} has a cycle (child → parent): {names}; make one of them a root")
