from contextlib import suppress
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given as drawn
from hypothesis import settings
from hypothesis import strategies as st

from jaxrec.data.filters import filtered
from jaxrec.data.interactions import Interactions, encode
from jaxrec.data.splits.split import Split, given, global_time, holdout, leave_one_out, rolling
from jaxrec.errors import InputError

quick = settings(deadline=None, max_examples=25, database=None)
ROWS = st.lists(st.tuples(st.integers(0, 5), st.integers(0, 30), st.integers(0, 9)), min_size=6, max_size=80)


def data(rows: list[tuple[int, int, int]], duplicates: str = "last") -> Interactions:
    """Rows of user, item and time; the value identifies the row."""
    frame = pd.DataFrame(rows, columns=["user_id", "item_id", "time"], dtype=np.int64)
    frame["value"] = np.arange(len(rows), dtype=np.float32)
    return encode(filtered(frame, duplicates=duplicates)[0], name="drawn")


def parts(split: Split) -> list[Interactions]:
    held = [] if split.selection.validation is None else [split.selection.validation.target]
    return [split.selection.train, *held, split.test.target]


def pairs(part: Interactions) -> set[tuple[int, int]]:
    return set(zip(part.user.tolist(), part.item.tolist(), strict=True))


def same(one: Split, other: Split) -> bool:
    return all(np.array_equal(a.value, b.value) for a, b in zip(parts(one), parts(other), strict=True))


def splits(source: Interactions) -> list[Split]:
    made = []
    for split in (
        lambda: holdout(source, validation_fraction=0.2, test_fraction=0.3, seed=1),
        lambda: holdout(source, validation_fraction=0.0, test_fraction=0.5, seed=1),
        lambda: leave_one_out(source),
        lambda: global_time(source, validation_from=0.5, test_from=0.8),
        lambda: global_time(source, test_from=0.5),
    ):
        with suppress(InputError):  # too few rows, or too many of one time
            made.append(split())
    return made


@quick
@drawn(ROWS)
def test_parts_are_disjoint_and_complete(rows):
    source = data(rows)
    for split in splits(source):
        values = np.concatenate([part.value for part in parts(split)])
        assert sorted(values) == sorted(source.value)
        for part in parts(split):
            assert (np.diff(part.value) > 0).all(), "rows keep their order"
            assert part.user_ids is source.user_ids
            assert part.part is None


@quick
@drawn(ROWS)
def test_held_out_rows_are_not_known(rows):
    source = data(rows, duplicates="keep")
    for split in splits(source):
        sets = [pairs(part) for part in parts(split)]
        assert sum(map(len, sets)) == len(set().union(*sets))
        assert len(split.test.target) == len(sets[-1])
        lost = split.notes["test_already_known"] + split.notes["validation_already_known"]
        assert sum(map(len, parts(split))) + lost == len(source)


@quick
@drawn(ROWS, st.floats(0, 0.45), st.floats(0.05, 0.45), st.integers(0, 3))
def test_holdout_takes_the_rounded_share_of_every_user(rows, validation, test, seed):
    source = data(rows)
    counts = np.bincount(source.user, minlength=source.n_users)
    expected = []
    for count in counts:
        held = [int(count * share + 0.5 + 1e-9) for share in (validation, test)]
        expected.append(held if sum(held) < count else [0, 0])
    expected = np.array(expected)
    options = {"validation_fraction": validation, "test_fraction": test, "seed": seed}
    if not expected[:, 1].any() or (validation and not expected[:, 0].any()):
        with pytest.raises(InputError, match=r"no user has a (test|validation) item"):
            holdout(source, **options)
        return
    split = holdout(source, **options)
    held = split.selection.validation and split.selection.validation.target
    found = np.zeros(source.n_users) if held is None else np.bincount(held.user, minlength=source.n_users)
    assert (found == expected[:, 0]).all()
    assert (np.bincount(split.test.target.user, minlength=source.n_users) == expected[:, 1]).all()
    assert same(split, holdout(source, **options))


def test_holdout_is_random_within_users_and_set_by_the_seed():
    source = data([(user, item, 0) for user in range(50) for item in range(20)])
    first, second = holdout(source, seed=0), holdout(source, seed=1)
    assert [len(part) for part in parts(first)] == [800, 100, 100]
    assert not same(first, second)
    # 100 draws of 20 places: the mean place is 9.5 with a standard error of 0.58.
    assert abs((first.test.target.value % 20).mean() - 9.5) < 3


def test_a_share_that_ends_in_one_half_rounds_up():
    source = data([(0, item, 0) for item in range(50)])  # 50 * 0.29 is 14.5, and 14.499999999999998 in floats
    assert len(holdout(source, validation_fraction=0.0, test_fraction=0.29).test.target) == 15


def test_users_left_without_training_rows_keep_all_rows():
    source = data([(0, 0, 0), (0, 1, 0), *((1, item, 0) for item in range(10))])
    split = holdout(source, validation_fraction=0.3, test_fraction=0.3)
    assert [np.bincount(part.user, minlength=2).tolist() for part in parts(split)] == [[2, 4], [0, 3], [0, 3]]


@quick
@drawn(ROWS, st.integers(1, 3))
def test_the_last_interaction_is_for_test_and_the_one_before_for_validation(rows, min_history):
    source = data(rows)
    train, validation, test = [], [], []
    for user in range(source.n_users):
        mine = np.flatnonzero(source.user == user)
        mine = sorted(mine, key=lambda row: (source.time[row], row))
        held = 2 if len(mine) >= min_history + 2 else 0
        train += mine[: len(mine) - held]
        validation += mine[len(mine) - held :][:1]
        test += mine[len(mine) - held :][1:]
    if not test:
        with pytest.raises(InputError, match="no user has a test item"):
            leave_one_out(source, min_history=min_history)
        return
    split = leave_one_out(source, min_history=min_history)
    for part, expected in zip(parts(split), (train, validation, test), strict=True):
        assert part.value.tolist() == sorted(source.value[expected].tolist())


def test_without_times_file_order_is_used():
    frame = pd.DataFrame({"user_id": [1, 1, 2, 1, 2, 2], "item_id": [5, 3, 9, 4, 8, 7]})
    split = leave_one_out(encode(frame, name="timeless"))
    assert split.test.target.item_ids[split.test.target.item].tolist() == [4, 7]
    assert "test_before_last_train" not in split.notes


DAYS = [(user, 10 * user + day, day * 86_400_000) for user in range(3) for day in range(10)]  # from 1970-01-01


@pytest.mark.parametrize(
    ("validation_from", "test_from", "sizes"),
    [
        ("1970-01-07", "1970-01-09", [18, 6, 6]),
        ("1970-01-07T00:00:01", "1970-01-09", [21, 3, 6]),
        (6 * 86_400, 8.0 * 86_400, [18, 6, 6]),
        (0.6, 0.8, [18, 6, 6]),
        (0.65, 0.8, [18, 6, 6]),  # ties belong to the later part
        (None, 0.8, [24, 6]),
        (None, 1.0, [3, 27]),  # one second, not a share
    ],
)
def test_time_cuts(validation_from, test_from, sizes):
    split = global_time(data(DAYS), validation_from=validation_from, test_from=test_from)
    assert [len(part) for part in parts(split)] == sizes
    assert split.selection.train.time.max() < split.test.target.time.min()
    assert split.notes["test_before_last_train"] == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"validation_from": 0.9, "test_from": 0.8},
            "validation_from=0.9 must be before split.test_from=0.8",
        ),
        ({"validation_from": 0.8, "test_from": 0.8}, "validation_from=0.8 must be before split.test_from=0.8"),
        ({"test_from": "1980-01-01"}, "no user has a test item: .*from 1970-01-01T00:00:00 to 1970-01-10"),
        ({"test_from": "1960-01-01"}, "no training data left"),
        ({"validation_from": "1970-01-05T01", "test_from": "1970-01-05T02"}, "no user has a validation item: "),
        ({"test_from": 2015}, r"split.test_from=2015\), look like years: .* or seconds since 1970$"),
        ({"test_from": "christmas"}, "split.test_from=christmas has a time that cannot be read"),
    ],
)
def test_impossible_cuts(options, message):
    with pytest.raises(InputError, match=message):
        global_time(data(DAYS), **options)


@pytest.mark.parametrize(
    ("fold", "train", "validation", "test"),  # days; of 3 users, so that a tenth of the data is a day
    [(0, range(5), [5], [6, 7]), (1, range(7), [7], [8, 9])],
)
def test_test_periods_are_consecutive(fold, train, validation, test):
    split = rolling(data(DAYS), fold=fold, folds=2, validation_fraction=0.1, test_fraction=0.2)
    days = [sorted(set((part.time // 86_400_000).tolist())) for part in parts(split)]
    assert days == [list(train), validation, test]
    assert [len(part) for part in parts(split)] == [3 * len(each) for each in days]
    assert split.notes["after_test_dropped"] == 30 - 3 * sum(map(len, days))


def test_the_last_test_period_ends_with_the_data():
    split = rolling(data(DAYS), fold=2, folds=3, validation_fraction=0.0, test_fraction=0.1)
    assert [len(part) for part in parts(split)] == [27, 3]
    assert split.selection.validation is None


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"fold": 4}, "split.fold=4 must be below split.folds=4: folds are counted from 0"),
        ({"folds": 9}, r"split.folds=9 test periods of split.test_fraction=0.1 .* leave no training data"),
    ],
)
def test_invalid_folds(options, message):
    with pytest.raises(InputError, match=message):
        rolling(data(DAYS), **options)


def test_a_fold_without_earlier_data():
    with pytest.raises(InputError, match=r"before the end of split.fold=0: the data has 30 interactions of 3 users"):
        rolling(replace(data(DAYS), time=np.zeros(30, np.int64)))


@pytest.mark.parametrize("split", [rolling, lambda source: global_time(source, test_from=0.5)])
def test_time_cuts_need_times(split):
    frame = pd.DataFrame({"user_id": [1, 1], "item_id": [5, 3]})
    with pytest.raises(InputError, match=r"data.time_column"):
        split(encode(frame, name="timeless"))


def parted(part: list[int], users: list[int] | None = None, items: list[int] | None = None) -> Interactions:
    n = len(part)
    users, items = users or [1] * n, items or list(range(n))
    frame = pd.DataFrame({"user_id": users, "item_id": items, "part": np.array(part, np.int8)})
    return encode(frame.assign(value=np.arange(n, dtype=np.float32)), name="parted")


def test_given_parts_are_taken_as_they_are():
    split = given(parted([0, 2, 1, 0, 2]), validation_fraction=0.5)
    assert [part.value.tolist() for part in parts(split)] == [[0, 3], [2], [1, 4]]


def test_given_takes_validation_from_train():
    source = parted([0] * 10 + [2] * 2)
    assert given(source).selection.validation is None
    split = given(source, validation_fraction=0.3, seed=4)
    assert [len(part) for part in parts(split)] == [7, 3, 2]
    assert split.test.target.value.tolist() == [10, 11]
    assert same(split, given(source, validation_fraction=0.3, seed=4))
    assert any(not same(split, given(source, validation_fraction=0.3, seed=seed)) for seed in range(5))
    assert source.part.tolist() == [0] * 10 + [2] * 2


@pytest.mark.parametrize(
    ("validation", "counts"), [(0.0, "9 train, 0 validation, 1 test"), (0.1, "8 train, 1 validation, 1 test")]
)
def test_the_repr_of_a_split_has_its_sizes(validation, counts):
    split = holdout(data([(0, item, 0) for item in range(10)]), validation_fraction=validation, test_fraction=0.1)
    assert repr(split).endswith(f"1 users, 10 items; {counts})")


def test_notes_count_cold_users_and_items_and_known_rows():
    split = given(
        parted(
            [0, 0, 1, 1, 2, 2, 2, 2, 2, 2, 2],
            users=[1, 2, 1, 1, 1, 1, 1, 3, 3, 3, 4],
            items=[1, 2, 1, 3, 1, 3, 2, 9, 9, 8, 9],
        )
    )
    assert split.notes == {
        "users": 4,
        "users_with_test": 3,
        "users_with_validation": 1,
        "test_items_not_in_train": 2,  # 8 and 9
        "test_users_not_in_train": 2,  # 3 and 4
        "test_already_known": 3,  # 1 and 3 of user 1, the second 9 of user 3
        "validation_already_known": 1,
    }
    assert not split.selection.new_users  # 1 is not
    assert split.selection.joined().value.tolist() == [0, 1, 3]
    assert split.test.target.value.tolist() == [6, 7, 9, 10]


def test_features_are_fitted_on_users_and_items_in_train():
    """Numbers 1 and 3 in train become -1 and 1; 9, which is only in test, changes neither."""
    source = parted([0, 0, 2], users=[1, 3, 9], items=[3, 1, 9])
    numbers = {f"{of}_features": pd.DataFrame({"x": getattr(source, f"{of}_ids")}) for of in ("user", "item")}
    encoded = given(replace(source, **numbers)).test.target.encoded
    for found, ids in ((encoded.of_users, source.user_ids), (encoded.of_items, source.item_ids)):
        assert dict(zip(ids, found.numbers[:, 0], strict=True)) == {1: -1, 3: 1, 9: 7}


def test_notes_contain_the_share_of_test_older_than_train():
    rows = [(1, 1, 5), (1, 2, 6), (2, 1, 1), (2, 2, 2), (1, 3, 9), (2, 3, 3)]
    frame = pd.DataFrame(rows, columns=["user_id", "item_id", "time"]).assign(part=[0, 0, 0, 0, 2, 2])
    assert given(encode(frame, name="leaky")).notes["test_before_last_train"] == 0.5


@pytest.mark.parametrize("split", [holdout, leave_one_out, lambda source: global_time(source, test_from=0.5)])
def test_split_data_is_not_split_again(split):
    with pytest.raises(InputError, match="already split: set split=given"):
        split(parted([0, 2]))


def test_impossible_splits():
    whole = data([(1, item, item) for item in range(10)])
    with pytest.raises(InputError, match="data that is already split"):
        given(whole)
    with pytest.raises(InputError, match="their sum must be below 1"):
        holdout(whole, validation_fraction=0.5, test_fraction=0.5)
    with pytest.raises(InputError, match=r"no user has a test item that is not already in train: .* check the files"):
        given(parted([0, 2], items=[1, 1]))
    repeated = data([(1, item % 3, item) for item in range(9)], "keep")
    with pytest.raises(
        InputError, match=r"not already in train: .* another split; data\.duplicates=last keeps one row"
    ):
        leave_one_out(repeated)
    with pytest.raises(InputError, match=r"no user has a test item: .* check the files .*data\.target_event\)$"):
        given(parted([0, 0]))
    with pytest.raises(InputError, match="no user has a validation item: "):
        given(parted([0, 2]), validation_fraction=0.1)
    with pytest.raises(InputError, match="no training data left"):
        given(parted([2, 2]))


def test_a_split_of_one_user():
    split = holdout(data([(1, item, item) for item in range(10)]))
    assert [len(part) for part in parts(split)] == [8, 1, 1]


def test_a_split_of_one_item():
    split = given(parted([0, 0, 2], users=[1, 2, 3], items=[7, 7, 7]))
    assert split.test.target.n_items == 1


def views_and_purchases() -> Interactions:
    """User 0 views 0, 1, 2, buys 1, views 3, buys 2, views 4, buys 3, views 0; user 1 only views."""
    rows = [(0, 0, 1, 0), (0, 1, 2, 0), (0, 2, 3, 0), (0, 1, 4, 1), (0, 3, 5, 0), (0, 2, 6, 1), (0, 4, 7, 0)]
    rows += [(0, 3, 8, 1), (0, 0, 9, 0), (1, 2, 2, 0), (1, 4, 8, 0)]
    frame = pd.DataFrame(rows, columns=["user_id", "item_id", "time", "event"])
    frame["value"], frame["target"] = np.arange(len(frame)), frame.event == 1
    return encode(frame, event_names=("view", "purchase"), name="drawn")


def test_history_only_rows_are_known_to_later_targets_only():
    split = leave_one_out(views_and_purchases())
    # Purchases 5 and 7 are validation and test; the views of user 0 between them are known in test only.
    assert split.selection.train.value.tolist() == [0, 1, 2, 3, 4, 9, 10]
    validation = split.selection.validation
    assert validation.target.value.tolist() == [5]
    assert validation.known.value.tolist() == [0, 1, 2, 3, 4, 9, 10]
    assert split.test.target.value.tolist() == [7]
    assert split.test.known.value.tolist() == [0, 1, 2, 3, 4, 5, 6, 9, 10]
    assert split.notes["history_after_test_dropped"] == 1


def test_history_at_the_time_of_the_target_is_not_known():
    """A view in the same millisecond may be a trace of the purchase itself."""
    rows = pd.DataFrame({"user_id": 1, "item_id": [1, 2, 3, 9, 9], "time": [1, 2, 3, 2, 3]})
    source = encode(rows.assign(target=[True, True, True, False, False], value=np.arange(5.0)), name="views")
    split = leave_one_out(source)
    assert split.selection.validation.known.value.tolist() == [0]
    assert split.test.known.value.tolist() == [0, 1, 3]  # the view at the time of the validation target


def test_history_after_a_cut_is_dropped():
    split = global_time(
        views_and_purchases(), validation_from="1970-01-01T00:00:00.006", test_from="1970-01-01T00:00:00.008"
    )
    assert split.selection.train.value.tolist() == [0, 1, 2, 3, 4, 9]
    assert split.selection.validation.target.value.tolist() == [5]
    assert split.test.known.value.tolist() == [0, 1, 2, 3, 4, 5, 6, 9]
    assert split.test.target.value.tolist() == [7]
    assert split.notes["history_after_test_dropped"] == 2


def test_holdout_holds_out_targets_only():
    split = holdout(views_and_purchases(), validation_fraction=0.33, test_fraction=0.33)
    held = [*split.selection.validation.target.value, *split.test.target.value]
    assert len(held) == 2
    assert set(held) < {3, 5, 7}
    assert {0, 1, 2, 4, 6, 8, 9, 10} < set(split.selection.train.value)


def test_history_at_the_time_of_the_latest_training_row_is_not_past():
    split = given(replace(data([(1, 1, 5), (1, 2, 5), (2, 1, 4), (2, 3, 3)]), part=np.array([0, 2, 0, 2], np.int8)))
    assert split.notes["test_before_last_train"] == 0.5
