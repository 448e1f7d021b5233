import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from jaxrec.data.sessions import sessions


def test_a_longer_pause_and_another_user_begin_a_session():
    user = np.array([1, 0, 1, 0, 0, 1], np.int32)
    time = np.array([0, 100, 10, 0, 201, 20])
    # User 0 at 0, 100, 201; user 1 at 0, 10, 20; a pause of exactly the gap does not end a session.
    assert sessions(user, time, 100).tolist() == [2, 0, 2, 0, 1, 2]
    assert sessions(user, time, 100).dtype == np.int32


def test_no_rows_no_sessions():
    assert sessions(np.empty(0, np.int32), np.empty(0, np.int64), 1).tolist() == []


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 50)), max_size=40), st.integers(0, 10))
def test_as_walking_through_each_user(rows, gap):
    expected, number = {}, -1
    for user in range(4):
        before = None
        for time, row in sorted((time, row) for row, (who, time) in enumerate(rows) if who == user):
            number += before is None or time - before > gap
            expected[row], before = number, time
    user, time = np.array(rows, np.int64).reshape(-1, 2).T
    assert sessions(user, time, gap).tolist() == [expected[row] for row in range(len(rows))]
