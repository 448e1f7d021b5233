"""Retailrocket: views, add-to-carts and transactions of 1.4 million visitors of a shop in 138 days of 2015.

The files (CC BY-NC-SA, neither included nor downloaded) are events.csv, item_properties_part1.csv,
item_properties_part2.csv and category_tree.csv, optionally compressed (.gz, .zst, .zip).
`synthetic_retailrocket` writes files of the same format.
"""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import NonNegativeFloat, NonNegativeInt, PositiveInt

from jaxrec.data.filters import Duplicates, filtered
from jaxrec.data.interactions import Interactions, encode
from jaxrec.data.notes import Notes, nonzero
from jaxrec.data.properties import Changes, Properties, properties
from jaxrec.data.reading import tables
from jaxrec.data.reading.categories import category_paths
from jaxrec.data.reading.events import apply_events
from jaxrec.data.reading.times import Where, milliseconds
from jaxrec.data.sources.prepared import prepared
from jaxrec.errors import InputError

EVENTS = ("view", "addtocart", "transaction")
PARTS, TREE = ("item_properties_part1.csv", "item_properties_part2.csv"), "category_tree.csv"
CATEGORY, AVAILABLE = CLEAR = ("categoryid", "available")  # properties that are not hashed


def retailrocket(
    path: str | Path | None = None,
    events: Sequence[str] | None = None,
    target_event: str | None = None,
    event_weights: Mapping[str, NonNegativeFloat] | None = None,
    item_properties: Sequence[str] = (CATEGORY, AVAILABLE),
    visitors: PositiveInt | None = None,
    seed: NonNegativeInt = 0,
    max_per_user: PositiveInt | None = None,
    duplicates: Duplicates = "last",
    min_per_item: NonNegativeInt = 0,
    min_per_user: NonNegativeInt = 0,
    min_targets: NonNegativeInt = 0,
    k_core: NonNegativeInt = 0,
    cache: bool = True,
) -> Interactions:
    """Read Retailrocket with time-dependent item properties from the folder `path`.

    Steps, in this order; steps 5, 6, 8 and 9 are off by default. Rows dropped or repaired are counted in `notes`.

    1.  Read events. Unknown events and visitors, items or times that are not integers are errors. Rows of the
        anonymous visitor -1 are dropped.
    2.  Drop exact duplicates (time, visitor, event and item).
    3.  Sort rows by time, ties in file order.
    4.  `events`: event types to keep. `target_event`: the type to recommend, the others are history. `event_weights`:
        sample weights in training. See `apply_events`.
    5.  `visitors`: number of visitors to sample at random, with `seed`.
    6.  `max_per_user`: drop visitors with more rows, such as bots.
    7.  `duplicates`: which of a visitor's rows with the same item and event to keep, see `filtered`. Use keep to study
        sessions or repeats.
    8.  `min_per_item`: drop items with fewer rows; then `min_per_user`: drop visitors with fewer rows; then
        `min_targets`: drop visitors with fewer target rows. Each is applied once.
    9.  `k_core`: iteratively drop visitors and items with fewer rows until none remain.
    10. `item_properties`: add these properties of the remaining items as `properties`: `category`, with
        `category_path` (from the root of the tree to the category), `available`, and hashed ones under their own
        names, as text. A split converts their values at the end of train to item features.

    Set `cache` to cache the result on disk, see `prepared`.

    Raises:
        InputError: a file is missing or cannot be read, or a filter drops all rows.
    """
    if path is None:
        raise InputError(
            "set data.path=FOLDER to the folder with Retailrocket's events.csv, item_properties_part1.csv, "
            "item_properties_part2.csv and category_tree.csv; "
            "jaxrec.data.sources.synthetic_retailrocket writes files of the same format"
        )
    names = ["events.csv", *(PARTS if item_properties else ()), *((TREE,) if CATEGORY in item_properties else ())]
    files = {name: _found(Path(path), name) for name in names}
    prepare = partial(
        _prepare,
        events=events,
        target_event=target_event,
        event_weights=event_weights,
        item_properties=item_properties,
        visitors=visitors,
        seed=seed,
        max_per_user=max_per_user,
        duplicates=duplicates,
        min_per_item=min_per_item,
        min_per_user=min_per_user,
        min_targets=min_targets,
        k_core=k_core,
    )
    return prepared(_prepare, files, prepare.keywords) if cache else prepare(files)


def _found(folder: Path, name: str) -> Path:
    """Return the path of a file in the folder, compressed or not."""
    paths = [file for packed in ("", *tables.PACKED) if (file := folder / f"{name}{packed}").exists()]
    if not paths:
        more = "" if name == "events.csv" else ", or set 'data.item_properties=[]'"
        raise InputError(f"data.path={folder} is not a folder with {name} (or .gz, .zst, .zip of it): add it{more}")
    return paths[0]


def _prepare(
    files: Mapping[str, Path],
    *,
    events: Sequence[str] | None,
    target_event: str | None,
    event_weights: Mapping[str, float] | None,
    item_properties: Sequence[str],
    visitors: int | None,
    seed: int,
    max_per_user: int | None,
    duplicates: Duplicates,
    min_per_item: int,
    min_per_user: int,
    min_targets: int,
    k_core: int,
) -> Interactions:
    """Run steps 1 to 10."""
    frame, where, notes = _read(files["events.csv"])
    frame, event_names, odd = apply_events(
        frame, where, known=EVENTS, kept=events, target=target_event, weights=event_weights
    )
    notes |= odd
    if visitors is not None:
        sampled = _drawn(frame["user_id"].to_numpy(), visitors, seed)
        frame = _kept(frame, sampled, f"rows of visitors not among the data.visitors={visitors} drawn, dropped", notes)
    if max_per_user is not None:
        few = _count(frame["user_id"]) <= max_per_user
        frame = _kept(frame, few, f"rows of visitors with more than data.max_per_user={max_per_user}, dropped", notes)
    frame, repeated = filtered(frame, duplicates=duplicates)
    notes |= repeated
    for key, column, least in (("min_per_item", "item_id", min_per_item), ("min_per_user", "user_id", min_per_user)):
        often = _count(frame[column]) >= least
        frame = _kept(frame, often, f"rows below data.{key}={least}, dropped", notes)
    if min_targets:
        often = _count(frame["user_id"], frame.get("target")) >= min_targets
        frame = _kept(frame, often, f"rows of visitors below data.min_targets={min_targets}, dropped", notes)
    frame, outside = filtered(frame, duplicates="keep", k_core=k_core)
    notes |= outside
    data = encode(frame, event_names=event_names, name="Retailrocket")
    if item_properties:
        data = replace(data, properties=_properties(files, item_properties, data.item_ids, notes))
    return replace(data, notes=nonzero(notes))


def _read(file: Path) -> tuple[pd.DataFrame, Where, Notes]:
    """Run steps 1 to 3; also return a function that locates a row of the frame in the file."""
    names = {"timestamp": "timestamp", "user_id": "visitorid", "item_id": "itemid", "event": "event"}
    table, where = tables.read(file, names), partial(tables.place, file)
    user, item = (_whole(table[key], names[key], where) for key in ("user_id", "item_id"))
    time = milliseconds(pa.chunked_array([_whole(table["timestamp"], "timestamp", where)]), where)
    event = pc.if_else(pc.equal(table["event"], ""), None, table["event"]).dictionary_encode().combine_chunks()
    codes = event.indices.fill_null(-1).to_numpy(zero_copy_only=False)
    kind = pd.Categorical.from_codes(codes, event.dictionary.to_numpy(zero_copy_only=False))
    frame = pd.DataFrame({"user_id": user, "item_id": item, "time": time, "event": kind})
    is_known = user != -1
    new = ~frame.duplicated().to_numpy() & is_known
    backwards = int(np.count_nonzero(np.diff(time[new]) < 0))
    order = np.flatnonzero(new)[np.argsort(time[new], kind="stable")]
    notes = {
        "rows of the visitor -1, dropped": int(np.count_nonzero(~is_known)),
        "rows repeated exactly, dropped": int(np.count_nonzero(is_known)) - len(order),
        "rows older than the one above them, put in the order of time": backwards,
    }
    return frame.take(order), lambda row: where(int(order[row])), notes


def _whole(column: pa.ChunkedArray, name: str, where: Where) -> np.ndarray:
    """Convert a column of text to int64."""
    try:
        numbers = column.cast(pa.int64())
    except pa.ArrowInvalid:
        numbers = None
    if numbers is None or numbers.null_count:
        row = pc.index(pc.fill_null(pc.match_substring_regex(column, r"^[+-]?\d{1,18}$"), False), False).as_py()
        raise InputError(f"{where(row)} has the {name} {column[row].as_py()!r}, not an integer: fix or drop that row")
    return numbers.combine_chunks().to_numpy(zero_copy_only=False)


def _drawn(user: np.ndarray, n: int, seed: int) -> np.ndarray:
    """Return the mask [N] of the rows of n users sampled at random."""
    codes, users = pd.factorize(user, sort=True)
    chosen = np.zeros(len(users), bool)
    chosen[np.random.default_rng(seed).permutation(len(users))[:n]] = True
    return chosen[codes]


def _count(column: pd.Series, mask: pd.Series | None = None) -> np.ndarray:
    """Return, for each row [N], the number of (masked) rows with the same id."""
    codes, ids = pd.factorize(column)
    return np.bincount(codes if mask is None else codes[mask.to_numpy()], minlength=len(ids))[codes]


def _kept(frame: pd.DataFrame, mask: np.ndarray, reason: str, notes: Notes) -> pd.DataFrame:
    if not mask.any():
        raise InputError(f"no rows remain: {len(frame):,} {reason}; choose another number")
    notes[reason] = int(np.count_nonzero(~mask))
    return frame[mask]


def _properties(files: Mapping[str, Path], names: Sequence[str], item_ids: np.ndarray, notes: Notes) -> Properties:
    """Run step 10."""
    with ThreadPoolExecutor(len(PARTS)) as pool:
        tables_of = list(pool.map(lambda part: (files[part], _property_rows(files[part], names)), PARTS))
    items = pd.Index(item_ids)
    changes = {"category" if name == CATEGORY else name: _changes(tables_of, name, items, notes) for name in names}
    of = {}
    if CATEGORY in names:
        paths, odd = category_paths(files[TREE])
        unlisted = pd.CategoricalIndex(changes["category"].value).categories.difference(paths.index)
        notes |= odd | {f"categories of items that {TREE} lacks, taken as roots": len(unlisted)}
        more = pd.DataFrame({"category_path": [[category] for category in unlisted.tolist()]}, index=unlisted)
        of = {"category": pd.concat([paths, more]) if len(unlisted) else paths}
    return properties(len(item_ids), changes, of)


def _property_rows(file: Path, names: Sequence[str]) -> pa.Table:
    """Read the rows of the given properties, with their row numbers, in batches to limit memory."""
    columns, start, batches = {name: name for name in ("timestamp", "itemid", "property", "value")}, 0, []
    for batch in tables.batches(file, columns):
        mask = pc.is_in(batch["property"], value_set=pa.array(names, pa.string()))
        rows = start + np.flatnonzero(mask.to_numpy(zero_copy_only=False))
        batches.append(batch.filter(mask).append_column("row", pa.array(rows, pa.int64())))
        start += len(batch)
    return pa.Table.from_batches(batches)


def _changes(tables_of: Sequence[tuple[Path, pa.Table]], name: str, items: pd.Index, notes: Notes) -> Changes:
    """Return the changes of one property of the given items."""
    columns = []
    for file, full_table in tables_of:
        table = full_table.filter(pc.equal(full_table["property"], name))
        if not len(table):
            continue
        rows = table["row"].to_numpy()
        where = partial(_place, file, rows)
        item = items.get_indexer(pd.Index(_whole(table["itemid"], "itemid", where)))
        time = milliseconds(pa.chunked_array([_whole(table["timestamp"], "timestamp", where)]), where)
        value = _whole(table["value"], f"{name} value", where) if name in CLEAR else table["value"].to_numpy()
        if name == AVAILABLE and len(odd := np.flatnonzero((value != 0) & (value != 1))):
            raise InputError(f"{where(int(odd[0]))} has the {name} value {value[odd[0]]}, neither 0 nor 1: fix it")
        columns.append((item[item >= 0], time[item >= 0], value[item >= 0]))
        unseen = "property rows of items without events, dropped"
        notes[unseen] = notes.get(unseen, 0) + int(np.count_nonzero(item < 0))
    if not columns:
        raise InputError(
            f"data.item_properties has the unknown property {name}: no row of {' and '.join(PARTS)} has it"
        )
    item, time, value = (np.concatenate(column) for column in zip(*columns, strict=True))
    return Changes(item, time, pd.array(value == 1, "boolean") if name == AVAILABLE else pd.Categorical(value))


def _place(file: Path, rows: np.ndarray, row: int) -> str:
    return tables.place(file, int(rows[row]))
