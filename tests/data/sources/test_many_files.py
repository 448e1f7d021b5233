"""Parquet files read together, and large data in blocks, with the results of one small file."""

import os
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jaxrec.data import large_columns
from jaxrec.data.interactions import COLUMNS, Interactions
from jaxrec.data.sources.files import files
from jaxrec.data.splits.new_users import new_users
from jaxrec.data.splits.session_split import by_session
from jaxrec.data.splits.split import global_time, holdout, leave_one_out, rolling
from jaxrec.errors import InputError

N = 400
EVENTS = ("view", "cart", "purchase")


@pytest.fixture
def log() -> pd.DataFrame:
    """Events with repeated pairs, equal times, missing users and ids of both kinds."""
    rng = np.random.default_rng(5)
    user = rng.integers(0, 30, N).astype(object)
    user[::50] = None
    return pd.DataFrame(
        {
            "user_id": pd.array(user, "Int64"),
            "item_id": [f"{i}.0" if i % 3 else f"p{i}" for i in rng.zipf(1.5, N) % 25],
            "stars": rng.integers(1, 6, N).astype(np.float32),
            "time": 1_700_000_000 + rng.integers(0, 300, N) * 3600,
            "event": np.array(EVENTS)[rng.integers(0, 3, N)],
        }
    )


@pytest.fixture
def folder(log, tmp_path):
    """The log in three files, one in a subfolder."""
    (tmp_path / "log" / "b").mkdir(parents=True)
    for name, rows in {"a.parquet": slice(0, 100), "b/c.parquet": slice(100, 150), "d.parquet": slice(150, N)}.items():
        log.iloc[rows].to_parquet(tmp_path / "log" / name, index=False)
    (tmp_path / "log" / "_SUCCESS").touch()
    return tmp_path / "log"


@pytest.fixture
def in_blocks(monkeypatch, tmp_path):
    """Switch to blocks of seven rows and to columns in files."""

    def switch() -> None:
        monkeypatch.setenv("JAXREC_CACHE", str(tmp_path / "cache"))
        monkeypatch.setattr(large_columns, "BLOCK", 7)
        monkeypatch.setattr(large_columns, "LARGE", 1)

    return switch


def assert_same(one: Interactions, other: Interactions) -> None:
    for name in (*COLUMNS, "user_ids", "item_ids"):
        left, right = getattr(one, name), getattr(other, name)
        assert (left is None) == (right is None), name
        if left is not None:
            assert left.dtype == right.dtype, name
            np.testing.assert_array_equal(left, right, err_msg=name)
    assert (one.notes, one.event_names) == (other.notes, other.event_names)
    for left, right in zip(one.histories, other.histories, strict=True):
        np.testing.assert_array_equal(left, right)


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"time_column": "time", "duplicates": "first", "anonymous": "keep"},
        {"time_column": "time", "value_column": "stars", "min_value": 2, "k_core": 3},
        {"value_column": "stars", "duplicates": "keep", "quantity": "rank", "quantity_as": "weight"},
        {
            "time_column": "time",
            "event_column": "event",
            "target_event": "purchase",
            "events": ["view", "purchase"],
            "event_weights": {"view": 0.5},
        },
    ],
)
def test_many_files_in_blocks_give_the_data_of_one_file_in_memory(log, folder, in_blocks, settings):
    expected = files(log, **settings)
    in_blocks()
    assert_same(files(folder, **settings), expected)
    assert_same(files(str(folder / "**" / "*.parquet"), **settings), expected)


@pytest.mark.parametrize("target", [{}, {"event_column": "event", "target_event": "purchase"}])
@pytest.mark.parametrize(
    "split",
    [
        holdout,
        leave_one_out,
        lambda data: global_time(data, test_from=0.8, validation_from=0.6),
        lambda data: rolling(data, folds=2, test_fraction=0.2),
        lambda data: new_users(data, known_by="random", test_fraction=0.3, validation_fraction=0.3),
        lambda data: by_session(data, gap_minutes=1800, validation_days=3, test_days=3),
    ],
    ids=["holdout", "leave_one_out", "global_time", "rolling", "new_users", "sessions"],
)
def test_splits_in_blocks_equal_those_in_memory(log, in_blocks, split, target):
    settings = {"time_column": "time", "duplicates": "keep", **target}
    expected = split(files(log, **settings))
    in_blocks()
    found = split(files(log, **settings))
    assert found.notes == expected.notes
    for one, other in ((found.selection.validation, expected.selection.validation), (found.test, expected.test)):
        assert_same(one.known, other.known)
        assert_same(one.target, other.target)
        np.testing.assert_array_equal(one.order, other.order)
    assert_same(found.selection.train, expected.selection.train)


def test_repeats_in_blocks_are_counted(log, in_blocks):
    with pytest.raises(InputError) as expected:
        files(log, duplicates="error")
    in_blocks()
    with pytest.raises(InputError) as found:
        files(log, duplicates="error")
    assert str(found.value) == str(expected.value)


def test_errors_name_the_file_and_the_row(log, folder):
    broken = log.iloc[100:150].astype({"stars": object})
    broken.iloc[3, broken.columns.get_loc("stars")] = None
    broken.to_parquet(folder / "b" / "c.parquet", index=False)
    with pytest.raises(InputError, match=r"row 4 of .*b/c.parquet has no value"):
        files(folder, value_column="stars")
    broken.drop(columns="stars").to_parquet(folder / "b" / "c.parquet", index=False)
    with pytest.raises(InputError, match=r"b/c.parquet has no column 'stars'"):
        files(folder, value_column="stars")
    broken.assign(stars="many").to_parquet(folder / "b" / "c.parquet", index=False)
    with pytest.raises(InputError, match=r"the type of the column 'stars' is .*string in .*c.parquet"):
        files(folder, value_column="stars")
    (folder / "b" / "c.parquet").write_text("user_id")
    with pytest.raises(InputError, match=r"b/c.parquet is not a valid Parquet file"):
        files(folder)


def test_integers_of_two_sizes_are_joined(tmp_path):
    for name, kind in (("a", pa.int32()), ("b", pa.int64())):
        pq.write_table(pa.table({"user_id": pa.array([1, 2], kind), "item_id": [3, 4]}), tmp_path / f"{name}.parquet")
    assert files(tmp_path, duplicates="keep").user_ids.tolist() == [1, 2]


def test_folders_and_patterns_need_parquet_files(tmp_path):
    with pytest.raises(InputError, match=r"no file matches .*\*.parquet"):
        files(tmp_path / "*.parquet")
    (tmp_path / "log.csv").write_text("user_id,item_id\n1,2\n")
    with pytest.raises(InputError, match=r"log.csv, but only .parquet files can be read together"):
        files(tmp_path / "*.csv")
    pq.write_table(pa.table({"user_id": [1], "item_id": [3]}), tmp_path / "log.parquet")
    with pytest.raises(InputError, match=r"holds log.csv beside .*: name one file, or the pattern .*/\*\.parquet$"):
        files(tmp_path)
    (tmp_path / "log.csv").rename(tmp_path / "log.csv.gz")
    with pytest.raises(InputError, match=r"holds log.csv.gz beside"):
        files(tmp_path)
    assert len(files(tmp_path / "*.parquet")) == 1


def test_notes_of_the_program_that_wrote_a_folder_are_no_data(folder):
    rows = len(files(folder, duplicates="keep"))
    for name in ("_delta_log", ".cache"):
        (folder / name).mkdir()
        pq.write_table(pa.table({"user_id": [1], "item_id": ["p1"]}), folder / name / "0.checkpoint.parquet")
    assert len(files(folder, duplicates="keep")) == rows
    assert len(files(folder / "**" / "*.parquet", duplicates="keep")) == rows
    assert len(files(folder / "_*" / "*.parquet")) == 1


@pytest.mark.parametrize("name", ["", "b"])
def test_a_folder_without_permission_is_an_error(folder, name, monkeypatch):
    """Its files would be missing from the data, and nothing would say so."""
    scan = os.scandir

    def scandir(path):
        if Path(path) == folder / name:
            raise PermissionError(13, "Permission denied", str(path))
        return scan(path)

    monkeypatch.setattr(os, "scandir", scandir)
    with pytest.raises(InputError, match=f"{folder / name} cannot be read: Permission denied"):
        files(folder)


def test_a_folder_without_permission_that_a_pattern_lists_is_an_error(folder, monkeypatch):
    (folder / "_note").mkdir()
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path).name not in ("b", "_note"))
    for pattern in ("*/*.parquet", "**/*.parquet"):
        with pytest.raises(InputError, match=f"{folder / 'b'} cannot be read, which .* lists: permission denied"):
            files(folder / pattern)
    assert files(folder / "*.parquet").n_users  # it lists only the folder itself


def test_a_column_that_some_files_encode_by_a_dictionary_is_joined(log, folder):
    """As pandas writes categories; also with more of them in one file than an index of 8 bits has numbers for."""
    expected = files(folder, event_column="event")
    categories = pd.CategoricalDtype([*EVENTS, *map(str, range(300))])
    for rows, name, kind in ((slice(0, 100), "a.parquet", "category"), (slice(100, 150), "b/c.parquet", categories)):
        log.iloc[rows].astype({"item_id": "category", "event": kind}).to_parquet(folder / name, index=False)
    assert_same(files(folder, event_column="event"), expected)
