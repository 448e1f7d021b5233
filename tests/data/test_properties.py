from dataclasses import replace

import numpy as np
import pandas as pd
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxrec.data.interactions import encode
from jaxrec.data.properties import Changes, Properties, properties
from jaxrec.data.splits.split import global_time, leave_one_out

quick = settings(deadline=None, max_examples=25, database=None)
N_ITEMS = 5
STATED = st.lists(st.tuples(st.integers(0, N_ITEMS - 2), st.integers(-4, 9), st.integers(0, 99)), max_size=25)
TABLES = {"category": pd.DataFrame({"path": [[0, n] for n in range(0, 100, 2)]}, index=range(0, 100, 2))}


def made(category: list[tuple[int, int, int]], available: list[tuple[int, int, int]]) -> Properties:
    changes = {}
    for name, rows in {"category": category, "available": available}.items():
        item, time, value = np.array(rows, np.int64).reshape(-1, 3).T
        kind = pd.Categorical(value) if name == "category" else pd.array(value % 2 == 0, "boolean")
        changes[name] = Changes(item, time, kind)
    return properties(N_ITEMS, changes, TABLES)


def latest(rows: list[tuple[int, int, int]], item: int, time: int) -> int | None:
    """Loop over the changes: the latest not after the time; of equal times, the last."""
    past = [(t, i, value) for i, (its, t, value) in enumerate(rows) if its == item and t <= time]
    return max(past)[2] if past else None


@quick
@given(STATED, STATED, st.lists(st.tuples(st.integers(0, N_ITEMS - 1), st.integers(-6, 12)), max_size=20))
def test_values_are_the_latest_not_after_the_time(category, available, asked):
    known = made(category, available)
    items, times = np.array(asked, np.int64).reshape(-1, 2).T
    found = known.at(items, times)
    assert list(found) == ["category", "available", "path"]
    assert len(found) == len(asked)
    for (item, time), row in zip(asked, found.itertuples(), strict=True):
        expected = latest(category, item, time)
        assert (None if pd.isna(row.category) else row.category) == expected
        assert (row.path if isinstance(row.path, list) else None) == (
            [0, expected] if expected in range(0, 100, 2) else None
        )
        flag = latest(available, item, time)
        assert (None if pd.isna(row.available) else row.available) == (None if flag is None else flag % 2 == 0)


@quick
@given(STATED, STATED, st.integers(-6, 12))
def test_features_as_of_a_time(category, available, moment):
    known = made(category, available)
    each = known.at(np.arange(N_ITEMS), np.full(N_ITEMS, moment))
    pd.testing.assert_frame_equal(known.as_of(moment), each)
    # Later changes have no effect.
    later = made([c for c in category if c[1] <= moment], [a for a in available if a[1] <= moment])
    for name in ("category", "available"):
        assert known.as_of(moment)[name].astype(object).equals(later.as_of(moment)[name].astype(object))


@quick
@given(
    STATED.filter(len), STATED.filter(len), st.sampled_from([leave_one_out, lambda d: global_time(d, test_from=0.6)])
)
def test_a_split_has_features_as_of_its_latest_training_row(category, available, split):
    rows = [(user, item, (3 * user + 2 * item) % 8) for user in range(4) for item in range(N_ITEMS)]
    frame = pd.DataFrame(rows, columns=["user_id", "item_id", "time"], dtype=np.int64)
    features = pd.DataFrame({"item_id": range(N_ITEMS), "title": [f"no {i}" for i in range(N_ITEMS)]})
    data = encode(frame, item_features=features, name="drawn")
    data = replace(data, properties=made(category, available))
    parts = split(data)
    newest = int(parts.selection.train.time.max())
    for part in (parts.selection.train, parts.test.known, parts.test.target):
        assert part.item_features["title"].tolist() == [f"no {i}" for i in part.item_ids]
        pd.testing.assert_frame_equal(part.item_features.drop(columns="title"), data.properties.as_of(newest))
        assert part.properties is data.properties
