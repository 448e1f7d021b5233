"""Candidate lists for sampled evaluation: read from a file, or sampled uniformly."""

from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from jaxrec.data.ids import IdTable, exact
from jaxrec.data.interactions import Interactions, targets
from jaxrec.data.reading import tables
from jaxrec.data.splits.assembly import HeldOut
from jaxrec.errors import InputError

USERS_AT_A_TIME = 4096  # keeps a block of samples in the CPU cache


def read_candidates(
    path: Path, held_out: HeldOut, *, user_column: str, item_column: str
) -> tuple[np.ndarray, np.ndarray]:
    """Read the candidates of each user from a file with one row per user and candidate.

    Duplicates and users that are not in the data are ignored.

    Args:
        path: file of original user and item ids.
        held_out: held-out part of the split.
        user_column, item_column: names of the columns.

    Returns:
        Offsets, int64 [U + 1], and items, int32 [E].

    Raises:
        InputError: an item is not in the data, or a user with held-out items has no candidates.
    """
    if not path.is_file():
        raise InputError(f"there is no file {path}: check eval.path")
    table = tables.read(path, {"eval.user_column": user_column, "eval.item_column": item_column})
    data = held_out.target
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
            f"{path} has no candidates for user {data.user_ids[without[0]]}, who has held-out items "
            f"({without.size:,} such users): add them, or set eval.path=null to sample candidates"
        )
    return offsets, items


def draw_candidates(held_out: HeldOut, n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Sample `n` candidates for each user with held-out items, uniformly without replacement.

    Candidates are items that the user has not interacted with, neither in the known nor in the held-out part; users
    with fewer than `n` such items get all of them.

    Args:
        held_out: held-out part of the split.
        n: number of candidates per user.
        seed: seed of the random generator.

    Returns:
        Offsets, int64 [U + 1], and items, int32 [E].
    """
    data, n_items = held_out.target, held_out.target.n_items
    users = np.unique(data.user)
    is_evaluated = np.zeros(data.n_users, bool)
    is_evaluated[users] = True
    known = targets(held_out.known)
    known = known.take(is_evaluated[known.user])
    row = np.searchsorted(users, np.concatenate([known.user, data.user])).astype(np.int64)
    taken = np.unique(row * n_items + np.concatenate([known.item, data.item]))
    row, item = np.divmod(taken, n_items)
    bounds = np.searchsorted(row, np.arange(len(users) + 1))
    left = n_items - np.diff(bounds)
    counts = np.minimum(left, n)
    rng = np.random.default_rng(seed)
    blocks = [slice(at, at + USERS_AT_A_TIME) for at in range(0, len(users), USERS_AT_A_TIME)]
    samples = np.concatenate([_distinct(rng, left[block], counts[block], n) for block in blocks])
    place = samples[np.arange(n) < counts[:, None]]
    # The j-th item that is not taken is j plus the number of taken items before it: the i-th taken item of a user has
    # item - i free items before it. Keys of different users do not overlap, so one binary search serves all users.
    owner = np.repeat(np.arange(len(users)), counts)
    free_before = row * (n_items + 1) + item - (np.arange(len(item)) - bounds[row])
    n_before = np.searchsorted(free_before, owner * (n_items + 1) + place, side="right") - bounds[owner]
    lengths = np.zeros(data.n_users, np.int64)
    lengths[users] = counts
    return np.concatenate([[0], np.cumsum(lengths)]), (place + n_before).astype(np.int32)


def _distinct(rng: np.random.Generator, left: np.ndarray, counts: np.ndarray, n: int) -> np.ndarray:
    """Sample `counts[b]` distinct numbers below `left[b]` into the first columns of row b, int64 [B, n].

    A repeated sample is replaced by the largest possible number. [Floyd, in Bentley 1987, A sample of brilliance]
    """
    samples = np.full((len(left), n), -1, np.int64)
    for position in range(n):
        largest = left - counts + position
        number = rng.integers(largest + 1)
        repeated = (samples[:, :position] == number[:, None]).any(axis=1)
        samples[:, position] = np.where(repeated, largest, number)
    return samples


def _found(column: pa.ChunkedArray, ids: np.ndarray, path: Path, name: str) -> np.ndarray:
    """Return the position of each id of a file in the id table, -1 if unknown."""
    column = exact(tables.plain(column), name, partial(tables.place, path))
    if column.null_count:
        row = pc.index(column.is_null(), True).as_py()
        raise InputError(f"{name}: {tables.place(path, row)} has no id: fill or drop {column.null_count:,} rows")
    return IdTable(ids).rows_of(column.to_pandas())


def _lists(user: np.ndarray, item: np.ndarray, data: Interactions) -> tuple[np.ndarray, np.ndarray]:
    """Convert pairs to offsets [U + 1] and distinct items, sorted within a user."""
    pair = np.unique(user.astype(np.int64) * data.n_items + item)
    user, item = np.divmod(pair, data.n_items)
    return np.searchsorted(user, np.arange(data.n_users + 1)), item.astype(np.int32)
