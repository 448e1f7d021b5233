"""Features against plain Python: dictionaries for vocabularies, `statistics` for scales."""

import datetime
import statistics

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxrec.data.feature_values import as_floats
from jaxrec.data.features import features
from jaxrec.errors import InputError

quick = settings(max_examples=25, deadline=None)
NAMES = st.sampled_from(["a", "b", "Film-Noir", "é"])
ROWS = st.lists(
    st.tuples(
        st.none() | NAMES,
        st.none() | st.lists(st.none() | NAMES, max_size=5),
        st.none() | st.integers(-(10**6), 10**6).map(lambda n: n / 4),
    ),
    min_size=1,
    max_size=12,
)


def vocabulary(values, min_count):
    known = [value for value in values if value is not None]
    return {name: code for code, name in enumerate(sorted(n for n in set(known) if known.count(n) >= min_count), 1)}


@given(ROWS, st.integers(1, 3), st.integers(1, 4), st.data())
@quick
def test_codes_and_scales_come_from_the_fitted_rows(rows, min_count, max_bag, drawn):
    fitted = sorted(drawn.draw(st.sets(st.integers(0, len(rows) - 1), min_size=1)))
    names, lists, numbers = (list(column) for column in zip(*rows, strict=True))
    frame = pd.DataFrame(
        {
            "name": pd.Categorical(names),
            "list": pd.Series(lists, dtype=object),
            "number": pd.Series(numbers, dtype=float),
        }
    )
    found = features(frame, np.array(fitted), min_count=min_count, max_bag=max_bag)
    schema = found.schema

    codes = vocabulary([names[row] for row in fitted], min_count)
    if "name" not in schema.left_out:
        assert found.categories[:, 0].tolist() == [codes.get(name, 0) for name in names]
    else:
        assert not codes or {codes.get(names[row]) for row in fitted} == {1}

    codes = vocabulary([n for row in fitted for n in set(lists[row] or ())], min_count)
    bags = [list(dict.fromkeys(codes[n] for n in values or () if n in codes)) for values in lists]
    length = min(max_bag, max((len(bags[row]) for row in fitted), default=0))
    if "list" in schema.left_out:
        assert length == 0
    else:
        assert found.bags[:, 0].tolist() == [(bag + [0] * length)[:length] for bag in bags]

    known = [numbers[row] for row in fitted if numbers[row] is not None]
    if "number" in schema.left_out:
        assert len(set(known)) < 2
    else:
        mean, deviation = statistics.fmean(known), statistics.pstdev(known)
        expected = [0.0 if x is None else (x - mean) / deviation for x in numbers]
        np.testing.assert_allclose(found.numbers[:, 0], expected, rtol=1e-5, atol=1e-5)
        if len(known) < len(fitted):
            assert found.numbers[:, 1].tolist() == [x is None for x in numbers]


def test_dtypes_set_the_kinds_of_columns():
    frame = pd.DataFrame(
        {
            "gender": ["M", "", "F", "M"],
            "new": [True, False, True, True],
            "occupation": pd.Categorical([3, 7, None, 7]),
            "title": ["a", "b", "c", "c"],
            "genres": [["x"], [], None, ["y", "x", "y"]],
            "age": [20, 30, 40, 30],
            "price": [1.0, None, 3.0, float("inf")],
            "since": pd.to_datetime(["1970-01-02", None, "1970-01-04", None]),
            "born": [datetime.date(1970, 1, 3), datetime.date(1970, 1, 5), None, None],
            "empty": [None] * 4,
            "same": [5] * 4,
        }
    )
    found = features(frame)
    schema = found.schema
    assert [(v.column, v.names.tolist()) for v in schema.categories] == [
        ("gender", ["F", "M"]),
        ("new", ["False", "True"]),
        ("occupation", ["3", "7"]),
        ("title", ["a", "b", "c"]),
    ]
    assert found.categories.T.tolist() == [[2, 0, 1, 2], [2, 1, 2, 2], [1, 2, 0, 2], [1, 2, 3, 3]]
    assert [v.size for v in schema.categories] == [3, 3, 3, 4]
    assert found.bags.tolist() == [[[1, 0]], [[0, 0]], [[0, 0]], [[2, 1]]]
    flags = tuple(f"{column} is missing" for column in ("price", "since", "born"))
    assert schema.number_names == ("age", "price", "since", "born", *flags)
    assert [(scale.mean, scale.deviation) for scale in schema.numbers[1:]] == [(2, 1), (2, 1), (3, 1)]
    assert found.numbers[:, 1:].T.tolist() == [
        [-1, 0, 1, 0],
        [-1, 0, 1, 0],
        [-1, 1, 0, 0],
        [0, 1, 0, 1],
        [0, 1, 0, 1],
        [0, 0, 1, 1],
    ]
    assert schema.left_out == {"empty": "no known value", "same": "one value only"}


def test_free_text_is_dropped_with_a_note():
    titles = [f"film {n}" for n in range(6)]
    frame = pd.DataFrame({"title": titles, "half": ["a", "a", "b", "c", "d", None], "three": [*"aabbc", "d"]})
    found = features(frame)
    assert found.schema.left_out == {
        "title": "free text: 6 of 6 values occur once",
        "half": "free text: 3 of 5 values occur once",
    }
    assert [v.column for v in found.schema.categories] == ["three"]
    assert features(frame.astype({"title": "category"})).categories[:, 0].tolist() == [1, 2, 3, 4, 5, 6]


def test_new_rows_get_the_fitted_codes_and_scales():
    frame = pd.DataFrame({"code": pd.Categorical([7.0, 8.0, None]), "tags": [["a", "b"], ["b"], []], "x": [1.0, 3, 2]})
    schema = features(frame).schema
    new = pd.DataFrame({"x": [5.0, None, 1e300], "tags": [["z", "a"], None, ["b", "a", "c"]], "code": ["8", "9", "7"]})
    found = schema.encode(new.set_index(pd.Index([9, 9, 9])))
    assert found.categories[:, 0].tolist() == [2, 0, 1]
    assert found.bags[:, 0].tolist() == [[1, 0], [0, 0], [2, 1]]
    np.testing.assert_allclose(found.numbers[:2, 0], [3 / np.sqrt(2 / 3), 0], rtol=1e-6)
    assert np.isfinite(found.numbers).all()
    assert schema.encode(new.assign(code=np.nan)).categories.tolist() == [[0]] * 3
    with pytest.raises(InputError, match="features lack the column 'tags': the columns are 'x', 'code'"):
        schema.encode(new.drop(columns="tags"))


def test_long_names_and_long_lists_are_truncated():
    frame = pd.DataFrame({"text": ["aaab", "aaac", "b", "b"], "tags": [[*"abc"], [*"cab"], ["a"], []]})
    found = features(frame, max_text=3, max_bag=2)
    assert found.schema.categories[0].names.tolist() == ["aaa", "b"]
    assert found.bags[:, 0].tolist() == [[1, 2], [3, 1], [1, 0], [0, 0]]
    assert found.notes == {"rows with more than 2 values of tags, the first kept": 2}


def test_rare_names_are_unknown():
    frame = pd.DataFrame({"brand": [*"aabbc"], "tags": [["x"], ["y"], ["z"], [], []]})
    found = features(frame, min_count=2)
    assert found.categories[:, 0].tolist() == [1, 1, 2, 2, 0]
    assert found.schema.left_out == {"tags": "no value has 2 rows"}


def test_numbers_whose_squares_overflow():
    found = features(pd.DataFrame({"x": [1e300, 3e300, 1e300, 3e300], "y": [1.0, 2.0, 3.0, np.nan]}))
    assert found.numbers[:, 0].tolist() == [-1, 1, -1, 1]


def test_arrow_columns():
    lists = pd.Series([["a"], None, ["b", "a"]], dtype=pd.ArrowDtype(pa.list_(pa.string())))
    numbers = pd.Series([1, None, 3], dtype="Int64")
    found = features(pd.DataFrame({"tags": lists, "n": numbers}))
    assert found.bags[:, 0].tolist() == [[1, 0], [0, 0], [2, 1]]
    assert found.numbers.tolist() == [[-1, 0], [0, 1], [1, 0]]


def test_no_features_at_all():
    found = features(pd.DataFrame(index=range(3)))
    assert len(found) == 3
    assert (found.categories.shape, found.bags.shape, found.numbers.shape) == ((3, 0), (3, 0, 0), (3, 0))


def test_duplicate_column_names():
    with pytest.raises(InputError, match="have two columns 'a'"):
        features(pd.DataFrame([[1, 2]], columns=["a", "a"]))
    with pytest.raises(InputError, match="the feature 'a' mixes numbers with other values"):
        features(pd.DataFrame({"a": [1.0, 2.0]})).schema.encode(pd.DataFrame({"a": ["many"]}))


@pytest.mark.shared_data
def test_users_and_movies_of_movielens(shared_data):
    users = pd.read_parquet(shared_data / "ml-1m-users.parquet").drop(columns="userID")
    found = features(users.astype({"occupation": "category"}))
    assert [(v.column, v.size) for v in found.schema.categories] == [
        ("gender", 3),
        ("occupation", 22),
        ("zipcode", 3440),
    ]
    films = pd.read_parquet(shared_data / "ml-1m-items.parquet")
    found = features(films.assign(genres=films["genres"].str.split("|")))
    assert [(v.column, v.size) for v in found.schema.bags] == [("genres", 19)]
    assert set(found.schema.left_out) == {"movieID", "title"}


def test_dates_of_any_year_are_days_since_1970():
    dates = [datetime.date(1, 1, 1), None, datetime.date(9999, 12, 31), datetime.date(2300, 1, 1)]
    expected = [np.nan if date is None else date.toordinal() - 719_163 for date in dates]  # of 1970-01-01
    np.testing.assert_array_equal(as_floats(pd.Series(dates)), expected)
    times = pd.to_datetime(pd.Series(["1970-01-02 12:00", "1969-12-31 00:00"]))
    np.testing.assert_array_equal(as_floats(times), [1.5, -1])
