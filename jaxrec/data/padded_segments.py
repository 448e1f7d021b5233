"""Padded segments: variable-length lists cut into segments of one length, in batches of one static shape."""

from typing import NamedTuple

import numpy as np


class PaddedSegments(NamedTuple):
    """Batches of complete rows: at most B rows and C segments of L entries per batch.

    Attributes:
        row: int32 [n, B], the rows of each batch; padded with the number of rows.
        length: float32 [n, B], number of entries of each row.
        owner: int32 [n, C], index within the batch of the row a segment belongs to; padded with B.
        entry: int32 [n, C, L], the entries of the rows; padded with `padding`.
        weight: float32 [n, C, L], weight of each entry; None: all weights are 1.
    """

    row: np.ndarray
    length: np.ndarray
    owner: np.ndarray
    entry: np.ndarray
    weight: np.ndarray | None


def padded_segments(
    row: np.ndarray,
    entry: np.ndarray,
    weight: np.ndarray | None,
    *,
    n_rows: int,
    padding: int,
    length: int,
    per_batch: int,
) -> PaddedSegments:
    """Group pairs (`row`, `entry`) into one list per row and cut the lists into segments.

    A batch has at most `per_batch` rows and `per_batch` segments; a list of more than `length * per_batch` entries
    increases the size of all batches so that it fits into one.

    Args:
        row: row of each pair, [N].
        entry: entry of each pair, [N].
        weight: weight of each pair, [N], or None.
        n_rows: number of rows.
        padding: entry that fills incomplete segments.
        length: L, entries per segment.
        per_batch: B, rows per batch.
    """
    order = np.argsort(row, kind="stable")
    row = row[order].astype(np.int64)
    lengths = np.bincount(row, minlength=n_rows)
    first_entry = _starts(lengths)
    n_segments = -(-lengths // length)
    first_segment = _starts(n_segments)
    n_slots = max(per_batch, int(n_segments.max(initial=1)))
    starts = _batches(first_segment, n_slots, per_batch)
    n_batches, rows = len(starts) - 1, np.arange(n_rows)
    batch = np.repeat(np.arange(n_batches), np.diff(starts))  # batch of each row

    members = np.full((n_batches, per_batch), n_rows, np.int32)
    members[batch, rows - starts[batch]] = rows
    sizes = np.zeros((n_batches, per_batch), np.float32)
    sizes[batch, rows - starts[batch]] = lengths

    owners = np.repeat(rows, n_segments)  # row of each segment
    slot = np.arange(len(owners)) - first_segment[starts[batch[owners]]]
    owner = np.full((n_batches, n_slots), per_batch, np.int32)
    owner[batch[owners], slot] = owners - starts[batch[owners]]

    at = np.arange(len(row)) - first_entry[row]
    segment = first_segment[row] + at // length
    place = (batch[row], slot[segment], at % length)
    entries = np.full((n_batches, n_slots, length), padding, np.int32)
    entries[place] = entry[order]
    weights = None
    if weight is not None:
        weights = np.zeros(entries.shape, np.float32)
        weights[place] = weight[order]
    return PaddedSegments(members, sizes, owner, entries, weights)


def _starts(counts: np.ndarray) -> np.ndarray:
    return np.concatenate([[0], np.cumsum(counts)])


def _batches(first_segment: np.ndarray, n_slots: int, per_batch: int) -> np.ndarray:
    """Fill batches greedily; return the first row of each batch, followed by the number of rows."""
    n_rows, starts = len(first_segment) - 1, [0]
    while starts[-1] < n_rows:
        fits = int(np.searchsorted(first_segment, first_segment[starts[-1]] + n_slots, side="right")) - 1
        starts.append(min(fits, starts[-1] + per_batch, n_rows))
    return np.array(starts)
