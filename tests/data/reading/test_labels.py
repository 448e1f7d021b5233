"""Label columns: rows of label 0 are negatives and not interactions."""

import numpy as np
import pandas as pd
import pytest

from jaxrec.data.reading.labels import CONTRADICTED, UNKNOWN_PAIR
from jaxrec.data.sources.files import files
from jaxrec.errors import InputError

ROWS = [("a", 10, 1), ("a", 11, 0), ("b", 11, 1), ("b", 10, 0), ("b", 10, 0), ("c", 10, 1), ("c", 10, 0), ("d", 10, 0)]
FRAME = pd.DataFrame([*ROWS, ("a", 12, 0)], columns=["user_id", "item_id", "label"])


def write(frame: pd.DataFrame, path):
    frame.to_csv(path, index=False)
    return path


def test_rows_of_label_0_are_negatives_and_not_interactions(tmp_path):
    """User d and item 12 are in no row of label 1; c with item 10 is in one; b with item 10 is there twice."""
    data = files(write(FRAME, tmp_path / "sample.csv"), label_column="label")
    named = lambda user, item: sorted(zip(data.user_ids[user], data.item_ids[item], strict=True))  # noqa: E731
    assert named(data.user, data.item) == [("a", 10), ("b", 11), ("c", 10)]
    assert named(*data.negatives) == [("a", 11), ("b", 10)]
    assert data.notes == {UNKNOWN_PAIR: 2, CONTRADICTED: 1}
    assert data.user_ids.tolist() == ["a", "b", "c"]
    assert data.take(np.array([0])).negatives is data.negatives


def test_labels_beside_ids_of_mixed_types_and_anonymous_rows(tmp_path):
    """One id that is text makes all ids text, also those of rows of label 0 that look like numbers."""
    rows = [("x", 10, 1), (7, 11, 1), (7, 10, 0), (None, 10, 1)]
    frame = pd.DataFrame(rows, columns=FRAME.columns)
    data = files(write(frame, tmp_path / "mixed.csv"), label_column="label")
    assert [data.user_ids[user] for user in data.negatives[0]] == ["7"]
    assert data.notes == {"rows without a user (missing, empty or -1), dropped": 1}


def test_with_given_splits_only_train_has_a_label_column(tmp_path):
    """An item that is only in test may be a negative: it was not known in training."""
    train = write(FRAME, tmp_path / "train.csv")
    test = write(pd.DataFrame({"user_id": ["a", "b"], "item_id": [12, 10]}), tmp_path / "test.csv")
    data = files(train=train, test=test, label_column="label")
    pairs = set(zip(data.user_ids[data.negatives[0]], data.item_ids[data.negatives[1]], strict=True))
    assert pairs == {("a", 11), ("a", 12), ("b", 10)}
    assert np.bincount(data.part).tolist() == [3, 0, 2]


def test_without_a_label_column_there_are_no_negatives(tmp_path):
    assert files(write(FRAME, tmp_path / "sample.csv")).negatives is None


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([1, 2, 0], r"line 3 of .*bad\.csv has the label '2' \(1 such rows\)"),
        ([0, 0, 0], "all labels are 0"),
        (["1", "yes", "0"], "'yes'"),
    ],
)
def test_invalid_labels_are_refused(tmp_path, labels, message):
    path = write(pd.DataFrame({"user_id": [1, 2, 3], "item_id": [1, 1, 1], "label": labels}), tmp_path / "bad.csv")
    with pytest.raises(InputError, match=message):
        files(path, label_column="label")
