import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jaxrec.data.reading.anonymous import filter_anonymous, mark_anonymous
from jaxrec.data.sources.files import files
from jaxrec.errors import InputError


@pytest.mark.parametrize(
    ("ids", "expected"),
    [
        ([["anna", ""], [None, " -1", "NULL", "None", "nan", "-1.0", "nana"]], ["anna"] + ["-1"] * 7 + ["nana"]),
        ([["N/A", "#N/A", "<NA>", "\\N", "na", "n"]], ["-1"] * 4 + ["na", "n"]),
        ([[3, None, -1, 0, -2]], [3, -1, -1, 0, -2]),
        ([[3.0, None, float("nan"), -1.0]], [3.0, -1.0, -1.0, -1.0]),
        ([pa.nulls(2)], [-1, -1]),
        ([pa.array([2**64 - 1, None], pa.uint64())], [str(2**64 - 1), "-1"]),
        ([pa.array([2**64 - 1], pa.uint64())], [2**64 - 1]),
    ],
)
def test_ids_of_anonymous_users(ids, expected):
    assert mark_anonymous(pa.chunked_array(ids)).to_pylist() == expected


@pytest.mark.parametrize("names", [["7", "-1", "8", "-1"], [7, -1, 8, -1]])
def test_anonymous_rows_are_dropped_or_are_one_user(names):
    frame = pd.DataFrame({"user_id": pd.Categorical(names), "item_id": [1, 2, 3, 4]})
    dropped, notes = filter_anonymous(frame, "drop")
    assert dropped["item_id"].tolist() == [1, 3]
    assert notes == {"rows without a user (missing, empty or -1), dropped": 2}
    kept, notes = filter_anonymous(frame, "keep")
    assert kept["user_id"].tolist() == names
    assert notes == {"rows without a user (missing, empty or -1), kept as the one user -1": 2}
    known = frame[[True, False, True, False]]
    for anonymous in ("drop", "keep"):
        assert filter_anonymous(known, anonymous) == (known, {})


TEXT = 'user_id,item_id,v\n7,a,1\n-1,a,2\n,b,3\n7,b,4\n"NULL",c,5\n'


@pytest.fixture
def bought(tmp_path):
    (tmp_path / "bought.csv").write_text(TEXT)
    return tmp_path / "bought.csv"


def test_files_drop_anonymous_rows(bought):
    data = files(bought, value_column="v")
    assert (data.user_ids.tolist(), data.value.tolist()) == ([7], [1, 4])
    assert sorted(data.item_ids) == ["a", "b"]  # items of anonymous rows only are not in the catalog
    assert data.notes == {"rows without a user (missing, empty or -1), dropped": 3}


def test_files_keep_anonymous_rows_as_one_user_beside_numeric_ids(bought):
    data = files(bought, value_column="v", anonymous="keep")
    assert data.user_ids.tolist() == [-1, 7]
    assert data.value[data.user == 0].tolist() == [2, 3, 5]
    assert data.notes == {"rows without a user (missing, empty or -1), kept as the one user -1": 3}


def test_missing_users_are_an_error_with_anonymous_error(bought):
    with pytest.raises(InputError, match=r"1 rows have no id, first in line 4 of .*data.anonymous=drop or keep"):
        files(bought, anonymous="error")
    bought.write_text(TEXT.replace("\n,b", "\n9,b"))
    assert sorted(files(bought, anonymous="error").user_ids.tolist()) == [
        "-1",
        "7",
        "9",
        "NULL",
    ]  # also of rows without a user


def test_missing_items_are_always_an_error(bought):
    bought.write_text(TEXT.replace("7,b,", "7,,"))
    with pytest.raises(InputError, match=r"1 rows have no id, first in line 5 of .*: drop or fill them$"):
        files(bought, anonymous="drop")


@pytest.mark.parametrize(
    "ids", [pa.array([5, -1, None]), pa.array([5.0, np.nan, None]), pa.array(["5", "", "nan"]).dictionary_encode()]
)
def test_parquet_user_columns_of_every_type(tmp_path, ids):
    pq.write_table(pa.table({"user_id": ids, "item_id": [1, 2, 3]}), tmp_path / "t.parquet")
    assert files(tmp_path / "t.parquet", anonymous="drop").user_ids.tolist() == [5]
    assert files(tmp_path / "t.parquet", anonymous="keep").user_ids.tolist() == [-1, 5]


def test_a_file_of_anonymous_rows_only(tmp_path):
    pq.write_table(pa.table({"user_id": pa.nulls(2), "item_id": [1, 2]}), tmp_path / "t.parquet")
    with pytest.raises(InputError, match=r"none of the 2 rows has a user: data.anonymous=keep"):
        files(tmp_path / "t.parquet", anonymous="drop")
    assert files(tmp_path / "t.parquet", anonymous="keep").user_ids.tolist() == [-1]
