"""Synthetic files in the schema of Retailrocket, of any size, for tests, scaling experiments and demos.

    python -c "from jaxrec.data.sources.synthetic_retailrocket import write; write('synthetic')"

They mimic the real data: most visitors have one event and a few very many, item popularity follows a Zipf law, carts
follow views and transactions follow carts, rows are not sorted by time, item properties are weekly snapshots, mostly
hashed, and the category tree has several roots.
"""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv

from jaxrec.data.reading.times import DAY
from jaxrec.errors import InputError

START, DAYS, WEEKS = 1_430_622_000_000, 138, 18  # from 2015-05-03 03:00 UTC
MINUTE = 60_000  # milliseconds
CARTS, TRANSACTIONS = 0.0252, 0.00815  # shares of all events
NAMED = {"categoryid": 0.039, "available": 0.074}  # shares of the property rows; the other properties are hashed
HASHED, VALUES = 1_102, 50_000  # number of hashed properties and of their distinct values
BLOCK = 1_000_000  # property rows generated at a time


def write(
    folder: str | Path,
    n_events: int = 2_756_101,
    n_visitors: int = 1_407_580,
    n_items: int = 235_061,
    n_properties: int = 20_275_902,
    n_categories: int = 1_669,
    seed: int = 0,
) -> Path:
    """Write events.csv, item_properties_part1.csv, item_properties_part2.csv and category_tree.csv.

    The defaults are the sizes of the real files. The same arguments produce the same files.

    Args:
        folder: output folder.
        n_events, n_visitors, n_categories: sizes.
        n_items: number of items with events; a fifth of them have no properties, and another two thirds of `n_items`
            items have properties but no events.
        n_properties: total rows of both property files.
        seed: seed of the random generator.

    Returns:
        The folder.
    """
    rng = np.random.default_rng(seed)
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    items = rng.permutation(2 * n_items)  # events use the first half, properties start after the first fifth of it
    categories = rng.permutation(n_categories)
    _write(folder / "events.csv", [_events(rng, n_events, n_visitors, items[:n_items])])
    _write(folder / "category_tree.csv", [_tree(rng, categories)])
    with_properties = items[n_items // 5 : n_items + 2 * n_items // 3]
    home = rng.choice(categories, len(with_properties))
    words = _words(rng)
    first = round(n_properties * 0.54)
    for part, n in (("part1", first), ("part2", n_properties - first)):
        blocks = (min(BLOCK, n - done) for done in range(0, n, BLOCK))
        tables = (_properties(rng, size, with_properties, home, categories, words) for size in blocks)
        _write(folder / f"item_properties_{part}.csv", tables)
    return folder


def _write(path: Path, tables: Iterable[pa.Table]) -> None:
    """Write tables of one schema to a CSV file with one header, without quotes."""
    options = pyarrow.csv.WriteOptions(include_header=False, quoting_style="none")
    with path.open("wb") as file:
        for i, table in enumerate(tables):
            if i == 0:
                file.write((",".join(table.column_names) + "\n").encode())
            pyarrow.csv.write_csv(table, file, options)


def _events(rng: np.random.Generator, n: int, n_visitors: int, items: np.ndarray) -> pa.Table:
    n_carts = max(1, round(n * CARTS))
    n_bought = max(1, round(n * TRANSACTIONS))
    n_views = n - n_carts - n_bought
    if n_views < n_visitors:
        raise InputError(f"{n:,} events have {n_views:,} views, too few for one of each of {n_visitors:,} visitors")
    # 70% of the visitors have one event; the activity of the others follows a power law.
    activity = np.cumsum(np.where(rng.random(n_visitors) < 0.7, 0.0, rng.pareto(1.3, n_visitors) + 1) + 1e-9)
    more = np.searchsorted(activity, rng.random(n_views - n_visitors) * activity[-1], side="right")
    count = 1 + np.bincount(more, minlength=n_visitors)
    visitor = np.repeat(rng.permutation(n_visitors), count)
    time = _view_times(rng, count)

    popularity = np.cumsum(np.arange(1, len(items) + 1) ** -0.5)
    item = items[np.searchsorted(popularity, rng.random(n_views) * popularity[-1], side="right")]
    fresh = rng.random(n_views) < 0.7  # the other views repeat the visitor's previous item
    fresh[np.cumsum(count) - count] = True
    item = item[np.maximum.accumulate(np.where(fresh, np.arange(n_views), 0))]

    again = np.flatnonzero(np.repeat(count, count) > 1)
    cart = rng.choice(again if len(again) >= n_carts else n_views, n_carts, replace=False)
    carted = time[cart] + rng.integers(MINUTE // 3, 10 * MINUTE, n_carts)
    bought = rng.choice(n_carts, min(n_bought, n_carts), replace=False)
    paid = carted[bought] + rng.integers(MINUTE, 20 * MINUTE, len(bought))
    source = np.concatenate([np.arange(n_views), cart, cart[bought]])
    kind = np.repeat([0, 1, 2], [n_views, n_carts, len(bought)])
    when = np.concatenate([time, carted, paid])
    # Sorted by time within each of five periods, with the periods shuffled.
    order = np.lexsort((when, rng.permutation(5)[(when - START) * 5 // (DAYS * DAY + DAY)]))
    number = np.cumsum(kind[order] == 2)
    return pa.table(
        {
            "timestamp": when[order],
            "visitorid": visitor[source][order],
            "event": pa.DictionaryArray.from_arrays(
                pa.array(kind[order], pa.int8()), ["view", "addtocart", "transaction"]
            ).cast(pa.string()),
            "itemid": item[source][order],
            "transactionid": pa.array(number - 1, mask=kind[order] != 2),
        }
    )


def _view_times(rng: np.random.Generator, count: np.ndarray) -> np.ndarray:
    """Return times in milliseconds [N], by visitor: minutes apart within a session, days between sessions."""
    n = int(count.sum())
    within = rng.random(n) < 0.75
    gap = np.where(within, rng.exponential(1.5 * MINUTE, n), 60 * MINUTE + rng.exponential(4.0 * DAY, n))
    first = np.cumsum(count) - count
    gap[first] = 0
    elapsed = np.cumsum(gap)
    elapsed -= np.repeat(elapsed[first], count)
    total = np.maximum.reduceat(elapsed, first)
    squeeze = np.minimum(1.0, DAYS * DAY / np.maximum(total, 1.0))
    start = rng.random(len(count)) * (DAYS * DAY - total * squeeze)
    return (START + np.repeat(start, count) + elapsed * np.repeat(squeeze, count)).astype(np.int64)


def _tree(rng: np.random.Generator, categories: np.ndarray) -> pa.Table:
    """Return a category tree with one root per sixty categories, at least two, and short paths."""
    place = np.arange(len(categories))
    roots = max(2, len(categories) // 60)
    parent = rng.integers(0, np.maximum(place // 3, roots).clip(1, np.maximum(place, 1)))
    return pa.table({"categoryid": categories, "parentid": pa.array(categories[parent], mask=place < roots)})


def _words(rng: np.random.Generator) -> pa.Array:
    """Return values of hashed properties: one to five words, including numbers."""
    numbers = rng.integers(0, 1_330_000, (VALUES, 5)).astype(str)
    numbers[:, 0] = np.char.add(np.char.add("n", rng.integers(0, 2_000, VALUES).astype(str)), ".000")
    length = rng.integers(1, 6, VALUES)
    return pa.array([" ".join(row[:n]) for row, n in zip(numbers.tolist(), length.tolist(), strict=True)])


def _properties(
    rng: np.random.Generator, n: int, items: np.ndarray, home: np.ndarray, categories: np.ndarray, words: pa.Array
) -> pa.Table:
    row = rng.integers(len(items), size=n)
    kind = rng.random(n)
    is_category = kind < NAMED["categoryid"]
    is_available = ~is_category & (kind < sum(NAMED.values()))
    hashed = np.minimum(rng.pareto(0.7, n) * 10, HASHED - 1).astype(np.int64)
    moved = rng.random(n) < 0.1
    category = np.where(moved, rng.choice(categories, n), home[row])

    names = pa.array(["categoryid", "available", *map(str, range(HASHED))])
    name = names.take(pa.array(np.select([is_category, is_available], [0, 1], hashed + 2)))
    values = pa.concat_arrays([words, pa.array(map(str, range(max(2, len(categories)))))])
    clear = len(words) + np.where(is_category, category, rng.integers(2, size=n))
    value = np.where(is_category | is_available, clear, rng.integers(len(words), size=n))
    time = START + 7 * DAY * (1 + rng.integers(WEEKS, size=n))
    return pa.table({"timestamp": time, "itemid": items[row], "property": name, "value": values.take(pa.array(value))})
