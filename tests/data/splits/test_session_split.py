import numpy as np
import pandas as pd
import pytest
from hypothesis import given as drawn
from hypothesis import settings
from hypothesis import strategies as st

from jaxrec.data.interactions import Interactions, encode
from jaxrec.data.splits.session_split import DAY, by_session
from jaxrec.data.splits.sessions import sessions
from jaxrec.data.splits.split import Split
from jaxrec.errors import InputError

MINUTES = 6 * 60
HOUR = 3_600_000
ROWS = st.lists(
    st.tuples(st.integers(0, 4), st.integers(0, 6), st.integers(0, 100), st.integers(0, 3)), min_size=10, max_size=120
)


def data(rows: list[tuple[int, int, int, int]], with_views: bool = False) -> Interactions:
    """Rows of user, item, hour and whether it is a target (0: no); the value identifies the row."""
    frame = pd.DataFrame(rows, columns=["user_id", "item_id", "time", "target"], dtype=np.int64)
    frame["time"] *= HOUR
    frame["value"] = np.arange(len(rows), dtype=np.float32)
    frame["target"] = (frame["target"] > 0) | (not with_views)
    return encode(frame, name="drawn")


def parts(split: Split) -> list[Interactions]:
    return [split.selection.train, split.selection.validation.target, split.test.target]


def test_times_before_1970_are_split_like_later_ones():
    rows = [(user, user % 4, 24 * user + hour, 1) for user in range(8) for hour in range(3)]
    rows = [(user, (item + n) % 4, hour, target) for n, (user, item, hour, target) in enumerate(rows)]
    early = [(user, item, hour - 24 * 36_525, target) for user, item, hour, target in rows]
    one, other = (by_session(data(each), gap_minutes=MINUTES, validation_days=2, test_days=2) for each in (rows, early))
    assert min(map(len, parts(one))) > 0
    for a, b in zip(parts(one), parts(other), strict=True):
        np.testing.assert_array_equal(a.value, b.value)


@settings(deadline=None, max_examples=25, database=None)
@drawn(ROWS, st.booleans(), st.booleans())
def test_training_precedes_the_test_and_steps_see_only_the_past(rows, with_views, drop):
    source = data(rows, with_views)
    newest = source.time.max()
    try:
        split = by_session(source, gap_minutes=MINUTES, validation_days=1.0, test_days=1.0, drop_unknown_items=drop)
    except InputError as error:
        assert "no user has a" in str(error) or "leaves no session" in str(error)  # noqa: PT017
        return
    train, validation, test = split.selection.train, split.selection.validation, split.test
    users = [set(part.user.tolist()) for part in parts(split)]
    assert sum(map(len, users)) == len(set().union(*users))
    assert (train.time < newest - 2 * DAY).all()
    assert (validation.joined().time < newest - DAY).all()
    assert split.notes["test_before_last_train"] == 0
    assert split.selection.new_users
    values = np.concatenate([validation.known.value, validation.target.value])
    assert len(set(values)) == len(values), "nothing is known and sought at once"
    everything = test.joined()
    assert (np.diff(everything.value) > 0).all(), "the order of the data"
    assert len(np.unique(everything.user)) == everything.n_users
    assert np.bincount(everything.user).min() >= 2
    if drop:
        known = set(train.item.tolist())
        for held in (validation, test):
            rows_of_held = np.isin(held.joined().user, held.target.user)
            assert set(held.joined().item[rows_of_held].tolist()) <= known


@settings(deadline=None, max_examples=25, database=None)
@drawn(ROWS, st.booleans(), st.booleans())
def test_the_split_against_a_loop(rows, with_views, drop):
    """Training rows, and targets of each session, session by session in plain Python."""
    source = data(rows, with_views)
    number = sessions(source, MINUTES * 60)
    newest = source.time.max()
    cuts = [newest - 2 * DAY, newest - DAY, np.inf]
    kept: dict[int, list[list[int]]] = {0: [], 1: [], 2: []}
    for session in range(number.max() + 1):
        mine = sorted(np.flatnonzero(number == session), key=lambda row: (source.time[row], row))
        part = sum(source.time[mine[0]] >= cut for cut in cuts)
        mine = [row for row in mine if source.time[row] < cuts[part]]
        if len(mine) >= 2:
            kept[part].append(mine)
    in_train = {source.item[row] for mine in kept[0] for row in mine}
    expected = [sorted(row for mine in kept[0] for row in mine)]
    known = [*expected[0]]  # finally everything that was a target
    for part in (1, 2):
        held = [[row for row in mine if not drop or source.item[row] in in_train] for mine in kept[part]]
        target = [row for mine in held if len(mine) >= 2 for row in mine[1:]]
        known += [row for mine in held if len(mine) >= 2 for row in mine]
        expected.append(sorted(row for row in target if not with_views or source.target[row]))
    try:
        split = by_session(source, gap_minutes=MINUTES, validation_days=1.0, test_days=1.0, drop_unknown_items=drop)
    except InputError:
        assert min(map(len, expected)) == 0
        return
    for part, rows_of_part in zip(parts(split), expected, strict=True):
        np.testing.assert_array_equal(part.value, source.value[rows_of_part])
    np.testing.assert_array_equal(split.test.joined().value, source.value[sorted(known)])


def test_sessions_are_named_by_user_and_number_and_bring_features():
    rows = [(7, 0, 0, 1), (7, 1, 1, 1), (7, 0, 20, 1), (7, 0, 90, 1), (7, 1, 91, 1), (8, 0, 2, 1), (8, 1, 2, 1)]
    rows += [(8, 0, 30, 1), (8, 1, 30, 1)]
    source = encode(
        pd.DataFrame(rows, columns=["user_id", "item_id", "time", "target"])
        .assign(time=lambda frame: frame.time * HOUR)
        .drop(columns="target"),
        user_features=pd.DataFrame({"user_id": [8, 7], "age": [80, 70]}),
        name="named",
    )
    split = by_session(source, gap_minutes=120.0, validation_days=0.0, test_days=1.0)
    assert split.test.target.user_ids.tolist() == ["7:1", "7:3", "8:1", "8:2"]  # 7:2 is a single event
    assert split.test.target.user_features.age.tolist() == [70, 70, 80, 80]
    assert split.test.target.user.tolist() == [1]
    assert split.selection.validation is None
    assert split.notes["sessions_too_short_dropped"] == 1
    assert split.notes["sessions"] == 4


def test_without_a_gap_each_user_is_one_session_with_the_id_of_the_user():
    rows = [(5, 0, 0, 1), (5, 1, 60, 1), (6, 0, 90, 1), (6, 0, 91, 1), (6, 1, 92, 1), (6, 3, 93, 1), (9, 1, 1, 1)]
    split = by_session(data(rows), gap_minutes=None, validation_days=0.0, test_days=0.5)
    assert split.test.target.user_ids.tolist() == [5, 6]
    assert split.test.target.value.tolist() == [3, 4]  # a repeat is a target; item 3 is not in train
    assert split.notes["rows_of_unknown_items_dropped"] == 1
    kept = by_session(data(rows), gap_minutes=None, validation_days=0.0, test_days=0.5, drop_unknown_items=False)
    assert kept.test.target.value.tolist() == [3, 4, 5]
    assert kept.notes["test_items_not_in_train"] == 1


def test_a_session_is_cut_at_the_start_of_the_next_part():
    rows = [(1, 0, 0, 1), (1, 1, 70, 1), (1, 0, 76, 1), (2, 0, 99, 1), (2, 1, 100, 1)]
    split = by_session(data(rows), gap_minutes=None, validation_days=0.0, test_days=1.0)  # from hour 76 on
    assert split.selection.train.value.tolist() == [0, 1]
    assert split.notes["rows_after_cut_dropped"] == 1


@pytest.mark.parametrize(
    ("days", "message"),
    [
        ((1.0, 30.0), "no session of two or more events to train on: the data spans 4.2 days"),
        ((3.0, 0.1), "no session of two or more events to test"),
    ],
)
def test_days_that_leave_no_data_are_named(days, message):
    rows = [(1, 0, 0, 1), (1, 1, 1, 1), (2, 0, 50, 1), (2, 1, 51, 1), (3, 0, 100, 1)]
    with pytest.raises(InputError, match=message):
        by_session(data(rows), validation_days=days[0], test_days=days[1])


def test_times_are_required():
    source = encode(pd.DataFrame({"user_id": [1, 1], "item_id": [5, 3]}), name="timeless")
    with pytest.raises(InputError, match=r"split=sessions needs times.*data\.time_column"):
        by_session(source)


def test_events_exactly_at_a_boundary():
    """A session that begins at a cut belongs to the later part; a pause of exactly the gap ends no session."""
    minute, newest = 60_000, 10 * DAY
    first = {1: 0, 2: newest - 2 * DAY, 3: newest - DAY, 4: newest - 10 * minute, 5: DAY, 6: DAY}
    pause = {5: 60 * minute, 6: 60 * minute + 30_000}
    rows = [(user, n, start + n * pause.get(user, 10 * minute)) for user, start in first.items() for n in range(2)]
    source = encode(pd.DataFrame(rows, columns=["user_id", "item_id", "time"]), name="edges")
    split = by_session(source, validation_days=1.0, test_days=1.0)
    assert [sorted(part.user_ids[np.unique(part.user)]) for part in parts(split)] == [
        ["1:1", "5:1"],
        ["2:1"],
        ["3:1", "4:1"],
    ]
    assert split.notes["sessions_too_short_dropped"] == 2  # those of user 6


def test_days_are_counted_from_the_first_to_the_last_event():
    """Three days, long after 1970; sessions of one event each."""
    day, start = 86_400_000, 1_400_000_000_000
    ids = np.arange(1), np.arange(2)
    data = Interactions(
        np.zeros(2, np.int32), np.arange(2, dtype=np.int32), None, start + day * np.array([0, 3]), None, *ids
    )
    with pytest.raises(InputError, match=r"the data spans 3\.0 days"):
        by_session(data)


def test_a_sample_of_sessions_keeps_history_and_order():
    rows = [(user, item, hour + 24 * user, 1) for user in range(8) for hour, item in enumerate((1, 2, 3))]
    held = by_session(data(rows), gap_minutes=None, validation_days=2.0, test_days=3.0, drop_unknown_items=False).test
    some, all_rows = held.sampled(2), held.joined()
    users = set(some.target.user.tolist())
    assert len(users) == 2 < len(set(held.target.user.tolist()))
    is_target = np.argsort(held.order) >= len(held.known)
    expected = all_rows.value[~is_target | np.isin(all_rows.user, list(users))]
    np.testing.assert_array_equal(some.joined().value, expected)
