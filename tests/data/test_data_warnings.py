from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from jaxrec.data.data_warnings import data_warnings
from jaxrec.data.interactions import encode
from jaxrec.data.splits.new_users import new_users
from jaxrec.data.splits.split import given, holdout


def split_of(rows: list[tuple], notes: dict[str, int] | None = None):
    """Rows of user, item, time and part."""
    frame = pd.DataFrame(rows, columns=["user_id", "item_id", "time", "part"])
    return given(encode(frame, notes=notes, name="told"))


def test_clean_data_has_no_warnings():
    assert (
        data_warnings(split_of([(1, 1, 1, 0), (1, 2, 2, 0), (2, 1, 1, 0), (2, 2, 9, 2)], {"rows of nobody": 0})) == []
    )


def test_warnings_of_dropped_rows_and_leakage():
    rows = [(1, 1, 1, 0), (1, 2, 8, 0), (2, 1, 1, 0), (2, 1, 7, 2), (2, 2, 7, 2), (2, 9, 9, 2), (3, 1, 9, 2)]
    split = split_of(rows, {"rows without a customer, dropped": 1234, "rows of nobody": 0})
    assert data_warnings(split) == [
        "  read: 1,234 rows without a customer, dropped",
        "  left out: 1 test interactions with an item that the user had already",
        "  note: 33.3% of the test interactions are older than the latest training interaction, so models may learn "
        "from the future (split=global_time prevents this); 1 of 2 test users are not in train; 1 test items are not "
        "in train (only item features can rank them; see test_groups)",
    ]


def test_no_leakage_notice_without_times():
    frame = pd.DataFrame([(1, 1, 0), (1, 2, 2)], columns=["user_id", "item_id", "part"])
    assert not any("older than" in line for line in data_warnings(given(encode(frame, name="told"))))


def test_the_leakage_notice_depends_on_the_kind_of_split_not_on_the_share():
    rows = pd.DataFrame({"user_id": [0] * 10, "item_id": range(10), "time": range(1, 11)})
    times = dict.fromkeys(("validation_fraction", "test_fraction"), 0.3)
    random = holdout(encode(rows, name="told"), **times, seed=1)
    assert 0 < random.notes["test_before_last_train"] < 1
    assert "the split is random" in data_warnings(random)[-1]
    of_users = new_users(encode(rows.assign(user_id=[0, 1] * 5), name="told"), validation_fraction=0, test_fraction=0.5)
    assert "the split is random" in data_warnings(of_users)[-1]
    whole = split_of([(1, 1, 1, 0), (1, 2, 8, 0), (2, 1, 8, 0), (2, 2, 7, 2)])
    assert data_warnings(whole)[-1].startswith("  note: 100.0% of the test interactions are older")


def test_notice_if_all_test_users_are_new():
    split = split_of([(1, 1, 1, 0), (1, 2, 2, 0), (3, 1, 9, 2)])
    assert data_warnings(split) == ["  note: all 1 test users are new (represented by their history only)"]


def test_a_small_leakage_share_is_not_rounded_to_zero():
    split = split_of([(1, 1, 1, 0), (1, 2, 8, 0), (2, 2, 9, 2)])
    small = replace(split, notes={**split.notes, "test_before_last_train": np.float64(1e-5)})
    assert "less than 0.1% of the test interactions" in data_warnings(small)[-1]


@pytest.mark.parametrize("name", ["NULL", " ", "n/a", r"\N", "-1"])
def test_an_item_that_reads_like_a_missing_id_is_named(name):
    """Shops export rows without an item like this, and every user would be recommended it."""
    (warning,) = data_warnings(split_of([(1, name, 1, 0), (1, "a", 2, 0), (2, name, 1, 0), (2, "a", 9, 2)]))
    assert warning == f"  warning: item {name!r} reads like a missing id and is recommended: drop its rows if so"


def test_minus_one_among_whole_numbers_reads_like_a_missing_item():
    (warning,) = data_warnings(split_of([(1, -1, 1, 0), (1, 7, 2, 0), (2, -1, 1, 0), (2, 7, 9, 2)]))
    assert warning.startswith("  warning: item -1 reads like a missing id")
