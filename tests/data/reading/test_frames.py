"""Data frames with columns of unusual types: only columns in use are read; those that cannot be read are named."""

import decimal
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from jaxrec.data.reading.frames import InMemory
from jaxrec.data.reading.tables import source
from jaxrec.data.sources.files import files
from jaxrec.errors import InputError

ITEMS = [5, 6, 6]


def users_of(frame: object) -> list[object]:
    data = files(source(frame))
    assert data.item_ids[data.item].tolist() == ITEMS
    return data.user_ids[data.user].tolist()


class Stream:
    """A table that only offers the Arrow stream protocol, as polars does."""

    def __init__(self, table: pa.Table) -> None:
        self.table = table

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        return self.table.__arrow_c_stream__(requested_schema)


def test_columns_that_are_not_used_may_contain_anything():
    unused = {"mixed": [1, "a", None], "objects": [object()] * 3, "complex": [1j, 2, 3], "large": [2**70, 1, 2]}
    assert users_of(pd.DataFrame({"user_id": ["a", "b", "a"], "item_id": ITEMS} | unused)) == ["a", "b", "a"]


def test_columns_may_share_a_name_unless_they_are_used():
    frame = pd.DataFrame([["a", 5, 1, 2], ["b", 6, 1, 2], ["a", 6, 1, 2]], columns=["user_id", "item_id", "x", "x"])
    assert users_of(frame) == ["a", "b", "a"]
    with pytest.raises(InputError, match="the data frame has 2 columns 'user_id': rename all but the one"):
        users_of(frame.rename(columns={"x": "user_id"}).iloc[:, [0, 1, 2]])


@pytest.mark.parametrize("index", [pa.uint8(), pa.uint32()])
def test_categories_written_by_polars(index):
    codes, names = pa.array([1, 0, 1], index), pa.array(["b", "a"], pa.string_view())
    users = pa.DictionaryArray.from_arrays(codes, names)
    assert users_of(Stream(pa.table({"user_id": users, "item_id": ITEMS}))) == ["a", "b", "a"]


def test_a_missing_category_is_a_missing_user():
    users = pa.DictionaryArray.from_arrays(pa.array([0, None, 0], pa.uint32()), pa.array(["a"], pa.string_view()))
    data = files(source(Stream(pa.table({"user_id": users, "item_id": ITEMS}))))
    assert data.user_ids[data.user].tolist() == ["a", "a"]
    assert data.notes == {"rows without a user (missing, empty or -1), dropped": 1}


def test_short_decimals_and_sparse_columns():
    decimals = pa.array([decimal.Decimal("7.00"), decimal.Decimal("8.00"), decimal.Decimal("7.00")])
    for kind in ("decimal32", "decimal64", "decimal128"):
        if hasattr(pa, kind):  # since pyarrow 19
            users = decimals.cast(getattr(pa, kind)(5, 2))
            assert users_of(pa.table({"user_id": users, "item_id": ITEMS})) == [7, 8, 7]
    assert users_of(pd.DataFrame({"user_id": pd.arrays.SparseArray([0, 8, 0]), "item_id": ITEMS})) == [0, 8, 0]


@pytest.mark.parametrize(
    ("users", "message"),
    [
        ([1, "a", 2], "column 'user_id' of train mixes types (int, str): convert it to one, frame['user_id'] ="),
        ([2**70, 1, 2], "column 'user_id' of train contains integers of more than 64 bits: convert them to text"),
        ([1j, 2j, 1j], "column 'user_id' of train contains values of the type complex: convert them to"),
        (np.ones(3, np.clongdouble), "column 'user_id' of train contains values of the type clongdouble: convert"),
        (["a\ud800", "b", "c"], "column 'user_id' of train contains text that is not Unicode ('a\\ud800'): replace"),
    ],
)
def test_columns_without_an_arrow_type_are_named(users, message):
    frame = pd.DataFrame({"user_id": pd.Series(users, dtype=None if isinstance(users, np.ndarray) else object)})
    with pytest.raises(InputError) as raised:
        files(InMemory(frame.assign(item_id=ITEMS), "train"))
    assert message in str(raised.value)


def test_columns_in_the_index_are_named():
    frame = pd.DataFrame({"user_id": [7, 8], "item_id": [1, 2]}).set_index("user_id")
    with pytest.raises(InputError, match=r"'user_id' as its index, not as a column: pass frame\.reset_index\(\)"):
        files(InMemory(frame))


def test_a_lazy_frame_is_to_be_computed_first():
    class Lazy:
        def collect(self) -> None: ...

    with pytest.raises(InputError, match=r"Lazy is not computed yet: pass frame\.collect\(\)"):
        source(Lazy())


def test_paths_are_not_empty_and_may_begin_at_home(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert source("~/log.csv") == source(Path("~/log.csv")) == tmp_path / "log.csv"
    with pytest.raises(InputError, match="the path of a file is empty: name a file"):
        files("")


@pytest.mark.parametrize("given", [pd.Series([1, 2]), Stream(pa.chunked_array([[1, 2]])), {"user_id": [1]}])
def test_what_is_not_a_table_is_rejected(given):
    with pytest.raises(InputError, match="pass a path, or a pandas, polars or pyarrow table"):
        source(given)
