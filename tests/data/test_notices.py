from dataclasses import replace

import numpy as np
import pandas as pd

from jaxrec.data.interactions import encode
from jaxrec.data.notices import notices
from jaxrec.data.split import given


def split_of(rows: list[tuple], notes: dict[str, int] | None = None):
    """Rows of user, item, time and part."""
    frame = pd.DataFrame(rows, columns=["user_id", "item_id", "time", "part"])
    return given(encode(frame, notes=notes, name="told"))


def test_nothing_is_said_of_data_without_blemish():
    assert notices(split_of([(1, 1, 1, 0), (1, 2, 2, 0), (2, 1, 1, 0), (2, 2, 9, 2)], {"rows of nobody": 0})) == []


def test_what_was_dropped_and_what_leaks_is_said_in_words():
    rows = [(1, 1, 1, 0), (1, 2, 8, 0), (2, 1, 1, 0), (2, 1, 7, 2), (2, 2, 7, 2), (2, 9, 9, 2), (3, 1, 9, 2)]
    split = split_of(rows, {"rows without a customer, dropped": 1234, "rows of nobody": 0})
    assert notices(split) == [
        "  read: 1,234 rows without a customer, dropped",
        "  left out: 1 test interactions with an item that the user had already",
        "  note: 33.3 % of the test interactions are older than the newest training interaction, so models may learn "
        "from the future (split=global_time lets none); 1 of 2 test users are not in train; 1 test items are not in "
        "train (only item features could find them; see test_groups)",
    ]


def test_nothing_is_said_of_a_leak_where_there_is_no_time():
    frame = pd.DataFrame([(1, 1, 0), (1, 2, 2)], columns=["user_id", "item_id", "part"])
    assert not any("older than" in line for line in notices(given(encode(frame, name="told"))))


def test_users_who_are_all_new_are_said_to_be():
    split = split_of([(1, 1, 1, 0), (1, 2, 2, 0), (3, 1, 9, 2)])
    assert notices(split) == ["  note: all 1 test users are new to the model (it knows them by their history alone)"]


def test_a_small_leak_is_not_rounded_away():
    split = split_of([(1, 1, 1, 0), (1, 2, 8, 0), (2, 2, 9, 2)])
    small = replace(split, notes={**split.notes, "test_before_last_train": np.float64(1e-5)})
    assert "less than 0.1 % of the test interactions" in notices(small)[-1]
