"""User histories on the host against plain Python lists."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxrec.data.histories import select_rows
from jaxrec.data.interactions import Interactions

quick = settings(max_examples=25, deadline=None)
ENTRIES = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 6), st.integers(0, 9)), max_size=30)


def data(entries, timed=True, **columns) -> Interactions:
    user, item, time = np.array(entries, np.int64).reshape(-1, 3).T
    time = 1500 * time if timed else None
    ids = np.arange(5), np.arange(7)
    return Interactions(user.astype(np.int32), item.astype(np.int32), None, time, None, *ids, **columns)


@given(ENTRIES, st.booleans())
@quick
def test_histories_are_in_order_of_time_then_file(entries, timed):
    found = data(entries, timed).histories
    for user in range(5):
        mine = [entry for entry in entries if entry[0] == user]
        if timed:
            mine = sorted(mine, key=lambda entry: entry[2])
        stretch = slice(found.offsets[user], found.offsets[user + 1])
        assert found.items[stretch].tolist() == [item for _, item, _ in mine]
        if timed:
            times = [1.5 * time for *_, time in mine]
            gaps = [0.0, *np.diff(times)] if mine else []
            assert found.gap[stretch].tolist() == gaps
        else:
            assert found.gap is None


def test_only_targets_are_masked():
    entries = [(0, 1, 0), (0, 2, 1), (3, 4, 0), (3, 5, 2), (3, 6, 1)]
    target = np.array([True, False, False, True, True])
    found = data(entries, target=target, event=np.array([1, 0, 0, 1, 1], np.int8)).histories
    offsets, items = found.masked(np.array([3, 1, 0]))
    assert offsets.tolist() == [0, 2, 2, 3]
    assert items.tolist() == [6, 5, 1]
    assert found.event.tolist() == [1, 0, 0, 1, 1]
    assert data(entries).histories.masked(np.array([3]))[1].tolist() == [4, 6, 5]


@given(st.lists(st.lists(st.integers(0, 8), max_size=5), min_size=1, max_size=6), st.data())
@quick
def test_select_rows(lists, drawn):
    rows = drawn.draw(st.lists(st.integers(0, len(lists) - 1), max_size=8))
    flat = np.array([item for row in lists for item in row], np.int32)
    offsets, items = select_rows(np.cumsum([0, *map(len, lists)]), flat, np.array(rows, int))
    assert offsets.tolist() == np.cumsum([0, *(len(lists[row]) for row in rows)]).tolist()
    assert items.tolist() == [item for row in rows for item in lists[row]]
