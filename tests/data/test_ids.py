"""Ids: spellings of one id by different programs are the same id."""

from decimal import Decimal

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jaxrec.data.data_warnings import data_warnings
from jaxrec.data.id_checks import few_matched
from jaxrec.data.ids import IdTable, as_text, canonical, exact, written_as
from jaxrec.data.interactions import encode
from jaxrec.data.reading.tables import source
from jaxrec.data.sources.files import files
from jaxrec.data.sources.sequences import sequences
from jaxrec.data.splits.candidate_lists import read_candidates
from jaxrec.data.splits.split import given, leave_one_out
from jaxrec.errors import InputError
from jaxrec.recommend.exported import as_text as exported_as_text

BIG = 2**53 + 1  # as a float it becomes 2**53


@pytest.mark.parametrize(
    ("ids", "expected"),
    [
        (["7", "-3", "0"], [7, -3, 0]),
        (["007", "7"], ["007", "7"]),
        (["-0", "0"], ["-0", "0"]),
        (["1", "a"], ["1", "a"]),
        ([7, "a"], ["7", "a"]),
        (["9223372036854775807"], [9223372036854775807]),
        (["9223372036854775808", "1"], ["9223372036854775808", "1"]),
        (["7\n", "1"], ["7\n", "1"]),
        ([" 7", "1"], [" 7", "1"]),
    ],
)
def test_ids_are_numbers_only_if_all_are_written_as_integers(ids, expected):
    found = canonical(np.array(ids, object))
    assert found.tolist() == expected
    assert found.dtype == (np.int64 if isinstance(expected[0], int) else object)


@pytest.mark.parametrize(
    ("ids", "expected"),
    [
        ([13085.0, "13085", "13085.0", "13085.00", Decimal("13085.0"), np.int32(13085)], [13085] * 6),
        (["13085.0", "a"], ["13085", "a"]),
        ([BIG, None], [str(BIG), None]),
        (pd.Series([BIG, None], dtype="Int64"), [str(BIG), None]),
        (np.array([5.0, np.nan]), ["5", None]),
        (pd.Series(["a", pd.NA], dtype="string"), ["a", None]),
        (pd.Series([3, 5], dtype="category"), [3, 5]),
        (np.array(["5", "6"]), [5, 6]),
        (np.array([2**63], np.uint64), [str(2**63)]),
        (["007.0", "2.5", "1.10", "-0.0"], ["007.0", "2.5", "1.10", "-0.0"]),  # not the float of an integer
        ([float(2**53 - 1), f"{2**53 - 1}.0"], [2**53 - 1] * 2),
        ([], []),
    ],
)
def test_every_spelling_of_an_id_is_the_same_id(ids, expected):
    assert canonical(ids).tolist() == expected


@pytest.mark.parametrize(
    "ids",
    [
        [13085.5],
        [float(2**53)],
        np.array([2.0**53, 1.0]),
        np.array([2.0**24], np.float32),
        pd.Series([BIG, None]),  # a float already
        ["9007199254740992.0"],
        ["1e+17", "5"],
        ["1.23457E+11"],
        [float("inf")],
        [True],
        np.array([True]),
        [Decimal("1.5")],
        [b"a"],
        [[1]],
        ["\ud800"],
        np.array(["2020-01-01"], "M8[s]"),
    ],
)
def test_invalid_ids_are_refused(ids):
    with pytest.raises(InputError, match=r"^user"):
        canonical(ids, "user")


@pytest.mark.parametrize(
    "ids", [7, None, "all", b"7", {7: 1}, np.ones((2, 2), int), np.array(7), pd.DataFrame({"a": [7]})]
)
def test_values_that_are_not_lists_of_ids_are_refused(ids):
    with pytest.raises(InputError, match=r"users: .* is not a list of ids: pass a list such as \[50, 181\]"):
        canonical(ids, "users")


@pytest.mark.parametrize("ids", [pa.array([7, None, 8]), pa.chunked_array([["7"], [None, "8"]]), iter([7, None, 8.0])])
def test_arrow_columns_and_generators_are_lists_of_ids(ids):
    assert canonical(ids).tolist() == ["7", None, "8"]


def test_integers_are_not_changed():
    ids = np.arange(3)
    column = pa.chunked_array([ids])
    assert canonical(ids) is ids
    assert exact(column, "x", str).chunk(0).buffers()[1].address == column.chunk(0).buffers()[1].address


@pytest.mark.parametrize("table", [np.array([3, BIG]), np.array(["3", str(BIG)], object), np.array(["3", str(BIG)])])
def test_ids_are_found_in_tables_of_numbers_and_of_text(table):
    for ids in ([BIG, None, 4, 3.0], [str(BIG), "x", "03", "3.0"]):
        assert IdTable(table).find(ids).tolist() == [1, -1, -1, 0]


def test_ids_are_shown_as_in_the_id_table():
    assert written_as(canonical(["7"]), np.array(["a"], object)).tolist() == ["7"]
    assert written_as(canonical(["7", None]), np.array([1])).tolist() == [7, None]
    assert written_as(canonical(["7", "x"]), np.array([1])).tolist() == ["7", "x"]


@pytest.mark.parametrize("value", [7, "7", 7.0, "7.0", np.float32(7), "007", "2.5", " 7", str(BIG), BIG, "-3.0"])
def test_an_export_reads_the_same_ids(value):
    assert exported_as_text(value) == as_text(value)


@pytest.mark.parametrize("value", [True, 7.5, 2.0**53, "9007199254740992.0", float("nan"), np.float32(2**24)])
def test_an_export_refuses_the_same_ids(value):
    with pytest.raises(ValueError, match="id"):
        exported_as_text(value)


def test_files_with_different_spellings_share_one_id_table(tmp_path):
    """Integers in train, floats written by pandas because of a missing value in test, text in the features."""
    pd.DataFrame({"user_id": [1, 1, 2], "item_id": [13085, 7, 13085]}).to_parquet(tmp_path / "train.parquet")
    (tmp_path / "test.csv").write_text("user_id,item_id\n2.0,7\n,7\n")
    pd.DataFrame({"item_id": ["13085", "7"], "color": ["red", "blue"]}).to_parquet(tmp_path / "items.parquet")
    pd.DataFrame({"user_id": [1.0, 2.0], "age": [11, 22]}).to_csv(tmp_path / "users.csv", index=False)
    data = files(
        train=tmp_path / "train.parquet",
        test=tmp_path / "test.csv",
        item_features=tmp_path / "items.parquet",
        user_features=tmp_path / "users.csv",
    )
    assert data.user_ids.tolist() == [1, 2]
    assert sorted(data.item_ids.tolist()) == [7, 13085]
    assert data.user_ids[data.user[data.part == 2]].tolist() == [2]
    assert dict(zip(data.item_ids.tolist(), data.item_features["color"], strict=True)) == {13085: "red", 7: "blue"}
    assert data.user_features["age"].tolist() == [11, 22]


def test_duplicates_are_found_across_spellings(tmp_path):
    (tmp_path / "t.csv").write_text("user_id,item_id\n1.0,a\n1,a\n2,b\n")
    assert len(files(tmp_path / "t.csv")) == 2


@pytest.mark.parametrize(
    ("column", "message"),
    [
        (pa.array([float(BIG), None]), r"data.user_column=user_id: row 1 of .*t.parquet has the id 9007199254740992"),
        (pa.array(["5", "1.5e+16"]), r"data.user_column=user_id: row 2 of .* has the id '1.5e\+16'"),
        (pa.array([True, False]), "data.user_column=user_id: .* true or false"),
        (pa.array([[1], [2]]), "data.user_column=user_id has the type list<.*>, not numbers, dates or text"),
        (pa.array([b"\xff", b"a"]), "data.user_column=user_id has the type binary, not numbers, dates or text"),
        (pa.array([Decimal("1.5"), Decimal("2")]), "row 1 of .* has the id 1.5: ids are text or integers"),
    ],
)
def test_columns_without_ids_are_named(tmp_path, column, message):
    pq.write_table(pa.table({"user_id": column, "item_id": [1, 2]}), tmp_path / "t.parquet")
    with pytest.raises(InputError, match=message):
        files(tmp_path / "t.parquet")


def test_whole_decimals_of_databases_are_integers(tmp_path):
    ids = pa.array([Decimal(BIG), Decimal(2)], pa.decimal128(38, 4))
    pq.write_table(pa.table({"user_id": ids, "item_id": [1, 2]}), tmp_path / "t.parquet")
    assert files(tmp_path / "t.parquet").user_ids.tolist() == [2, BIG]


def test_features_that_match_no_id_are_refused(tmp_path):
    (tmp_path / "t.csv").write_text("user_id,item_id\n" + "".join(f"1,{item}\n2,{item}\n" for item in (10, 20, 30)))
    items = tmp_path / "items.csv"
    items.write_text("item_id,color\nSKU-10,red\nSKU-20,blue\n")
    with pytest.raises(InputError, match=r"none of the 3 item ids of .*t.csv is in .*items.csv: .*'SKU-10'.*'10'"):
        files(tmp_path / "t.csv", item_features=items)
    items.write_text("item_id,color\n10,red\nSKU-20,blue\n")
    data = files(tmp_path / "t.csv", item_features=items)
    (warning,) = [line for line in data_warnings(leave_one_out(data)) if "warning" in line]
    assert "only 1 of 3 item ids" in warning
    for named in ("items.csv", "t.csv", "'20'"):
        assert named in warning


def test_test_files_that_match_no_id_of_train_are_refused(tmp_path):
    train, test = tmp_path / "train.csv", tmp_path / "test.csv"
    train.write_text("user_id,item_id\n1,10\n2,20\n3,30\n")
    test.write_text("user_id,item_id\nu1,10\nu2,20\n")
    with pytest.raises(InputError, match=r"none of the 2 user ids of data.test=.*test.csv is in .*train.csv: .*'u1'"):
        files(train=train, test=test)
    test.write_text("user_id,item_id\n1,i10\n2,i20\n")
    with pytest.raises(InputError, match=r"none of the 2 item ids of data.test=.*'10'.*'i10'"):
        files(train=train, test=test)
    test.write_text("user_id,item_id\n1,10\nu2,20\nu3,30\n")
    assert any(
        "only 1 of 3 user ids of data.test=" in line for line in data_warnings(given(files(train=train, test=test)))
    )


def test_features_of_a_subset_give_no_warning():
    assert few_matched(np.array(["1", "2"]), np.array(["2", "3"]), "item", "a", "b") == {}


def test_candidate_and_sequence_files_read_the_same_ids(tmp_path):
    rows = pd.DataFrame({"user_id": [1, 1, 1, 2, 2, 2], "item_id": [10, 20, 30, 10, 20, 30]})
    held = leave_one_out(encode(rows, name="d")).test
    path = tmp_path / "c.csv"
    path.write_text("u,i\n1.0,10.0\n2.0,20\n")
    _, items = read_candidates(path, held, user_column="u", item_column="i")
    assert held.target.item_ids[items].tolist() == [10, 20]
    path.write_text("u,i\n1,10\n2,1e+16\n")
    with pytest.raises(InputError, match=r"eval.item_column=i: line 3 of .*c.csv has the id '1e\+16'"):
        read_candidates(path, held, user_column="u", item_column="i")
    lines = tmp_path / "s.txt"
    lines.write_text("1.0 10\n1 20.0\n2 10\n")
    assert sequences(lines).user_ids.tolist() == [1, 2]
    lines.write_text("1 10\n\n2 1e+16\n")
    with pytest.raises(InputError, match=r"items: line 3 of .*s.txt has the id '1e\+16'"):
        sequences(lines)


def test_whole_floats_in_frames_are_integers():
    data = encode(pd.DataFrame({"user_id": [13085.0, 7.0], "item_id": ["a", "b"]}), name="floats")
    assert data.user_ids.tolist() == [7, 13085]
    with pytest.raises(InputError, match="user_id"):
        encode(pd.DataFrame({"user_id": [2.0**53], "item_id": ["a"]}), name="floats")


@pytest.mark.parametrize(
    ("train", "test", "named"),
    [
        (["1", "2"], ["1 ", "2"], r"'1' and '1 '"),
        (["a", "b"], ["\ta", "b"], r"'a' and '\\ta'"),
        (["a", "b"], ["a\u00a0", "b"], r"'a' and 'a\\xa0'"),
        (["a", "b"], ["a\u200b", "b"], r"'a' and 'a\\u200b'"),
        (["Jos\u00e9", "b"], ["Jose\u0301", "b"], r"'Jos\\xe9' and 'Jose\\u0301'"),
    ],
)
@pytest.mark.parametrize("kind", ["user", "item"])
def test_ids_that_look_the_same_are_refused(train, test, named, kind):
    other = "item" if kind == "user" else "user"
    parts = [pa.table({f"{kind}_id": ids, f"{other}_id": [7, 8]}) for ids in (train, test)]
    with pytest.raises(InputError, match=f"^data.{kind}_column={kind}_id: the ids {named} differ only in blanks"):
        files(train=source(parts[0]), test=source(parts[1]))


def test_blanks_are_part_of_an_id_that_has_them_everywhere():
    data = files(source(pa.table({"user_id": ["1 ", "1 ", "2"], "item_id": ["a b", "ab", "a  b"]})))
    assert data.user_ids.tolist() == ["1 ", "2"]
    assert sorted(data.item_ids) == ["a  b", "a b", "ab"]
