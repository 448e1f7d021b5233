import gzip

import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxrec.data.sources.sequences import sequences
from jaxrec.errors import InputError


def pairs_of(data):
    return list(zip(data.user_ids[data.user].tolist(), data.item_ids[data.item].tolist(), strict=True))


@pytest.fixture
def write(tmp_path):
    def write(content, name="data.txt"):
        path = tmp_path / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    return write


@pytest.mark.parametrize(
    "text",
    [
        "1 10\n1 30\n2 10\n1 10\n",
        "1\t10\r\n1  30\r\n2 10\r\n1 10\r\n",
        "\ufeff 1 10\n\n1 30 \n2 10\n  \n1 10",
    ],
)
def test_pairs(write, text):
    data = sequences(write(text))
    assert pairs_of(data) == [(1, 10), (1, 30), (2, 10), (1, 10)]
    assert (data.time, data.value, data.name, data.notes) == (None, None, "data", {})
    assert pairs_of(sequences(write(gzip.compress(text.encode()), "data.txt.gz"))) == pairs_of(data)
    assert pairs_of(sequences(write(pa.compress(text.encode(), "zstd", asbytes=True), "d.zst"))) == pairs_of(data)
    last = sequences(write(text), duplicates="last")
    assert pairs_of(last) == [(1, 30), (2, 10), (1, 10)]
    assert last.notes == {"rows of the same user and item as a kept one, dropped": 1}


def test_lists(write):
    data = sequences(write('b x "y\nc\na 007 x x\n\nb z\n'), layout="lists")
    assert pairs_of(data) == [("b", "x"), ("b", '"y'), ("a", "007"), ("a", "x"), ("a", "x"), ("b", "z")]
    assert data.notes == {"users without items, dropped": 1}


def test_a_user_id_that_is_text_is_not_a_header(write):
    assert pairs_of(sequences(write("anna 7\n"))) == [("anna", 7)]
    assert pairs_of(sequences(write("anna 7\n3 4\nbert 5\n"))) == [("anna", 7), ("3", 4), ("bert", 5)]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "data.txt is empty"),
        ("\n \n", "has no line with a user and an item"),
        ("1 2\n\n1 2 3\n", "line 3 of .*data.txt has 3 ids, .* set data.layout=lists"),
        ("\nuser item\n1 2\n3 4\n", "starts with 'user item', but all other users are numbers: delete that line"),
        ("user item\n1 2\n", "starts with 'user item', but all other users are numbers"),
        ("1 2\n1\n", "line 2 of .*data.txt has one id"),
        ("1 2\n3\0 4\n", "line 2 of .*data.txt is not UTF-8 text"),
        ("1 2\ncafé 1\n".encode("latin-1"), "line 2 of .*data.txt is not UTF-8 text"),
        ("1 2\n3 4\n".encode("utf-16"), "line 1 of .*data.txt is not UTF-8 text"),
        ("1 2\n3 4\n".encode("utf-16-le"), "line 1 of .*data.txt is not UTF-8 text"),
    ],
)
def test_errors_name_the_line(write, content, message):
    with pytest.raises(InputError, match=message):
        sequences(write(content))


def test_missing_and_damaged_files(write, tmp_path):
    with pytest.raises(InputError, match="there is no file"):
        sequences(tmp_path / "nothing.txt")
    with pytest.raises(InputError, match="is a folder"):
        sequences(tmp_path)
    whole = gzip.compress("".join(f"{n * 7919 % 10007} {n}\n" for n in range(5000)).encode())
    for damaged in (whole[: len(whole) // 2], b"no"):
        with pytest.raises(InputError, match=r"data.gz is truncated, corrupt or unreadable"):
            sequences(write(damaged, "data.gz"))


ids = st.text(st.characters(exclude_categories=["Cs", "Cc", "Z"]), min_size=1, max_size=4).filter(
    lambda name: name.split() == [name]
) | st.integers().map(str)


@settings(deadline=None, max_examples=25, database=None)
@given(st.lists(st.tuples(ids, st.lists(ids, min_size=1, max_size=4)), min_size=1, max_size=8))
def test_both_layouts_are_read_back(tmp_path_factory, drawn):
    folder = tmp_path_factory.mktemp("round")
    expected = [(user, item) for user, items in drawn for item in items]
    (folder / "pairs.txt").write_text("".join(f"{user} {item}\n" for user, item in expected), "utf-8")
    (folder / "lists.txt").write_text("".join(f"{user} {' '.join(items)}\n" for user, items in drawn), "utf-8")
    for layout in ("pairs", "lists"):
        try:
            found = sequences(folder / f"{layout}.txt", layout=layout)
        except InputError as error:
            assert "all other users are numbers" in str(error)  # noqa: PT017
            continue
        assert [(str(user), str(item)) for user, item in pairs_of(found)] == expected


@pytest.mark.shared_data
def test_the_files_of_sasrec(shared_data, tmp_path):
    for name, size in {"ml-1m": (999_611, 6_040, 3_416), "amazon-beauty": (198_502, 22_363, 12_101)}.items():
        frame = pd.read_parquet(shared_data / f"{name}-sequences.parquet")
        frame[["user_id", "item_id"]].to_csv(tmp_path / f"{name}.txt", sep=" ", header=False, index=False)
        data = sequences(tmp_path / f"{name}.txt")
        assert (len(data), data.n_users, data.n_items) == size
        assert (data.item_ids[data.item] == frame["item_id"]).all()
