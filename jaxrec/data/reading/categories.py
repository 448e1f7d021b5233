"""A category tree, as pairs of category and parent, to the path from the root to each category."""

import codecs
import csv
import io
import re
from pathlib import Path

import numpy as np
import pandas as pd

from jaxrec.data.reading import tables
from jaxrec.errors import InputError

STRAY = re.compile(r"[^!-~]+")  # all but printable ASCII: ids are digits, so it can mean nothing


def category_paths(file: Path) -> tuple[pd.DataFrame, dict[str, int]]:
    """The path of every category, root first and the category itself last: index category, column category_path.

    file: columns categoryid and parentid (empty for a root), whole numbers

    Bytes that belong to no number are removed, rows of nothing else and repeated rows dropped, and a parent that has no
    row of its own is a root; all counted in the notes. Raises InputError for a cycle, naming it, for a category with
    two parents and for what is no number.
    """
    notes: dict[str, int] = {}
    child, parent = _pairs(file, notes)
    ids = np.unique(np.concatenate([child, parent[parent >= 0]]))
    if unknown := len(ids) - len(np.unique(child)):
        notes[f"parents without a row in {file.name}, taken as roots"] = unknown
    n = len(ids)
    up = np.full(n + 1, n)  # n stands above the roots
    rooted = parent >= 0
    up[np.searchsorted(ids, child[rooted])] = np.searchsorted(ids, parent[rooted])
    _refuse_cycle(file, ids, up)
    levels = [np.arange(n)]
    while (above := up[levels[-1]]).min() < n:
        levels.append(above)
    paths = [ids[row[row < n]].tolist() for row in np.stack(levels[::-1], axis=1)]
    return pd.DataFrame({"category_path": paths}, index=pd.Index(ids, name="category")), notes


def _pairs(file: Path, notes: dict[str, int]) -> tuple[np.ndarray, np.ndarray]:
    """Category and parent of each row, -1 for no parent."""
    raw = tables.content(file)
    if raw.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise InputError(f"{file} is UTF-16: write it again as UTF-8")
    reader = csv.reader(io.StringIO(raw.removeprefix(codecs.BOM_UTF8).decode("latin-1"), newline=""))
    header = [STRAY.sub("", name) for name in next(reader, [])]
    where = [tables.position(file, header, "the tree", name) for name in ("categoryid", "parentid")]
    parents: dict[int, int] = {}
    odd = repeated = 0
    for row in reader:
        fields = [STRAY.sub("", field) for field in row]
        odd += fields != [field.strip(" \t") for field in row]
        if not any(fields):
            continue
        place = f"line {reader.line_num} of {file}"
        if len(fields) != len(header):
            raise InputError(f"{place} has {len(fields)} fields and its column names are {len(header)}: mend that line")
        category, parent = (fields[i] for i in where)
        if not category.isdecimal() or not (parent.isdecimal() or not parent):
            raise InputError(f"{place} has the category {category!r} and the parent {parent!r}: ids are whole numbers")
        child, above = int(category), int(parent or -1)
        repeated += child in parents
        if parents.setdefault(child, above) != above:
            raise InputError(f"{place} gives category {child} the parent {parent or 'none'}, another than before")
    if repeated:
        notes[f"rows of {file.name} repeated, dropped"] = repeated
    if odd:
        notes[f"rows of {file.name} with stray bytes, cleaned"] = odd
    if not parents:
        raise InputError(f"{file} has column names and no rows")
    return np.fromiter(parents, np.int64), np.fromiter(parents.values(), np.int64)


def _refuse_cycle(file: Path, ids: np.ndarray, up: np.ndarray) -> None:
    """After n steps up every category is above the roots, or goes round in a cycle."""
    far = up
    for _ in range(len(up).bit_length()):
        far = far[far]
    if (far == len(ids)).all():
        return
    node = int(far[np.flatnonzero(far < len(ids))[0]])
    cycle = [node]
    while (node := int(up[node])) != cycle[0]:
        cycle.append(node)
    names = " → ".join(str(ids[i]) for i in [*cycle, cycle[0]])
    raise InputError(f"{file} has a cycle, each the parent of the one before: {names}; make one of them a root")
