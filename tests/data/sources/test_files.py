import gzip
import io
import uuid
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from jaxrec.data.interactions import Interactions
from jaxrec.data.sources.files import files
from jaxrec.errors import InputError

GOOD = "user_id,item_id,rating,when\nanna,x1,5,100\nbob,x2,3.5,50\nanna,x2,1,70\n"


def rows(data: Interactions) -> list[tuple]:
    """User, item, and value and time if there are any, in file order."""
    columns = [data.user_ids[data.user].tolist(), data.item_ids[data.item].tolist()]
    columns += [column.tolist() for column in (data.value, data.time) if column is not None]
    return list(zip(*columns, strict=True))


@pytest.fixture
def write(tmp_path):
    def write(content: str | bytes, name: str = "data.csv") -> Path:
        path = tmp_path / name
        content = content.encode() if isinstance(content, str) else content
        if name.endswith((".gz", ".zst")):
            content = gzip.compress(content) if name.endswith(".gz") else pa.compress(content, "zstd", asbytes=True)
        if name.endswith(".zip"):
            with zipfile.ZipFile(packed := io.BytesIO(), "w", zipfile.ZIP_DEFLATED) as archive:
                archive.writestr(name.removesuffix(".zip"), content)
            content = packed.getvalue()
        path.write_bytes(content)
        return path

    return write


EXPECTED = [("anna", "x1", 5.0, 100_000), ("bob", "x2", 3.5, 50_000), ("anna", "x2", 1.0, 70_000)]


@pytest.mark.parametrize("packed", ["", ".gz", ".zst", ".zip"])
@pytest.mark.parametrize(("suffix", "delimiter"), [(".csv", ","), (".tsv", "\t"), (".inter", "\t"), (".CSV", ",")])
def test_every_text_format_reads_the_same(write, suffix, delimiter, packed):
    data = files(write(GOOD.replace(",", delimiter), f"r{suffix}{packed}"), value_column="rating", time_column="when")
    assert rows(data) == EXPECTED
    assert data.part is None
    assert data.name == "r"


@pytest.mark.parametrize("name", ["r.parquet", "r.pq"])
def test_parquet_reads_the_same(tmp_path, name):
    frame = pd.DataFrame(EXPECTED, columns=["user_id", "item_id", "rating", "when"])
    frame["when"] //= 1000
    frame.astype({"item_id": "category", "when": "Int64"}).to_parquet(tmp_path / name)
    assert rows(files(tmp_path / name, value_column="rating", time_column="when")) == EXPECTED


@pytest.mark.parametrize(
    ("text", "options"),
    [
        ("\ufeff" + GOOD, {}),
        (GOOD.replace("\n", "\r\n"), {}),
        ("\n" + GOOD.replace("\n", "\n\n"), {}),
        (GOOD.rstrip("\n"), {}),
        (GOOD.replace("x1", '"x1"'), {}),
        (GOOD.replace(",", ";"), {"delimiter": ";"}),
        (GOOD.replace(",", "\t"), {"delimiter": "\\t"}),
        (GOOD.replace(",", "\t"), {"delimiter": "tab"}),
        (GOOD.replace("user_id", "user_id:token").replace("rating", "rating:float"), {}),
        (GOOD.replace("user_id", "who"), {"user_column": "who"}),
    ],
)
def test_text_files_of_all_formats(write, text, options):
    assert rows(files(write(text), value_column="rating", time_column="when", **options)) == EXPECTED


def test_atomic_files_may_hold_lone_quotes(write):
    path = write('user_id:token\titem_id:token\ttitle:token_seq\n1\t2\t"Great Day\n3\t4\tb"\n', "films.inter")
    assert rows(files(path)) == [(1, 2), (3, 4)]


def test_quoted_fields_may_hold_delimiters_and_line_ends(write):
    assert rows(files(write('user_id,item_id,note\n1,2,"a,\nb"\n3,4,c\n'))) == [(1, 2), (3, 4)]
    note = "one more line,\n" * 10
    many = "".join(f'{n},1,"{note}"\n' for n in range(20_000))  # more than one block of the reader
    assert rows(files(write("user_id,item_id,note\n" + many))) == [(n, 1) for n in range(20_000)]


def test_text_is_read_in_the_configured_encoding(write):
    path = write("user_id,item_id\ncafé,2\n".encode("cp1252"))
    assert rows(files(path, encoding="cp1252")) == [("café", 2)]


def test_ids_with_a_leading_zero_are_text(write):
    assert rows(files(write("user_id,item_id\n007,1\n7,2\nNA,3\n"))) == [("007", 1), ("7", 2), ("NA", 3)]


def test_ids_agree_between_files_of_different_types(write, tmp_path):
    pd.DataFrame({"user_id": [7, 8], "item_id": [1.0, 2.0]}).to_parquet(tmp_path / "train.parquet")
    test = write("user_id,item_id\n7,2\nx,1\n", "test.csv")
    data = files(train=tmp_path / "train.parquet", test=test)
    assert rows(data) == [("7", 1), ("8", 2), ("7", 2), ("x", 1)]
    assert data.part.tolist() == [0, 0, 2, 2]


def test_three_files_fill_three_parts(write):
    train, validation, test = (write(f"user_id,item_id,rating\n1,10,{part}\n", f"{part}.csv") for part in (1, 2, 3))
    data = files(train=train, validation=validation, test=test, value_column="rating")
    assert rows(data) == [(1, 10, 1.0), (1, 10, 2.0), (1, 10, 3.0)]
    assert data.part.tolist() == [0, 1, 2]
    assert data.name == train.parent.name


ids = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=5) | st.integers().map(str)
table = st.lists(st.tuples(ids, ids, st.floats(0, 1e6, width=32)), min_size=1, max_size=20)


@settings(deadline=None, max_examples=25, database=None)
@given(table)
@example([("NONE", "0", 0.0)])
def test_files_written_by_pandas_are_read_back(tmp_path_factory, drawn):
    frame = pd.DataFrame(drawn, columns=["user_id", "item_id", "rating"])
    folder = tmp_path_factory.mktemp("round")
    frame.to_csv(folder / "r.csv", index=False)
    frame.to_parquet(folder / "r.parquet")
    for name in ("r.csv", "r.parquet"):
        # Anonymous users are kept: "none" and "-1" would be anonymous.
        found = files(folder / name, value_column="rating", duplicates="keep", anonymous="error")
        assert [(str(u), str(i), v) for u, i, v in rows(found)] == drawn


@pytest.mark.parametrize(
    ("content", "options", "message"),
    [
        ("", {}, "data.csv is empty"),
        ("user_id,item_id\n", {}, "data.csv has a header but no rows"),
        ("user_id,item_id", {}, "data.csv has a header but no rows"),
        ("\n\n", {}, "data.csv is empty"),
        (
            "# made by hand\nuser_id,item_id\n1,2\n",
            {},
            "line 2 of .*data.csv has the column names: delete the lines above it",
        ),
        ("user_id item_id\n1 2\n", {}, "set 'data.delimiter=\" \"'"),
        (GOOD.replace("3.5", '"1,234.5"'), {"value_column": "rating"}, "'1,234.5'.*without separators of thousands$"),
        (
            "user,item_id\n1,2\n",
            {},
            "its first line names 'user', 'item_id': set data.user_column",
        ),
        ("user_id;item_id\n1;2\n", {}, "set 'data.delimiter=\";\"'"),
        ("user_id\titem_id\n1\t2\n", {}, "set data.delimiter=tab"),
        ("user_id,item_id,user_id\n1,2,3\n", {}, "2 columns 'user_id': rename all but the one for data.user_column"),
        ("user_id:a,user_id:b,item_id\n1,2,3\n", {}, "2 columns 'user_id'"),
        ("user_id,item_id\n1,2\n\n3,4,5\n", {}, "line 4 of .*data.csv has 3 fields, the header has 2"),
        ("user_id,item_id\n1,2\n3\n", {}, "line 3 of .*data.csv has 1 fields"),
        (
            "user_id,item_id\n1,2\n,3\n\n,4\n",
            {"anonymous": "error"},
            "data.user_column=user_id: 2 rows have no id, first in line 3 of",
        ),
        (
            'user_id,item_id,t\n1,2,"a\nb"\n1,"",3\n',
            {},
            "data.item_column=item_id: 1 rows have no id, first in line 4",
        ),
        ("user_id,item_id\ncafé,2\n".encode("latin-1"), {}, "line 2 of .*data.csv is not UTF-8"),
        ("user_id,item_id\n1,2\n".encode("utf-16"), {}, "data.csv is UTF-16: save it as UTF-8, or set"),
        (GOOD.replace("3.5", "many"), {"value_column": "rating"}, "line 3 of .*the value 'many', not a finite number"),
        (GOOD.replace("3.5", ""), {"value_column": "rating"}, "line 3 of .* has no value"),
        (GOOD.replace("3.5", "nan"), {"value_column": "rating"}, "line 3 of .*'nan', not a finite number"),
        (GOOD.replace("3.5", "inf"), {"value_column": "rating"}, "line 3 of .*'inf', not a finite number"),
        (GOOD.replace("3.5", "-3.5"), {"value_column": "rating"}, r"line 3 of .*negative value -3.5 \(1 such rows\)"),
        (GOOD.replace("50\n", "soon\n"), {"time_column": "when"}, "line 3 of .*a time that cannot be read, 'soon'"),
        (GOOD.replace("50\n", "\n"), {"time_column": "when"}, "line 3 of .*has no time"),
        (GOOD, {"value_column": "stars"}, "no column 'stars'.*set data.value_column"),
        (
            GOOD,
            {"item_column": "user_id"},
            "a column is used twice: data.user_column=user_id, data",
        ),
        (GOOD, {"delimiter": "::"}, "data.delimiter='::' is not one character"),
        (GOOD, {"k_core": 3}, "data.k_core=3 drops all 3 interactions"),
    ],
)
def test_errors_name_file_and_line(write, content, options, message):
    with pytest.raises(InputError, match=message):
        files(write(content), **options)


@pytest.mark.parametrize("encoding", ["utf-8", "UTF-8", "utf8", "utf-8-sig"])
def test_a_byte_order_mark_is_not_part_of_a_column_name(write, encoding):
    assert rows(files(write("\ufeff" + GOOD), encoding=encoding, value_column="rating", time_column="when")) == EXPECTED


def test_a_column_that_a_parquet_file_does_not_have(tmp_path):
    pq.write_table(pa.table({"user": [1], "item_id": [2]}), tmp_path / "data.parquet")
    with pytest.raises(
        InputError, match=r"data.parquet has no column 'user_id'; the columns are 'user', 'item_id': set"
    ):
        files(tmp_path / "data.parquet")


def test_negative_values_may_be_dropped(write):
    data = files(write(GOOD.replace("3.5", "-3.5")), value_column="rating", min_value=1.0)
    assert [value for *_, value in rows(data)] == [5.0, 1.0]


def test_rows_dropped_by_filters_are_counted(write):
    path = write(GOOD + "anna,x2,4,90\nbob,x2,0.5,95\n")
    data = files(path, value_column="rating", time_column="when", min_value=1.0)
    assert rows(data) == [*EXPECTED[:2], ("anna", "x2", 4.0, 90_000)]
    assert data.notes == {
        "rows below data.min_value=1, dropped": 1,
        "rows of the same user and item as a kept one, dropped": 1,
    }


def test_values_may_be_surrounded_by_blanks(write):
    assert rows(files(write("user_id,item_id,v\n1,2, 3.5 \n"), value_column="v")) == [(1, 2, 3.5)]


@pytest.mark.parametrize("name", ["data.csv.gz", "data.csv.zst", "data.csv.zip"])
@pytest.mark.parametrize("damage", [lambda b: b[: len(b) // 2], lambda b: b[:40] + bytes(4) + b[44:]])
def test_damaged_compression_is_named(write, name, damage):
    lines = "".join(f"{n * 7919 % 10007},{n}\n" for n in range(5000))
    path = write("user_id,item_id\n" + lines, name)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(InputError, match=f"{name} is a truncated or corrupt compressed file"):
        files(path)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv.gz", b"user_id,item_id\n", "a.csv.gz is no .gz file: rename it to a.csv if it is text"),
        ("a.csv.zst", b"\x1f\x8b\x08", "a.csv.zst is no .zst file"),
        ("a.csv.zip", b"no", "a.csv.zip is no .zip file"),
        ("a.csv", gzip.compress(GOOD.encode(), mtime=0), "a compressed file: rename it to a.csv.gz$"),
        ("a.tsv", b"\x28\xb5\x2f\xfd\x00", "rename it to a.tsv.zst$"),
        ("a.csv", b"PK\x03\x04", r"rename it to a.csv.zip; save a sheet of a spreadsheet \(.xlsx\) as CSV$"),
        ("a.csv", b"PAR1\x15", "a.csv is a Parquet file: rename it to a.parquet"),
        ("a.jsonl", b"{}", r"in Python pandas.read_json\('a.jsonl', lines=True\).to_parquet\('a.parquet'\)"),
        ("a.json.gz", b"\x1f\x8b", r"pandas.read_json\('a.json.gz'\).to_parquet\('a.parquet'\)"),
        ("a.xlsx", b"PK\x03\x04", r"a.xlsx is not CSV, TSV or Parquet: .* pandas.read_excel\('a.xlsx'\)"),
    ],
)
def test_another_kind_of_file_is_named(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=message):
        files(tmp_path / name)


@pytest.mark.parametrize("encoding", ["utf-16", "UTF_16", "utf16"])
def test_utf_16_is_read_if_it_is_set(tmp_path, encoding):
    (tmp_path / "a.csv").write_bytes(GOOD.encode("utf-16"))
    assert len(files(tmp_path / "a.csv", encoding=encoding)) == 3


@pytest.mark.parametrize("before", ["sep=;\n", "Orders, of May\n\n", '# "made"\n# by hand\n', "user_id\n"])
def test_lines_above_the_column_names_are_named(write, before):
    line = before.count("\n") + 1
    with pytest.raises(InputError, match=f"line {line} of .*data.csv has the column names: delete the lines above it"):
        files(write(before + "a;user_id;item_id\n0;1;2\n"))


def test_an_archive_must_hold_one_file(tmp_path):
    path = tmp_path / "data.csv.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.csv", GOOD)
        archive.writestr("__MACOSX/a.csv", "what a Mac adds")
    assert len(files(path)) == 3
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("b.csv", GOOD)
    with pytest.raises(InputError, match=r"contains 2 files \(a\.csv, b\.csv\): unpack it"):
        files(path)


def test_missing_files(tmp_path, write):
    with pytest.raises(InputError, match=r"there is no file .*nothing.csv: check the path"):
        files(tmp_path / "nothing.csv")
    with pytest.raises(InputError, match=r"is a folder without .parquet files: name a file in it"):
        files(tmp_path)
    with pytest.raises(InputError, match=r"has an unknown suffix: rename it to .* \(each also .gz, .zst or .zip\)"):
        files(write(GOOD, "data.dat"))
    assert len(files(write(GOOD, "data.txt"), delimiter=",")) == 3
    with pytest.raises(InputError, match="not a valid Parquet file"):
        files(write(GOOD, "data.parquet"))


def test_a_file_without_read_permission(write, monkeypatch):
    def refused(path):
        raise PermissionError(13, "Permission denied")

    path = write(GOOD)
    monkeypatch.setattr(pa, "input_stream", refused)
    with pytest.raises(InputError, match=r"data\.csv cannot be read: Permission denied"):
        files(path)


def test_data_and_given_splits_exclude_each_other(write):
    one = write(GOOD)
    with pytest.raises(InputError, match=r"no data: set data.path=FILE"):
        files()
    with pytest.raises(InputError, match="no data"):
        files(train=one)
    with pytest.raises(InputError, match="not both"):
        files(one, test=one)
    with pytest.raises(InputError, match=r"data.k_core=5 would drop test rows"):
        files(train=one, test=one, k_core=5)


@pytest.mark.parametrize(
    ("column", "message"),
    [
        (pa.array([1.0, 2.5]), "row 2 of .* has the id 2.5: ids are text or integers"),
        (pa.array([1, None]), "1 rows have no id, first in row 2 of"),
        (pa.array([float("nan"), 1.0]), "1 rows have no id, first in row 1 of"),
        (pa.array(["a", ""]).dictionary_encode(), "1 rows have no id, first in row 2 of"),
        (pa.array(["a", ""]), "1 rows have no id, first in row 2 of"),
    ],
)
def test_invalid_parquet_ids(tmp_path, column, message):
    pq.write_table(pa.table({"user_id": column, "item_id": [1, 2]}), tmp_path / "t.parquet")
    with pytest.raises(InputError, match=message):
        files(tmp_path / "t.parquet", anonymous="error")


def test_parquet_without_rows(tmp_path):
    pq.write_table(
        pa.table({"user_id": pa.array([], pa.int64()), "item_id": pa.array([], pa.int64())}), tmp_path / "t.pq"
    )
    with pytest.raises(InputError, match=r"t\.pq has a header but no rows"):
        files(tmp_path / "t.pq")


def test_parquet_values_that_are_not_numbers(tmp_path):
    pq.write_table(pa.table({"user_id": [1], "item_id": [1], "v": [[1]]}), tmp_path / "t.parquet")
    with pytest.raises(InputError, match=r"data.value_column=.* has the type list.* not numbers"):
        files(tmp_path / "t.parquet", value_column="v")


@pytest.mark.parametrize("ids", [pa.array([2**64 - 1, 1], pa.uint64()), pa.array(["b", "a"]).dictionary_encode()])
def test_parquet_id_types(tmp_path, ids):
    pq.write_table(pa.table({"user_id": ids, "item_id": [1, 2]}), tmp_path / "t.parquet")
    assert [user for user, _ in rows(files(tmp_path / "t.parquet"))] == [str(i) for i in ids.to_pylist()]


@pytest.mark.shared_data
def test_a_published_split_has_its_published_size(shared_data):
    data = files(train=shared_data / "ml-1m-holdout-train.parquet", test=shared_data / "ml-1m-holdout-test.parquet")
    assert np.bincount(data.part).tolist() == [454_860, 0, 116_671]
    assert (data.n_users, data.n_items) == (5_949, 2_810)


@pytest.mark.shared_data
def test_real_purchases(shared_data, tmp_path):
    """Missing customers (with anonymous=error) and returns are errors; without them counts are those of pandas."""
    source = shared_data / "online-retail-ii-2009.parquet"
    columns = {"user_column": "Customer ID", "item_column": "StockCode"}
    with pytest.raises(InputError, match="Customer ID: 107,927 rows have no id, first in row 264 of"):
        files(source, **columns, anonymous="error")
    frame = pd.read_parquet(source).dropna(subset="Customer ID").head(50_000)
    frame.to_parquet(tmp_path / "known.parquet")
    columns |= {"value_column": "Quantity", "time_column": "InvoiceDate"}
    with pytest.raises(InputError, match="negative value"):
        files(tmp_path / "known.parquet", **columns)
    data = files(tmp_path / "known.parquet", **columns, min_value=1.0)
    bought = frame[frame["Quantity"] >= 1]
    assert len(data) == len(bought.drop_duplicates(["Customer ID", "StockCode"]))
    assert data.n_users == bought["Customer ID"].nunique()
    assert data.user_ids[0] == int(bought["Customer ID"].min())
    assert data.time.max() == pd.Timestamp(bought["InvoiceDate"].max(), tz="UTC").value // 10**6


def test_only_a_quote_that_spans_rows_is_an_error(write):
    def table(lone: dict[int, str], name: str, sep: str, n: int = 30) -> Path:
        lines = [sep.join(["user_id", "title", "item_id"])]
        lines += [sep.join([str(i % 5), lone.get(i, f"title {i}"), str(i)]) for i in range(n)]
        return write("\n".join(lines) + "\n", name)

    for lone, line in (({10: '"Lone'}, 12), ({10: '"Lone', 20: '"Lone'}, 12), ({10: '"Lone', 20: 'end"'}, 12)):
        for name, sep in (("a.tsv", "\t"), ("a.csv", ","), ("a.csv.gz", ",")):
            with pytest.raises(InputError, match=f"line {line} opens a quote"):
                files(table(lone, name, sep))
    with pytest.raises(InputError, match="line 3 opens a quote"):  # longer than the field limit of Python's csv
        files(table({1: '"Lone'}, "a.csv", ",", n=20_000))
    for lone in ({3: 'a "b" c'}, {3: '"a" b'}, {3: '"a\nb"'}, {3: '"a, ""b""\n\n1,2"'}):
        assert len(files(table(lone, "a.csv", ","))) == 30


def test_long_fields_are_read_and_a_quote_in_the_header_is_named(write):
    assert rows(files(write("user_id,note,item_id\n1," + "x" * 3_000_000 + ",2\n"))) == [(1, 2)]
    with pytest.raises(InputError, match="its first line has a stray quote") as error:
        files(write('user_id,"item_id\n' + "1,2\n" * 1_000))
    assert len(str(error.value)) < 300


@pytest.mark.parametrize("kept", ["buy", "view"])
def test_labels_and_positions_are_those_of_the_events_that_are_kept(write, kept):
    lines = ["1,1,view,1,1", "1,2,buy,1,2", "2,1,buy,0,1", "2,2,buy,1,1", "1,3,view,0,", "2,3,view,1,2", "3,2,view,1,1"]
    if kept == "buy":
        lines[0] = "1,1,view,,"  # a dropped row may lack the other columns
    else:
        lines[4] = "1,3,view,0,3"
    path = write("\n".join(["user_id,item_id,e,l,p", *lines]) + "\n")
    of = {"event_column": "e", "events": [kept]}
    expected = {"buy": ([(1, 2), (2, 2)], [2, 1, 1]), "view": ([(1, 1), (2, 3), (3, 2)], [1, 3, 2, 1])}[kept]
    assert rows(files(path, label_column="l", **of)) == expected[0]
    assert files(path, position_column="p", **of).position.tolist() == expected[1]
    lines[3 if kept == "buy" else 5] = f"2,2,{kept},7,0"
    path = write("\n".join(["user_id,item_id,e,l,p", *lines]) + "\n")
    line = 5 if kept == "buy" else 7
    with pytest.raises(InputError, match=f"line {line} of .* has the label '7'"):
        files(path, label_column="l", **of)
    with pytest.raises(InputError, match=f"line {line} of .* has the position '0'"):
        files(path, position_column="p", **of)


KINDS = {
    "list": pa.array([[1], [2]]),
    "struct": pa.array([{"a": 1}, {"a": 2}]),
    "binary": pa.array([b"2024-01-01", b"2024-01-02"]),
    "fixed": pa.array([b"ab", b"cd"], pa.binary(2)),
    "duration": pa.array([1, 2], pa.duration("s")),
    "time": pa.array([1, 2], pa.time32("s")),
}


@pytest.mark.parametrize("kind", KINDS)
def test_columns_of_unsupported_types_are_named(tmp_path, kind):
    of = {"value_column": "v", "time_column": "t", "event_column": "e", "label_column": "l", "position_column": "p"}
    names = {"user_column": "user_id", "item_column": "item_id"} | of
    for key, column in names.items():
        table = {"user_id": pa.array([1, 2]), "item_id": pa.array([1, 2])} | {column: KINDS[kind]}
        pq.write_table(pa.table(table), path := tmp_path / "t.parquet")
        with pytest.raises(InputError, match=f"data.{key}=.* has the type "):
            files(path, **({key: column} if key in of else {}))


def test_uuids_are_text_half_floats_are_numbers_and_booleans_are_not_ids(tmp_path):
    def log(column: pa.Array) -> Path:
        pq.write_table(pa.table({"user_id": column, "item_id": column, "v": pa.array([1, 2])}), tmp_path / "t.parquet")
        return tmp_path / "t.parquet"

    named = [uuid.UUID(int=5), uuid.UUID("5f82c2d9-cfeb-0fa3-21d7-d982f8bd1045")]
    found = files(log(pa.array([each.bytes for each in named], pa.uuid())))
    assert rows(found) == [(str(each), str(each)) for each in named]
    half = pa.array(np.array([1, 2], np.float16))
    assert rows(files(log(half))) == [(1, 1), (2, 2)]
    pq.write_table(pa.table({"user_id": [1, 2], "item_id": [1, 2], "v": half}), tmp_path / "v.parquet")
    assert files(tmp_path / "v.parquet", value_column="v").value.tolist() == [1, 2]
    with pytest.raises(InputError, match=r"data\.user_column=user_id: row 1 of .* is true or false, not an id"):
        files(log(pa.array([True, False])))


def test_decimal_commas(write):
    log = "user_id;item_id;v;t\n1;1;3,5;1706000000,25\n1;2;-,5;1706000001\n1;3;4;1706000002,5\n"
    of = {"delimiter": ";", "value_column": "v", "time_column": "t", "decimal": ",", "negative": "keep"}
    assert rows(files(write(log), **of)) == [
        (1, 1, 3.5, 1_706_000_000_250),
        (1, 2, -0.5, 1_706_000_001_000),
        (1, 3, 4.0, 1_706_000_002_500),
    ]
    with pytest.raises(InputError, match=r"line 2 of .* has the value '3,5'.*'data\.decimal=\",\"'"):
        files(write(log), delimiter=";", value_column="v")
    for odd in ("1.234", "1.234,5"):
        with pytest.raises(InputError, match=f"line 3 of .* has the value '{odd}', not a finite number"):
            files(write(log.replace("-,5", odd)), **of)


def test_negative_values_are_kept_with_negative_keep(write):
    path = write("user_id,item_id,v\n1,1,-3\n1,1,3\n")
    assert files(path, value_column="v", negative="keep", duplicates="keep").value.tolist() == [-3, 3]
    with pytest.raises(InputError, match=r"line 2 of .* negative value -3"):
        files(path, value_column="v")
