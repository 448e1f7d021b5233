import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxrec.data.sessions import sessions


@settings(deadline=None, max_examples=40, database=None)
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 40)), max_size=40), st.integers(0, 6))
def test_sessions_are_those_of_a_loop(rows, gap):
    """Users and times in any order; a gap of exactly `gap` stays in the session."""
    user, time = np.array(rows, np.int64).reshape(-1, 2).T
    expected, number, last = np.zeros(len(rows), int), -1, None
    for row in sorted(range(len(rows)), key=lambda row: (user[row], time[row], row)):
        number += last is None or user[row] != user[last] or time[row] - time[last] > gap
        expected[row], last = number, row
    found = sessions(user.astype(np.int32), time, gap)
    assert found.dtype == np.int32
    np.testing.assert_array_equal(found, expected)
