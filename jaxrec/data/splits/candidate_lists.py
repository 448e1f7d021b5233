"""Candidates to rank a held-out item among: from a file, or drawn."""

from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from jaxrec.data.ids import IdTable, exact
from jaxrec.data.interactions import Interactions, targets
from jaxrec.data.reading import tables
from jaxrec.data.splits.split import HeldOut
from jaxrec.errors import InputError

USERS_AT_A_TIME = 4096  # so that a block of draws stays in a core's cache


def read_candidates(path: Path, held: HeldOut, *, user_column: str, item_column: str) -> tuple[np.ndarray, np.ndarray]:
    """Each user's candidates from a file of one row a candidate: offsets, int64 [U + 1], and items, int32 [E].

    Ids are the original ones; what is given twice counts once; users who are not in the data are left out.
    Raises InputError for an item that is not in the data, and for a user with something to find and no candidates.
    """
    if not path.is_file():
        raise InputError(f"there is no file {path}: check eval.path")
    table = tables.read(path, {"eval.user_column": user_column, "eval.item_column": item_column})
    data = held.target
    user, item = (
        _found(table[f"eval.{what}_column"], ids, path, f"eval.{what}_column={column}")
        for what, ids, column in (("user", data.user_ids, user_column), ("item", data.item_ids, item_column))
    )
    if (missing := np.flatnonzero(item < 0)).size:
        raise InputError(
            f"{path}: item {table['eval.item_column'][int(missing[0])]} is not in the data ({missing.size:,} such "
            "rows): drop them, or check that ids are written as in the data"
        )
    offsets, items = _lists(user[user >= 0], item[user >= 0], data)
    without = np.flatnonzero((np.diff(offsets) == 0) & (np.bincount(data.user, minlength=data.n_users) > 0))
    if without.size:
        raise InputError(
            f"{path} has no candidates for user {data.user_ids[without[0]]}, who has something to find "
            f"({without.size:,} such users): add them, or set eval.path=null to draw candidates"
        )
    return offsets, items


def draw_candidates(held: HeldOut, n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """For every user with something to find `n` items, each set of that size as likely as any other.

    They come from what the user neither knows nor is to find; a user who has fewer such items left gets all of them.
    Returns offsets, int64 [U + 1], and items, int32 [E].
    """
    data, n_items = held.target, held.target.n_items
    users = np.unique(data.user)
    mine = np.zeros(data.n_users, bool)
    mine[users] = True
    known = targets(held.known)
    known = known.take(mine[known.user])
    row = np.searchsorted(users, np.concatenate([known.user, data.user])).astype(np.int64)
    taken = np.unique(row * n_items + np.concatenate([known.item, data.item]))
    row, item = np.divmod(taken, n_items)
    bounds = np.searchsorted(row, np.arange(len(users) + 1))
    left = n_items - np.diff(bounds)
    wanted = np.minimum(left, n)
    rng = np.random.default_rng(seed)
    blocks = [slice(at, at + USERS_AT_A_TIME) for at in range(0, len(users), USERS_AT_A_TIME)]
    drawn = np.concatenate([_distinct(rng, left[block], wanted[block], n) for block in blocks])
    place = drawn[np.arange(n) < wanted[:, None]]
    # The item at place j of those left is j plus the taken items before it: taken item i of a user has item - i free
    # ones before it. Users are set apart by more than an item number, so that one search serves all.
    owner = np.repeat(np.arange(len(users)), wanted)
    free_before = row * (n_items + 1) + item - (np.arange(len(item)) - bounds[row])
    n_before = np.searchsorted(free_before, owner * (n_items + 1) + place, side="right") - bounds[owner]
    lengths = np.zeros(data.n_users, np.int64)
    lengths[users] = wanted
    return np.concatenate([[0], np.cumsum(lengths)]), (place + n_before).astype(np.int32)


def _distinct(rng: np.random.Generator, left: np.ndarray, wanted: np.ndarray, n: int) -> np.ndarray:
    """In the first `wanted[b]` of n columns of row b distinct numbers below `left[b]`.

    A draw that is there already gives way to the largest number possible. [Floyd, in Bentley 1987, A sample of
    brilliance]
    """
    drawn = np.full((len(left), n), -1, np.int64)
    for position in range(n):
        largest = left - wanted + position
        number = rng.integers(largest + 1)
        there = (drawn[:, :position] == number[:, None]).any(axis=1)
        drawn[:, position] = np.where(there, largest, number)
    return drawn


def _found(column: pa.ChunkedArray, ids: np.ndarray, path: Path, name: str) -> np.ndarray:
    """Where each id of a file stands in the id table, -1 if it does not."""
    column = exact(tables.plain(column), name, partial(tables.place, path))
    if column.null_count:
        row = pc.index(column.is_null(), True).as_py()
        raise InputError(f"{name}: {tables.place(path, row)} has no id: fill or drop {column.null_count:,} rows")
    return IdTable(ids).rows_of(column.to_pandas())


def _lists(user: np.ndarray, item: np.ndarray, data: Interactions) -> tuple[np.ndarray, np.ndarray]:
    """Pairs as offsets [U + 1] and items, each once, sorted within a user."""
    pair = np.unique(user.astype(np.int64) * data.n_items + item)
    user, item = np.divmod(pair, data.n_items)
    return np.searchsorted(user, np.arange(data.n_users + 1)), item.astype(np.int32)
