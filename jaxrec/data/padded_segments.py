"""Lists of different length cut into pieces of one length, in batches of bounded size: work of one shape a batch."""

from typing import NamedTuple

import numpy as np


class PaddedSegments(NamedTuple):
    """Batches of whole rows: each has at most B rows, of at most C pieces of L entries together.

    row:    int32 [n, B], the rows of each batch; the number of rows where there is none
    length: float32 [n, B], entries of each
    owner:  int32 [n, C], which of its batch's rows a piece belongs to; B where there is none
    entry:  int32 [n, C, L], what the rows hold; `padding` where there is nothing
    weight: float32 [n, C, L], one an entry; None: each weighs 1
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
    length: int = 64,
    per_batch: int = 256,
) -> PaddedSegments:
    """Cuts the lists that the pairs `row`, `entry` make; a batch has at most `per_batch` rows and as many pieces.

    A list of more than `length * per_batch` entries makes all batches larger, so that it fits in one.
    """
    order = np.argsort(row, kind="stable")
    row = row[order].astype(np.int64)
    lengths = np.bincount(row, minlength=n_rows)
    first_entry = _starts(lengths)
    n_pieces = -(-lengths // length)
    first_piece = _starts(n_pieces)
    n_slots = max(per_batch, int(n_pieces.max(initial=1)))
    starts = _batches(first_piece, n_slots, per_batch)
    n_batches, rows = len(starts) - 1, np.arange(n_rows)
    batch = np.repeat(np.arange(n_batches), np.diff(starts))  # of each row

    members = np.full((n_batches, per_batch), n_rows, np.int32)
    members[batch, rows - starts[batch]] = rows
    sizes = np.zeros((n_batches, per_batch), np.float32)
    sizes[batch, rows - starts[batch]] = lengths

    owners = np.repeat(rows, n_pieces)  # of each piece, its row
    slot = np.arange(len(owners)) - first_piece[starts[batch[owners]]]
    owner = np.full((n_batches, n_slots), per_batch, np.int32)
    owner[batch[owners], slot] = owners - starts[batch[owners]]

    at = np.arange(len(row)) - first_entry[row]
    piece = first_piece[row] + at // length
    place = (batch[row], slot[piece], at % length)
    entries = np.full((n_batches, n_slots, length), padding, np.int32)
    entries[place] = entry[order]
    weights = None
    if weight is not None:
        weights = np.zeros(entries.shape, np.float32)
        weights[place] = weight[order]
    return PaddedSegments(members, sizes, owner, entries, weights)


def _starts(counts: np.ndarray) -> np.ndarray:
    return np.concatenate([[0], np.cumsum(counts)])


def _batches(first_piece: np.ndarray, n_slots: int, per_batch: int) -> np.ndarray:
    """The first row of each batch, and the number of rows: as many rows as fit, one batch after the other."""
    n_rows, starts = len(first_piece) - 1, [0]
    while starts[-1] < n_rows:
        fits = int(np.searchsorted(first_piece, first_piece[starts[-1]] + n_slots, side="right")) - 1
        starts.append(min(fits, starts[-1] + per_batch, n_rows))
    return np.array(starts)
