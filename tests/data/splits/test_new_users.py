import numpy as np
import pandas as pd
import pytest
from hypothesis import given as drawn
from hypothesis import settings
from hypothesis import strategies as st

from jaxrec.data.filters import filtered
from jaxrec.data.interactions import Interactions, encode
from jaxrec.data.splits.new_users import new_users
from jaxrec.data.splits.split import Split
from jaxrec.errors import InputError

quick = settings(deadline=None, max_examples=25, database=None)
ROWS = st.lists(
    st.tuples(st.integers(0, 9), st.integers(0, 30), st.integers(0, 9), st.integers(0, 1)), min_size=20, max_size=120
)


def data(rows: list[tuple[int, int, int, int]], with_views: bool = False) -> Interactions:
    """Rows of user, item, time and whether it is a target; the value identifies the row."""
    frame = pd.DataFrame(rows, columns=["user_id", "item_id", "time", "target"], dtype=np.int64)
    frame["value"] = np.arange(len(rows), dtype=np.float32)
    frame["target"] = frame["target"].astype(bool) | (not with_views)
    return encode(filtered(frame, duplicates="keep" if with_views else "last")[0], name="drawn")


def split_of(rows, with_views=False, **options) -> tuple[Interactions, Split | None]:
    source = data(rows, with_views)
    try:
        return source, new_users(source, **{"validation_fraction": 0.2, "test_fraction": 0.3, **options})
    except InputError as error:  # too few users with two interactions, or no new items for them
        assert "no user has a" in str(error)  # noqa: PT017
        return source, None


@quick
@drawn(ROWS, st.booleans(), st.sampled_from(["time", "random"]), st.integers(0, 3))
def test_held_out_users_are_known_only_in_their_own_part(rows, with_views, known_by, seed):
    _, split = split_of(rows, with_views, known_by=known_by, seed=seed)
    if split is None:
        return
    train, validation, test = split.selection.train, split.selection.validation, split.test
    trained, validated, tested = (set(part.user.tolist()) for part in (train, validation.target, test.target))
    assert len(trained) + len(validated) + len(tested) == len(trained | validated | tested)
    assert set(validation.known.user.tolist()) & tested == set(), "validation never sees test users"
    assert set(split.selection.joined().user.tolist()) & tested == set(), "refit never trains on test users"
    assert split.selection.new_users
    for held in (validation, test):
        target = held.known.target if with_views else np.ones(len(held.known), bool)
        known = set(zip(held.known.user[target].tolist(), held.known.item[target].tolist(), strict=True))
        ground_truth = list(zip(held.target.user.tolist(), held.target.item.tolist(), strict=True))
        assert not known & set(ground_truth)
        assert len(set(ground_truth)) == len(ground_truth)
        assert set(held.target.user.tolist()) <= set(held.known.user[target].tolist()), "something is known of each"
        for user in set(held.target.user.tolist()):
            first = held.target.time[held.target.user == user].min()
            history = (held.known.user == user) & ~target
            assert (held.known.time[history] < first).all(), "views of the time of what is sought are not known"
            if known_by == "time":
                assert held.known.time[(held.known.user == user) & target].max() <= first


@quick
@drawn(ROWS, st.floats(0.01, 0.99), st.integers(0, 2))
def test_the_share_of_each_user_and_of_users_is_rounded(rows, known_fraction, seed):
    source, split = split_of(rows, known_fraction=known_fraction, seed=seed)
    count = np.bincount(source.user, minlength=source.n_users)
    n_able = np.count_nonzero(count >= 2)
    sizes = [int(n_able * share + 0.5 + 1e-9) for share in (0.2, 0.3)]
    assert (split is None) == (min(sizes) == 0)
    if split is None:
        return
    assert [split.notes["users_with_validation"], split.notes["users_with_test"]] == sizes
    for user in np.unique(split.test.target.user):
        n_known = min(max(int(count[user] * known_fraction + 0.5 + 1e-9), 1), count[user] - 1)
        assert np.count_nonzero(split.test.known.user == user) == n_known
        assert np.count_nonzero(split.test.target.user == user) == count[user] - n_known


def test_views_do_not_count_toward_the_known_share():
    rows = [(user, item, item, int(item >= 6)) for user in range(10) for item in range(10)]
    test = new_users(data(rows, with_views=True), known_fraction=0.5).test
    mine = test.known.take(test.known.user == test.target.user[0])
    assert [mine.item_ids[mine.item].tolist(), test.target.item_ids[test.target.item].tolist()] == [[*range(8)], [8, 9]]


def test_the_seed_sets_the_users_and_the_choice_of_known_rows_matters():
    rows = [(user, item, item, 1) for user in range(40) for item in range(10)]
    splits = [new_users(data(rows), seed=seed, known_by=by) for seed, by in ((0, "time"), (0, "time"), (1, "time"))]
    tested = [split.test.target.value.tolist() for split in splits]
    assert tested[0] == tested[1] != tested[2]
    assert set(splits[0].test.target.item_ids[splits[0].test.target.item]) == {8, 9}
    at_random = new_users(data(rows), known_by="random").test.target
    assert len(set(at_random.item_ids[at_random.item])) > 2


def test_invalid_settings_are_named():
    with pytest.raises(InputError, match="their sum must be below 1"):
        new_users(data([(0, 0, 0, 1)]), validation_fraction=0.5, test_fraction=0.5)
    with pytest.raises(InputError, match="no user has a test item"):
        new_users(data([(user, user, 0, 1) for user in range(9)]))  # one interaction each


def test_validation_may_be_empty():
    rows = [(user, user + n, n, 1) for user in range(8) for n in range(4)]
    _, split = split_of(rows, validation_fraction=0.0)
    assert split.selection.validation is None
    assert split.notes["users_with_test"] == 2  # .3 of 8
