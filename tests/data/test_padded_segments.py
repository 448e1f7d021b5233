"""Lists split into padded segments: joined again they are the lists, for all lengths."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from jaxrec.data.padded_segments import padded_segments


@given(st.lists(st.integers(0, 9), max_size=60), st.integers(1, 4), st.integers(1, 5), st.booleans())
def test_joined_segments_are_the_lists(rows, length, per_batch, weighted):
    row = np.array(rows, np.int64)
    entry, weight = np.arange(len(row)) % 7, np.arange(len(row)) + 1.0
    cut = padded_segments(
        row, entry, weight if weighted else None, n_rows=10, padding=7, length=length, per_batch=per_batch
    )
    n_batches, size = cut.row.shape
    assert size == per_batch
    assert cut.entry.shape == (*cut.owner.shape, length)
    found: dict[int, list] = {r: [] for r in range(10)}
    for b in range(n_batches):
        for owner, held, at in zip(cut.owner[b], cut.entry[b], range(len(cut.owner[b])), strict=True):
            filled = held < 7
            if owner == per_batch:
                assert not filled.any()
                continue
            found[cut.row[b, owner]] += [
                (e, cut.weight[b, at, i] if weighted else 1) for i, e in enumerate(held) if e < 7
            ]
        for r, n in zip(cut.row[b], cut.length[b], strict=True):
            assert n == (0 if r == 10 else np.count_nonzero(row == r))
    assert sorted(cut.row[cut.row < 10].tolist()) == list(range(10))
    for r in range(10):
        mine = np.flatnonzero(row == r)
        assert found[r] == [(entry[i], weight[i] if weighted else 1) for i in mine]
