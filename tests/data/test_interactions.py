from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxrec.data import interactions
from jaxrec.data.interactions import Interactions, encode, summary
from jaxrec.errors import InputError
from tests.data.rows import PAIRS, frame, quick


@quick
@given(PAIRS)
def test_encoding_keeps_all_rows_in_order(rows):
    data = encode(frame(rows), name="drawn")
    decoded = zip(data.user_ids[data.user], data.item_ids[data.item], data.time, strict=True)
    assert [tuple(map(int, row)) for row in decoded] == rows
    assert data.user_ids.tolist() == sorted({u for u, _, _ in rows})
    assert sorted(data.item_ids) == sorted({i for _, i, _ in rows})
    assert (data.user.dtype, data.item.dtype, data.value.dtype) == (np.int32, np.int32, np.float32)


def test_the_item_table_has_a_fixed_shuffle():
    rows = pd.DataFrame({"user_id": 0, "item_id": np.arange(1000)})
    first, again = encode(rows, name="a"), encode(rows.sample(frac=1, random_state=1), name="b")
    assert (first.item_ids == again.item_ids).all()
    # Ids numbered by popularity must not stay in that order: ties are broken by position.
    assert abs(np.corrcoef(first.item_ids, np.arange(1000))[0, 1]) < 0.1


def test_a_number_and_its_text_are_the_same_user():
    data = encode(pd.DataFrame({"user_id": [7, "7", "x"], "item_id": [1, 2, 3]}, dtype=object), name="mixed")
    assert data.user_ids.tolist() == ["7", "x"]
    assert data.user.tolist() == [0, 0, 1]


def test_rows_without_an_id_are_refused():
    with pytest.raises(InputError, match=r"2 rows have no item_id, first in row 2"):
        encode(pd.DataFrame({"user_id": ["a", "b", "c"], "item_id": ["x", None, None]}), name="holes")


def test_too_many_interactions_for_positions_are_refused(monkeypatch):
    monkeypatch.setattr(interactions, "MAX_INTERACTIONS", 1_000)
    with pytest.raises(InputError, match=r"the data has 1,001 interactions, .* use at most 1,000"):
        encode(frame([(1, 2, 0)] * 1_001), name="rows")


def test_features_are_in_the_order_of_the_id_tables():
    rows = pd.DataFrame({"user_id": [3, 1, 2], "item_id": ["a", "b", "c"]})
    users = pd.DataFrame({"user_id": ["2", "9", "3"], "age": [22, 99, 33]})
    items = pd.DataFrame({"item_id": ["c", "a", "b"], "title": ["C", "A", "B"]})
    data = encode(rows, user_features=users, item_features=items, name="featured")
    assert data.user_features["age"].fillna(-1).tolist() == [-1, 22, 33]
    assert [title.lower() for title in data.item_features["title"]] == data.item_ids.tolist()


def test_features_match_text_and_numeric_ids():
    rows = pd.DataFrame({"user_id": ["7", "x"], "item_id": [1, 2]})
    data = encode(rows, user_features=pd.DataFrame({"user_id": [7], "age": [70]}), name="mixed")
    assert data.user_features["age"].fillna(-1).tolist() == [70, -1]


def test_features_given_twice_are_refused():
    rows = pd.DataFrame({"user_id": [1], "item_id": [1]})
    with pytest.raises(InputError, match="features have two rows with user_id 1: keep one row per id"):
        encode(rows, user_features=pd.DataFrame({"user_id": [1, 1], "age": [2, 3]}), name="twice")


@quick
@given(PAIRS, st.booleans())
def test_histories_are_oldest_first_and_ties_keep_file_order(rows, timed):
    table = frame(rows) if timed else frame(rows).drop(columns="time")
    data = encode(table, name="drawn")
    offsets, items = data.histories[:2]
    assert (offsets.dtype, items.dtype, len(offsets)) == (np.int64, np.int32, data.n_users + 1)
    for u, user_id in enumerate(data.user_ids):
        mine = [(row[2] if timed else 0, i, row[1]) for i, row in enumerate(rows) if row[0] == user_id]
        assert data.item_ids[items[offsets[u] : offsets[u + 1]]].tolist() == [item for _, _, item in sorted(mine)]


@quick
@given(PAIRS, st.booleans(), st.data())
def test_parts_of_sorted_data_are_sorted(rows, timed, drawn):
    """A part in file order, selected by positions or by a mask, has the order of a part sorted on its own."""
    table = frame(rows) if timed else frame(rows).drop(columns="time")
    taken = np.array(drawn.draw(st.lists(st.booleans(), min_size=len(rows), max_size=len(rows))))
    for part in (taken, np.flatnonzero(taken)):
        data = encode(table, name="drawn")
        alone = data.take(part)
        assert "user_order" not in vars(alone)
        _ = data.user_order
        inherited = data.annotated(notes={"rows": 1}).take(part)
        assert "user_order" in vars(inherited)
        for one, other in zip(inherited.user_order, alone.user_order, strict=True):
            np.testing.assert_array_equal(one, other)


def test_reordered_rows_are_sorted_again():
    """Ties in time follow the new row order, not that of the file."""
    data = encode(frame([(1, 1, 5), (1, 2, 5), (1, 3, 0)]), name="three")
    _ = data.user_order
    turned = data.take(np.array([1, 0]))
    assert turned.user_order[1].tolist() == [0, 1]
    assert data.item_ids[turned.histories.items].tolist() == [2, 1]


def test_users_without_rows_have_an_empty_history():
    data = encode(frame([(1, 1, 0), (2, 1, 0), (3, 1, 0)]), name="three")
    assert data.take(np.array([0, 2])).histories.offsets.tolist() == [0, 1, 1, 2]
    assert data.take(np.array([0])).histories.offsets.tolist() == [0, 1, 1, 1]


def test_summary_counts():
    data = encode(frame([(1, 1, 0), (1, 2, 86_400_000), (2, 1, 3)]), name="small")
    assert summary(data) == {
        "users": 2,
        "items": 2,
        "interactions": 3,
        "density": 0.75,
        "first": "1970-01-01T00:00:00",
        "last": "1970-01-02T00:00:00",
    }
    assert "first" not in summary(encode(frame([(1, 1, 0)]).drop(columns="time"), name="timeless"))


def test_selecting_and_concatenating_rows():
    data = encode(frame([(1, 1, 0), (2, 2, 1), (3, 3, 2)]).drop(columns="value"), name="three")
    both = data.take(np.array([2])).joined(data.take(np.array([True, False, False])))
    assert both.user.tolist() == [2, 0]
    assert both.time.tolist() == [2, 0]
    assert both.value is None
    assert replace(data, value=np.ones(3, np.float32)).joined(data).value is None
    assert both.n_users == 3


def test_rows_are_sorted_once_by_user_and_time():
    user, time = np.array([1, 0, 1, 0, 1], np.int32), np.array([5, 9, 3, 2, 3], np.int64)
    data = Interactions(user, user, None, time, None, np.arange(3), np.arange(2))
    offsets, rows = data.user_order
    assert (offsets.tolist(), rows.tolist()) == ([0, 2, 5, 5], [3, 1, 2, 4, 0])  # of equal times, the first row
    assert data.user_order[1] is rows
    assert data.take(np.array([0, 2])).user_order[1].tolist() == [1, 0]
