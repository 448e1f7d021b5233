"""Columns of large data: temporary files instead of memory, and work on blocks of rows.

Large data is read and split block by block, and columns that wait for their next use are memory maps of temporary
files, so the memory of a process does not grow with their number. Results are the same as in memory.
"""

import mmap
import sys
import tempfile
import weakref
from collections.abc import Iterator

import numpy as np

from jaxrec.data.sources.download import cache_dir
from jaxrec.errors import InputError

LARGE = 2**27  # bytes; larger columns are moved to files
BLOCK = 2**22  # rows per block

_maps: weakref.WeakSet[mmap.mmap] = weakref.WeakSet()


def spilled(column: np.ndarray) -> np.ndarray:
    """Move a large column [N] to a temporary file, and return it as a read-only memory map; return others unchanged.

    The file has no name, so it disappears with the column, or with the process. Without space in the cache folder the
    column stays in memory.
    """
    if column.nbytes < LARGE or column.dtype.hasobject:
        return column
    try:
        folder = cache_dir()
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as file:
            column.tofile(file)
            stored = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except (InputError, OSError) as error:
        reason = f"{folder}: {error.strerror}" if isinstance(error, OSError) else error
        print(f"jaxrec: a large column stays in memory, {reason}", file=sys.stderr)
        return column
    _maps.add(stored)
    release()
    return np.frombuffer(stored, column.dtype)


def release() -> None:
    """Return the memory of all memory maps to the system; their files are read again at the next use."""
    if hasattr(mmap, "MADV_DONTNEED"):
        for stored in _maps:
            stored.madvise(mmap.MADV_DONTNEED)


def gathered(values: np.ndarray, index: np.ndarray) -> np.ndarray:
    """Return `values[index]`, for many positions without an int64 copy of them."""
    if not is_large(len(index)):
        return values[index]
    result = np.empty(len(index), values.dtype)
    for block in slices(len(index)):
        result[block] = values[index[block]]
    return result


def slices(n: int) -> Iterator[slice]:
    """Yield the slices of consecutive blocks of `n` rows."""
    for start in range(0, n, BLOCK):
        yield slice(start, min(start + BLOCK, n))


def is_large(n: int) -> bool:
    """Return whether `n` rows are more than one block."""
    return n > BLOCK


def offsets_of(owner: np.ndarray, n_owners: int) -> np.ndarray:
    """Return the bounds of each owner's rows in the order by owner, int64 [U + 1]."""
    offsets = np.zeros(n_owners + 1, np.int64)
    for block in slices(len(owner)):
        offsets[1:] += np.bincount(owner[block], minlength=n_owners)
    return np.cumsum(offsets, out=offsets)


def sorted_rows(owner: np.ndarray, n_owners: int, key: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Sort rows by owner and, for one owner, by key; ties in row order.

    Args:
        owner: owner of each row, [N], below `n_owners`.
        n_owners: number of owners.
        key: [N]; None: rows of one owner keep their order.

    Returns:
        The bounds of each owner's rows, int64 [U + 1], and row numbers [N], int32 if they fit.
    """
    offsets = offsets_of(owner, n_owners)
    if not is_large(len(owner)):
        rows = np.argsort(owner, kind="stable") if key is None else np.lexsort((key, owner))
        return offsets, rows.astype(np.int32)
    rows = _counting_sort(owner, n_owners)
    if key is not None:
        for block in blocks(offsets):
            own = rows[block]
            owners, keys = owner[own], key[own]
            if ((keys[1:] < keys[:-1]) & (owners[1:] == owners[:-1])).any():
                rows[block] = own[np.lexsort((keys, owners))]
    return offsets, rows


def blocks(offsets: np.ndarray) -> Iterator[slice]:
    """Yield slices of rows sorted by owner, each with all rows of some owners: about `BLOCK` rows, or one owner."""
    start = 0
    while start < offsets[-1]:
        last = int(np.searchsorted(offsets, start + BLOCK, side="right")) - 1
        if offsets[last] <= start:  # one owner has more rows than a block
            last = int(np.searchsorted(offsets, start, side="right"))
        yield slice(start, int(offsets[last]))
        start = int(offsets[last])


def rows_by_owner(owner: np.ndarray) -> Iterator[np.ndarray]:
    """Yield row numbers of some owners at a time, those of one owner in row order."""
    if not is_large(len(owner)):
        yield np.arange(len(owner))
        return
    offsets, rows = sorted_rows(owner, int(owner.max()) + 1)
    for block in blocks(offsets):
        yield rows[block]


def _counting_sort(owner: np.ndarray, n_owners: int) -> np.ndarray:
    """Return row numbers sorted by owner, ties in row order, in linear time: as columns of a sparse matrix."""
    from scipy import sparse  # slow to import, and used for large data only

    n = len(owner)
    columns = np.arange(n, dtype=np.int32 if n < 2**31 else np.int64)
    matrix = sparse.coo_array((np.ones(n, np.int8), (owner, columns)), shape=(n_owners, n))
    return matrix.tocsr().indices
