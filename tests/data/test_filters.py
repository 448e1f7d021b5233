from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxrec.data.filters import filtered
from jaxrec.data.interactions import encode
from jaxrec.errors import InputError
from tests.data.rows import PAIRS, frame, quick


@quick
@given(PAIRS, st.integers(2, 4))
def test_k_core_against_repeated_counting(rows, k):
    left = [row[:2] for row in rows]
    while True:
        users, items = Counter(u for u, _ in left), Counter(i for _, i in left)
        fewer = [(u, i) for u, i in left if users[u] >= k and items[i] >= k]
        if fewer == left:
            break
        left = fewer
    if left:
        found, _ = filtered(frame(rows), duplicates="keep", k_core=k)
        assert list(zip(found["user_id"], found["item_id"], strict=True)) == left
    else:
        with pytest.raises(InputError, match=f"data.k_core={k} drops all {len(rows)} interactions"):
            filtered(frame(rows), duplicates="keep", k_core=k)


def test_k_core_removes_a_chain_completely():
    core = [(0, 0, 0), (0, 1, 0), (1, 0, 0), (1, 1, 0)]
    tail = [(user, item, 0) for user in range(1, 9) for item in (user, user + 1)][
        1:
    ]  # each pair keeps the next above the limit
    found, _ = filtered(frame(tail + core), k_core=2)
    assert list(zip(found["user_id"], found["item_id"], strict=True)) == [row[:2] for row in core]


@quick
@given(PAIRS, st.sampled_from(["first", "last"]), st.booleans())
def test_one_row_of_each_pair_stays(rows, which, timed):
    table = frame(rows) if timed else frame(rows).drop(columns="time")
    pick = min if which == "first" else max
    best = {}
    for position, (user, item, time) in enumerate(rows):
        key = (time if timed else 0, position)
        best[user, item] = pick(best.get((user, item), key), key)
    assert filtered(table, duplicates=which)[0]["value"].tolist() == sorted(position for _, position in best.values())


def test_duplicates_last_keeps_the_latest_by_time():
    late_first = frame([(1, 2, 5), (1, 2, 0)])
    assert filtered(late_first, duplicates="last")[0]["time"].tolist() == [5]
    assert filtered(late_first, duplicates="first")[0]["time"].tolist() == [0]


def test_duplicates_can_be_kept_refused_and_are_counted_by_part():
    twice = frame([(1, 2, 0), (3, 4, 0), (1, 2, 5)])
    assert len(filtered(twice, duplicates="keep")[0]) == 3
    with pytest.raises(InputError, match=r"user 1 and item 2 occur together more than once \(2 such rows"):
        filtered(twice, duplicates="error")
    assert len(filtered(twice.assign(part=np.array([0, 0, 2], np.int8)))[0]) == 3
    assert len(filtered(twice.assign(part=np.array([2, 0, 2], np.int8)))[0]) == 2


def test_each_filter_counts_what_it_drops():
    table = frame([(1, 1, 0), (1, 2, 0), (1, 2, 1), (2, 1, 0), (2, 2, 0), (2, 2, 1), (2, 2, 2), (3, 3, 0), (1, 9, 0)])
    table["value"] = np.array([1, 1, 1, 1, 1, 1, 1, 1, 0.5], np.float32)
    found, notes = filtered(table, min_value=1.0, k_core=2)
    assert list(zip(found["user_id"], found["item_id"], strict=True)) == [(1, 1), (1, 2), (2, 1), (2, 2)]
    assert notes == {
        "rows below data.min_value=1, dropped": 1,
        "rows of the same user and item as a kept one, dropped": 3,
        "rows outside data.k_core=2, dropped": 1,
    }
    views = table.assign(event=np.array([0, 0, 1, 0, 0, 0, 1, 0, 0], np.int8))
    assert filtered(views)[1] == {"rows of the same user, item and event as a kept one, dropped": 1}
    assert filtered(found, min_value=1.0, k_core=2)[1] == {}


def test_min_value_is_exact_in_float32():
    table = frame([(1, 1, 0), (1, 2, 0), (1, 3, 0)]).assign(value=np.array([0.5, 0.7, 0.9], np.float32))
    assert filtered(table, min_value=0.7)[0]["item_id"].tolist() == [2, 3]


def test_min_value_names_its_key_when_it_cannot_work():
    with pytest.raises(InputError, match=r"data.min_value=9.0 \(the largest value is 1\) drops all 2"):
        filtered(frame([(1, 1, 0), (1, 2, 0)]), min_value=9.0)
    with pytest.raises(InputError, match=r"data.value_column"):
        filtered(frame([(1, 1, 0)]).drop(columns="value"), min_value=1.0)


def test_vocabulary_is_what_the_filters_leave():
    table = frame([(1, 1, 0), (1, 2, 0), (2, 1, 0), (2, 2, 0), (3, 9, 0)])
    table = table.astype({"user_id": "category"})
    data = encode(filtered(table, k_core=2)[0], name="core")
    assert data.user_ids.tolist() == [1, 2]
    assert sorted(data.item_ids) == [1, 2]
