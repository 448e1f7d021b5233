"""Random interactions as frames, for tests with hypothesis."""

import numpy as np
import pandas as pd
from hypothesis import settings
from hypothesis import strategies as st

PAIRS = st.lists(st.tuples(st.integers(0, 9), st.integers(0, 7), st.integers(0, 3)), min_size=1, max_size=60)
quick = settings(deadline=None, max_examples=25, database=None)


def frame(rows: list[tuple[int, int, int]]) -> pd.DataFrame:
    """Rows of user, item and time; the value is the row's position."""
    columns = pd.DataFrame(rows, columns=["user_id", "item_id", "time"], dtype=np.int64)
    return columns.assign(value=np.arange(len(rows), dtype=np.float32))
