import datetime
import gzip
import unicodedata

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxrec.data.features import features
from jaxrec.data.sources.files import files
from jaxrec.errors import InputError

ITEMS = (
    "item_id,brand,genres,price,since,code,note\n"
    'x1,acme,Comedy|Drama,3.5,2024-01-02,007,"a, ""b"""\n'
    "x2,,Drama, 4 ,,011,\n"
    "x9,other,,,2024-01-03,7,c\n"
    "x8,,,,,,\n"
)


@pytest.fixture
def data(tmp_path):
    """`data(text, name, …)`: interactions of anna, bob and x1, x2, x3, with this file as item features."""
    (tmp_path / "data.csv").write_text("user_id,item_id\nanna,x1\nbob,x2\nanna,x3\n")

    def read(content, name="items.csv", **options):
        (tmp_path / name).write_bytes(content.encode() if isinstance(content, str) else content)
        return files(tmp_path / "data.csv", **({"item_features": tmp_path / name} | options))

    return read


def by_id(found, column):
    """Return the feature of x1, x2, x3; None where it is missing."""
    values = dict(zip(found.item_ids, found.item_features[column], strict=True))
    found = [values[i] for i in ("x1", "x2", "x3")]
    return [list(v) if isinstance(v, np.ndarray) else None if v is None or pd.isna(v) else v for v in found]


def test_kinds_of_columns_are_inferred_from_values(data):
    found = data(ITEMS)
    assert by_id(found, "brand") == ["acme", None, None]
    assert by_id(found, "genres") == [["Comedy", "Drama"], ["Drama"], None]
    assert by_id(found, "price") == [3.5, 4, None]
    assert by_id(found, "since") == [datetime.datetime(2024, 1, 2), None, None]
    assert by_id(found, "code") == ["007", "011", None]
    assert by_id(found, "note") == ['a, "b"', None, None]
    assert found.notes == {
        "items of data.item_features that never occur, dropped": 2,
        "items without a row in data.item_features, their features missing": 1,
    }


@pytest.mark.parametrize(
    ("change", "options"),
    [
        (lambda text: text.replace("\n", "\r\n"), {}),
        (lambda text: "\ufeff" + text, {}),
        (lambda text: text.rstrip("\n"), {}),
        (lambda text: text.replace("Comedy|Drama", "Comedy | Drama"), {}),
        (lambda text: text.replace("|", ";"), {"separator": ";"}),
        (lambda text: text.replace("item_id,", "item_id:token,"), {}),
    ],
)
def test_files_of_all_formats(data, change, options):
    found = data(change(ITEMS), **options)
    assert by_id(found, "genres") == [["Comedy", "Drama"], ["Drama"], None]
    assert by_id(found, "note") == ['a, "b"', None, None]


def test_kinds_of_columns_may_be_set(data):
    found = data(ITEMS, categorical=("price", "code"), multi_valued=("note",), numerical=("since",), separator=",")
    assert isinstance(found.item_features["price"].dtype, pd.CategoricalDtype)
    assert by_id(found, "price") == ["3.5", "4", None]
    assert by_id(found, "note") == [["a", '"b"'], None, None]
    assert by_id(found, "genres") == ["Comedy|Drama", "Drama", None]


def test_headers_of_atomic_files_set_the_kinds(data):
    text = (
        "item_id:token\ttitle:token_seq\tyear:token\tscore:float\tclass:token_seq\n"
        'x1\tThe "Film\t1995\t7\tA|B C\nx2\tFilm\t1996\t8\tC\n'
    )
    found = data(text, "items.item")
    assert by_id(found, "title") == [["The", '"Film'], ["Film"], None]
    assert by_id(found, "year") == ["1995", "1996", None]
    assert by_id(found, "score") == [7, 8, None]
    assert by_id(found, "class") == [["A|B", "C"], ["C"], None]
    assert by_id(data(text, "items.item", multi_valued=("class",)), "class") == [["A", "B C"], ["C"], None]


def test_atomic_interactions_and_users(tmp_path):
    """The three atomic files of a RecBole data set."""
    (tmp_path / "m.inter").write_text(
        "user_id:token\titem_id:token\trating:float\ttimestamp:float\n196\t242\t3\t881250949\n22\t377\t1\t878887116\n"
    )
    (tmp_path / "m.user").write_text("user_id:token\tage:token\tgender:token\n22\t25\tM\n196\t49\tF\n")
    found = files(
        tmp_path / "m.inter", user_features=tmp_path / "m.user", value_column="rating", time_column="timestamp"
    )
    assert found.user_ids.tolist() == [22, 196]
    assert found.user_features.to_dict("list") == {"age": ["25", "49"], "gender": ["M", "F"]}
    assert found.time.tolist() == [881_250_949_000, 878_887_116_000]
    assert found.notes == {}


def test_long_text_is_cut_and_counted(data):
    found = data(ITEMS, max_text=3)
    assert by_id(found, "brand") == ["acm", None, None]
    assert found.notes["values of brand longer than 3 characters, cut"] == 2


def test_parquet_types_set_the_kinds(data, tmp_path):
    table = pa.table(
        {
            "item_id": ["x1", "x2", "x3"],
            "tags": pa.array([["a", "b"], None, []]),
            "new": [True, None, False],
            "brand": pa.array(["b", "a", None]).dictionary_encode(),
            "price": [1.5, float("nan"), 2],
            "born": [datetime.date(2024, 1, 1), None, None],
            "nothing": pa.nulls(3),
        }
    )
    pq.write_table(table, tmp_path / "items.parquet")
    found = data("", item_features=tmp_path / "items.parquet")
    assert by_id(found, "tags") == [["a", "b"], None, []]
    assert by_id(found, "brand") == ["b", "a", None]
    assert by_id(found, "price") == [1.5, None, 2]
    schema = features(found.item_features).schema
    assert [v.column for v in schema.categories] == ["new", "brand"]
    assert [v.column for v in schema.bags] == ["tags"]
    assert [scale.column for scale in schema.numbers] == ["price"]


@pytest.mark.parametrize(
    ("content", "options", "message"),
    [
        ("", {}, "items.csv is empty"),
        ("item_id,a\n", {}, "items.csv has a header but no rows"),
        ("id,a\nx1,2\n", {}, "no column 'item_id' \\(set by data.item_column\\): rename .* are 'id', 'a'"),
        ("item_id;a\nx1;2\n", {}, "no column 'item_id'; .*: set 'data.delimiter=\";\"'"),
        ("item_id,a,a\nx1,2,3\n", {}, "2 columns 'a': rename all but the one for a"),
        ("item_id,item_id\nx1,2\n", {}, "2 columns 'item_id'"),
        ("item_id,a\nx1,2\nx2\n", {}, "line 3 of .*items.csv has 1 fields, the header has 2"),
        (
            "item_id,a\nx1,2\n,3\n",
            {},
            "data.item_column=item_id: 1 rows have no id, first in line 3 of",
        ),
        ("item_id,a\nx1,2\nx1,3\n", {}, "features have two rows with item_id x1: keep one row per id"),
        ("item_id,a\nx1,caf\u00e9\n".encode("latin-1"), {}, "line 2 of .*items.csv is not UTF-8"),
        (
            ITEMS,
            {"categorical": ("color",)},
            "data.categorical names a column 'color'; .* 'item_id', 'brand'",
        ),
        (ITEMS, {"numerical": ("price",), "categorical": ("price",)}, "the feature 'price' is listed twice"),
        (ITEMS, {"numerical": ("brand",)}, "line 2 of .*items.csv has 'acme' as brand, which is neither a number"),
        ("item_id,a\nx1,\nx2,b\n", {"numerical": ("a",)}, "line 3 of .*items.csv has 'b' as a, which is neither"),
        (
            "item_id,a\nx1,2024-01-31\nx2,31.1.24\n",
            {"numerical": ("a",)},
            "line 3 of .*items.csv has '31.1.24' as a, which",
        ),
        (
            "item_id,a\nx1,2\nx2,-inf\n",
            {},
            "line 3 of .*items.csv has an infinite number as a: fix it",
        ),
        (ITEMS, {"item_features": None, "numerical": ("a",)}, "the feature files have none: set data.user_features"),
        (ITEMS, {"item_features": "nowhere.csv"}, "there is no file nowhere.csv"),
    ],
)
def test_errors_name_file_and_column(data, content, options, message):
    with pytest.raises(InputError, match=message):
        data(content, **options)


@pytest.mark.parametrize("lists", [pa.list_, pa.large_list])
def test_lists_of_text_written_by_polars(data, tmp_path, lists):
    column = pa.array([["a", "b"], ["b"]], lists(pa.string_view()))
    pq.write_table(pa.table({"item_id": ["x1", "x2"], "tags": column}), tmp_path / "items.parquet")
    assert by_id(data("", item_features=tmp_path / "items.parquet"), "tags")[:2] == [["a", "b"], ["b"]]


def test_parquet_columns_that_are_not_features(data, tmp_path):
    pq.write_table(pa.table({"item_id": ["x1"], "box": [{"w": 1}]}), tmp_path / "items.parquet")
    with pytest.raises(InputError, match="column 'box', contains struct"):
        data("", item_features=tmp_path / "items.parquet")


def test_lists_of_decimals_are_dense_vectors(data, tmp_path):
    """Dense vectors in Parquet of any float type, in text, and under a typed header."""
    vectors = [[0.5, 1.0], [1.0, 2.0]]
    for kind in (pa.list_(pa.float64()), pa.list_(pa.float32(), 2), pa.large_list(pa.float16())):
        column = pa.array([np.array(vector, np.float16) for vector in vectors], kind)
        pq.write_table(pa.table({"item_id": ["x1", "x2"], "v": column}), tmp_path / "items.parquet")
        assert as_lists(data("", item_features=tmp_path / "items.parquet")) == vectors
    assert as_lists(data("item_id,v\nx1,0.5|1\nx2,1|2\n")) == vectors
    assert as_lists(data("item_id,v:float_seq\nx1,3 1\nx2,1 2\n")) == [[3, 1], [1, 2]]
    assert as_lists(data("item_id,v\nx1,0.5|1\nx2,\n")) == [[0.5, 1.0], None]
    whole = features(pd.DataFrame({"years": [[1999, 2001], [2001, None]]})).schema
    assert (len(whole.bags), len(whole.dense)) == (1, 0)


def as_lists(read) -> list:
    """Return the vectors of the items x1 and x2."""
    vectors = read.item_features["v"].iloc[np.argsort(read.item_ids)][:2]
    return [vector.tolist() if isinstance(vector, np.ndarray) else None for vector in vectors]


def test_errors_name_the_line_of_a_vector_of_another_length_or_without_numbers(data):
    with pytest.raises(InputError, match=r"line 3 of .*items.csv has 3 numbers in v, and the first vector has 2"):
        data("item_id,v\nx1,0.5|1\nx2,1|2|3\n")
    with pytest.raises(InputError, match=r"line 3 of .*items.csv has an entry in v that is not a finite number"):
        data("item_id,v:float_seq\nx1,0.5 1\nx2,1 inf\n")


@pytest.mark.parametrize("kind", [pa.duration("s"), pa.time32("s"), pa.binary(), pa.list_(pa.list_(pa.int64()))])
@pytest.mark.parametrize("named", [{}, {"categorical": ("odd",)}, {"numerical": ("odd",)}])
def test_types_that_cannot_be_features_are_named(data, tmp_path, kind, named):
    odd = pa.array([b"a"] if kind == pa.binary() else [[[1]]] if pa.types.is_list(kind) else [1], kind)
    pq.write_table(pa.table({"item_id": ["x1"], "odd": odd}), tmp_path / "items.parquet")
    with pytest.raises(InputError, match="column 'odd', contains "):
        data("", item_features=tmp_path / "items.parquet", **named)


def test_decimal_commas(data):
    table = 'item_id,price\nx1,"3,5"\nx2,"4"\nx3,"-1,25"\n'
    assert by_id(data(table, decimal=","), "price") == [3.5, 4.0, -1.25]
    assert by_id(data(table, decimal=",", numerical=("price",)), "price") == [3.5, 4.0, -1.25]
    with pytest.raises(InputError, match=r"column 'price', contains numbers such as '3,5': .*data\.decimal=\",\""):
        data(table)
    assert by_id(data(table, categorical=("price",)), "price") == ["3,5", "4", "-1,25"]
    with pytest.raises(InputError, match=r"line 2 of .* has '3,5' as price, .*data\.decimal=\",\""):
        data(table, numerical=("price",))


@pytest.mark.parametrize("damage", [lambda b: b[: len(b) // 2], lambda b: b[:12] + bytes(9) + b[21:]])
def test_damaged_files(data, tmp_path, damage):
    with pytest.raises(InputError, match=r"items.csv.gz is a truncated or corrupt compressed file"):
        data(damage(gzip.compress(ITEMS.encode())), "items.csv.gz")


text = st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=6)


@settings(deadline=None, max_examples=25, database=None)
@given(st.lists(st.tuples(text, text, st.none() | st.integers(-(10**6), 10**6)), min_size=1, max_size=9))
def test_files_written_by_pandas_are_read_back(tmp_path_factory, drawn):
    folder = tmp_path_factory.mktemp("round")
    frame = pd.DataFrame(drawn, columns=["name", "other", "number"]).assign(item_id=range(len(drawn)), user_id=0)
    frame.to_csv(folder / "items.csv", index=False)
    options = {"item_features": folder / "items.csv", "categorical": ("name", "other"), "numerical": ("number",)}
    found = files(folder / "items.csv", **options)
    read = found.item_features.set_axis(found.item_ids).sort_index()
    for position, column in enumerate(("name", "other", "number")):
        given = [row[position] for row in drawn]
        expected = [unicodedata.normalize("NFC", v).strip() or None if isinstance(v, str) else v for v in given]
        assert [None if pd.isna(v) else v for v in read[column]] == expected


def test_the_encoding_applies_to_feature_files_too(data):
    items = "item_id,maker é\nx1,Café\n".encode("latin-1")
    with pytest.raises(InputError, match=r"items\.csv is not UTF-8"):
        data(items)
    found = data(items, encoding="latin-1", categorical=("maker é",))
    assert by_id(found, "maker é") == ["Café", None, None]


def test_names_of_categories_have_no_blanks_around_them(data):
    """Neither blanks nor the Unicode form of a letter make a second category; blanks alone are a missing value."""
    found = data("item_id,c,m\nx1,caf\u00e9 ,e\u0301 | b\nx2, cafe\u0301,\u00e9|b\nx3,  ,b\n", multi_valued=("m",))
    assert by_id(found, "c") == ["caf\u00e9", "caf\u00e9", None]
    assert [list(names) for names in by_id(found, "m")] == [["\u00e9", "b"], ["\u00e9", "b"], ["b"]]


@pytest.mark.parametrize("kind", [pa.list_(pa.string()), pa.large_list(pa.dictionary(pa.int8(), pa.string()))])
def test_names_in_lists_have_no_blanks_around_them(data, tmp_path, kind):
    names = [["caf\u00e9 ", " b"], None, ["cafe\u0301", " "], []]
    lists = pa.array(names, pa.list_(pa.string())).cast(kind)
    pq.write_table(pa.table({"item_id": ["x1", "x2", "x3", "x4"], "m": lists}), tmp_path / "items.parquet")
    found = by_id(data("", item_features=tmp_path / "items.parquet"), "m")
    assert [None if names is None else list(names) for names in found] == [
        ["caf\u00e9", "b"],
        None,
        ["caf\u00e9", None],
    ]
