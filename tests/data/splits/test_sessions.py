from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxrec.data.interactions import Interactions, encode
from jaxrec.data.splits.sessions import sessions
from jaxrec.errors import InputError


def data(rows: list[tuple[int, int]]) -> Interactions:
    """Rows of user and seconds."""
    frame = pd.DataFrame(rows, columns=["user_id", "time"], dtype=np.int64).assign(item_id=0)
    return encode(frame.assign(time=frame["time"] * 1000), name="drawn")


def test_a_session_ends_where_the_gap_is_exceeded():
    rows = [(1, 0), (0, 100), (1, 1800), (1, 3601), (0, 100), (0, 1901), (1, 1800)]
    assert sessions(data(rows)).tolist() == [2, 0, 2, 3, 0, 1, 2]
    assert sessions(data(rows), gap=3600).tolist() == [1, 0, 1, 1, 0, 0, 1]
    assert sessions(data(rows), gap=0).tolist() == [2, 0, 3, 4, 0, 1, 3]
    assert sessions(data(rows)).dtype == np.int32


@settings(deadline=None, max_examples=25, database=None)
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 9000)), min_size=1, max_size=40), st.integers(0, 4000))
def test_sessions_against_a_loop_over_users(rows, gap):
    expected, number = {}, -1
    for user in sorted({user for user, _ in rows}):
        before = None
        for row in sorted((i for i, r in enumerate(rows) if r[0] == user), key=lambda i: rows[i][1]):
            if before is None or rows[row][1] - before > gap:
                number += 1
            expected[row], before = number, rows[row][1]
    assert sessions(data(rows), gap).tolist() == [expected[i] for i in range(len(rows))]


def test_data_without_sessions_is_an_error():
    with pytest.raises(InputError, match=r"sessions need times: name their column in data\.time_column"):
        sessions(replace(data([(0, 0)]), time=None))
    with pytest.raises(InputError, match="the session gap must be 0 seconds or more, not -1"):
        sessions(data([(0, 0)]), gap=-1)
    with pytest.raises(InputError, match="nan"):
        sessions(data([(0, 0)]), gap=float("nan"))
