"""Fingerprints are equal for equal interactions, and differ if anything is changed that a model may learn from."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from jaxrec.data.interactions import encode
from jaxrec.data.splits.fingerprint import fingerprint
from jaxrec.data.splits.new_users import new_users
from jaxrec.data.splits.split import holdout

RNG = np.random.default_rng(0)
FRAME = pd.DataFrame(
    {
        "user_id": np.repeat(np.arange(20), 10),
        "item_id": np.concatenate([RNG.permutation(15)[:10] for _ in range(20)]),
        "value": RNG.integers(1, 6, 200),
        "time": RNG.integers(0, 10**12, 200),
        "weight": RNG.random(200),
    }
)


def of(frame: pd.DataFrame, split=holdout, **features: pd.DataFrame) -> str:
    return fingerprint(split(encode(frame, name="data", **features)).selection)


@pytest.mark.parametrize("split", [holdout, new_users])
def test_equal_interactions_have_one_fingerprint(split):
    renamed = FRAME.assign(user_id=FRAME["user_id"] + 100, item_id=FRAME["item_id"] + 100)
    ages = pd.DataFrame({"user_id": np.arange(20), "age": 1})
    assert of(FRAME, split) == of(FRAME.copy(), split) == of(renamed, split) == of(FRAME, split, user_features=ages)


@pytest.mark.parametrize("column", ["value", "time", "weight"])
def test_one_changed_entry_changes_the_fingerprint(column):
    prints = {of(FRAME)}
    for row in range(0, 200, 20):
        changed = FRAME.copy()
        changed.loc[row, column] += 1
        prints.add(of(changed))
    # Of ten rows, those that the random split has in test do not count.
    in_test = np.isin(np.arange(0, 200, 20), _rows_of_test())
    assert len(prints) == 11 - in_test.sum()


def test_another_split_or_a_row_less_changes_the_fingerprint():
    others = [of(FRAME, new_users), of(FRAME.iloc[:-1]), of(FRAME.drop(columns="weight"))]
    selection = holdout(encode(FRAME, name="data")).selection
    others.append(fingerprint(replace(selection, validation=None)))
    assert len({of(FRAME), *others}) == 5


def test_the_fingerprint_of_a_split_covers_its_test_rows():
    row = int(_rows_of_test()[0])
    changed = FRAME.copy()
    changed.loc[row, "value"] += 1
    assert of(changed) == of(FRAME)
    prints = {fingerprint(holdout(encode(frame, name="data"))) for frame in (FRAME, FRAME.copy(), changed)}
    assert len(prints) == 2


def _rows_of_test() -> np.ndarray:
    numbered = FRAME.assign(value=np.arange(200))
    return holdout(encode(numbered, name="data")).test.target.value.astype(int)
