"""Consistency of the values stored with the parameters: lengths agree, and positions are within their tables."""

from collections.abc import Iterator, Mapping

import numpy as np
import pandas as pd

from jaxrec.fallback import TrainingSummary


def check_consistent(extra: Mapping[str, object]) -> None:
    """Raise a ValueError if stored arrays, by name as in `rundir.stored_values`, do not belong together."""
    if wrong := next(_wrong(extra), None):
        raise ValueError(wrong)


def _wrong(extra: Mapping[str, object]) -> Iterator[str]:
    ids = {kind: _array(extra, f"{kind}_ids") for kind in ("user", "item")}
    for kind, table in ids.items():
        if table is None or table.ndim != 1 or table.dtype.kind not in "iuOUT" or not pd.Index(table).is_unique:
            yield f"{kind}_ids are not distinct ids"
            return
    n_users, n_items = len(ids["user"]), len(ids["item"])  # type: ignore[arg-type]
    known = _array(extra, "known_items")
    if known is None or not _are_positions(known, n_items):
        yield "known_items are not positions of items"
        return
    if not _are_offsets(_array(extra, "known_offsets"), n_users, len(known)):
        yield "known_offsets are not those of the users"
    trained = [f"trained_{name}" for name in TrainingSummary._fields]
    sizes = dict.fromkeys(("known_event", "known_gap", "known_value", "known_target", "known_time"), len(known))
    sizes |= dict.fromkeys(("titles", "ages", "trained_popular", "trained_items"), n_items)
    sizes |= {"trained_users": n_users}
    sizes |= {f"features_users_{part}": n_users for part in ("categories", "bags", "numbers")}
    sizes |= {f"features_items_{part}": n_items for part in ("categories", "bags", "numbers")}
    for name, size in sizes.items():
        if extra.get(name) is None:
            continue
        array = _array(extra, name)
        if array is None or array.shape[:1] != (size,) or (array.ndim != 1 and not name.startswith("features")):
            yield f"{name} does not have {size} entries"
    for name in trained:
        if (array := _array(extra, name)) is not None and array.dtype.kind not in "biuf":
            yield f"{name} are not numbers"
    if extra.get("categories_names") is not None:
        names, codes = (_array(extra, f"categories_{part}") for part in ("names", "codes"))
        if names is None or codes is None or not _are_positions(codes, len(names)):
            yield "categories_codes are not positions of categories"
        elif not _are_offsets(_array(extra, "categories_offsets"), n_items, len(codes)):
            yield "categories_offsets are not those of the items"


def _array(extra: Mapping[str, object], name: str) -> np.ndarray | None:
    value = extra.get(name)
    return value if isinstance(value, np.ndarray) else None


def _are_positions(array: np.ndarray, size: int) -> bool:
    return array.ndim == 1 and array.dtype.kind in "iu" and (not len(array) or 0 <= array.min() <= array.max() < size)


def _are_offsets(array: np.ndarray | None, n: int, end: int) -> bool:
    if array is None or array.shape != (n + 1,) or array.dtype.kind not in "iu":
        return False
    return bool(array[0] == 0 and array[-1] == end and (np.diff(array.astype(np.int64)) >= 0).all())
