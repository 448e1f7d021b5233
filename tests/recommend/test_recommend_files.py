"""Recommendation lists in files and on the terminal: selection of users, output, and errors."""

import subprocess
import sys

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from jaxrec import recommend
from jaxrec.checkpoint import save_params
from jaxrec.errors import InputError
from jaxrec.recommend import files
from tests.paths import ROOT
from tests.slow import some_slow


@pytest.fixture
def run(planted_run):
    """A run of EASE on planted data with clusters as item features."""
    return str(planted_run("model=ease"))


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_all_users_to_a_file(run, tmp_path, suffix, monkeypatch):
    monkeypatch.setattr(files, "USERS_AT_A_TIME", 128)  # three blocks
    out = tmp_path / "new" / f"lists.{suffix}"
    assert files.recommend(run, users="all", k=4, out=str(out)) == (1200, None)
    written = pd.read_csv(out) if suffix == "csv" else pd.read_parquet(out)
    model = recommend.load(run)
    expected = model.recommend(model.user_ids, k=4)
    assert list(written) == ["user_id", "item_id", "score", "rank", "categories"]
    pd.testing.assert_frame_equal(written[list(expected)], expected, check_dtype=False, rtol=1e-5)
    clusters = model.categories.codes[model.positions_of_items(written.item_id)]
    assert written.categories.astype(int).tolist() == model.categories.names.astype(int)[clusters].tolist()
    assert [path.name for path in out.parent.iterdir()] == [out.name]


def test_some_users_by_name_or_by_file(run, tmp_path):
    model = recommend.load(run)
    ids = model.user_ids[[5, 2]].tolist()
    rows, table = files.recommend(run, users=tuple(ids), k=3)
    assert (rows, table.user_id.tolist()) == (6, [ids[0]] * 3 + [ids[1]] * 3)
    as_text = files.recommend(run, users=tuple(map(str, ids)), k=3)[1]
    pd.testing.assert_frame_equal(as_text, table)
    pd.DataFrame({"who": [ids[0], ids[0], ids[1]], "x": 1}).to_csv(tmp_path / "users.tsv", sep="\t", index=False)
    by_file = files.recommend(run, users=str(tmp_path / "users.tsv"), k=3, user_column="who")[1]
    pd.testing.assert_frame_equal(by_file, table)


def test_histories_of_new_users(run, tmp_path):
    """Rows of a user need not be adjacent; their order is that of the history."""
    model = recommend.load(run)
    items = model.item_ids[[3, 8, 9]].tolist()
    by_hand = files.recommend(run, history=(items[0], items[2]), k=3)[1]
    assert by_hand.history.tolist() == [0, 0, 0]
    rows = pd.DataFrame({"user_id": ["new", "other", "new"], "item_id": [items[0], items[1], items[2]]})
    rows.to_parquet(tmp_path / "histories.parquet")
    by_file = files.recommend(run, histories=str(tmp_path / "histories.parquet"), k=3)[1]
    assert by_file.user_id.tolist() == ["new"] * 3 + ["other"] * 3
    assert by_file.item_id[:3].tolist() == by_hand.item_id.tolist()
    alone = model.recommend_histories([[items[1]]], k=3)
    assert by_file.item_id[3:].tolist() == alone.item_id.tolist()


@pytest.mark.slow
def test_ids_written_by_pandas_match_those_of_the_run(run, tmp_path):
    """Ids in columns with missing values, and floats on the command line, match the integer ids."""
    model = recommend.load(run)
    user, item = int(model.user_ids[5]), int(model.item_ids[3])
    expected = files.recommend(run, users=(user,), k=3)[1]
    (tmp_path / "users.csv").write_text(f"user_id\n{user}.0\n")
    for users in (str(tmp_path / "users.csv"), (float(user),), (f"{user}.0",)):
        pd.testing.assert_frame_equal(files.recommend(run, users=users, k=3)[1], expected)
    pd.DataFrame({"user_id": [9.0], "item_id": [float(item)]}).to_parquet(tmp_path / "h.parquet")
    found = files.recommend(run, histories=str(tmp_path / "h.parquet"), k=3)[1]
    by_hand = files.recommend(run, history=(item,), k=3)[1]
    assert (found.user_id.tolist(), found.item_id.tolist()) == ([9, 9, 9], by_hand.item_id.tolist())
    for users, message in (
        ((1.5,), "1.5: ids are text or integers"),
        ((2.0**53,), "floats of .* or more are not exact"),
    ):
        with pytest.raises(InputError, match=message):
            files.recommend(run, users=users)


def test_a_long_table_is_truncated_on_the_terminal(run, monkeypatch):
    monkeypatch.setattr(files, "SHOWN", 7)
    rows, table = files.recommend(run, users="all", k=2)
    assert (rows, len(table)) == (600, 7)


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        (
            {"users": (10**9,)},
            r"user 1000000000 is not in this run's data \(1 of 1 are missing\); unknown=popularity lists",
        ),
        ({"users": "all", "k": 121}, "k=121: must be from 1 to 120"),
        ({"users": "all", "k": 0}, "k=0: must be from 1"),
        ({"users": ()}, r"users=\[\] is empty"),
        ({}, "no users given: set exactly one"),
        ({"users": "all", "history": (1,)}, "users and history given"),
        ({"history": ("nothing",)}, "item 'nothing' is not in this run's data .*; unknown=popularity ignores them$"),
        ({"users": "no.csv"}, r"there is no file no.csv: check users=FILE, or list ids, 'users=\[no.csv\]'$"),
        ({"histories": "no.csv"}, "there is no file no.csv: check histories=FILE$"),
        ({"users": "all", "out": "lists.txt"}, "the suffix must be"),
        ({"users": "all", "out": "/dev/null/lists.csv"}, "Cannot write lists.csv in /dev/null: part of that path"),
        ({"users": "all", "run": "nowhere"}, "There is no file nowhere/model/model.json"),
    ],
)
def test_invalid_settings_are_refused(run, request_, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=message):
        files.recommend(**{"run": run, "out": "lists.csv", **request_})
    assert not list(tmp_path.iterdir())


def test_files_without_ids_are_refused(run, tmp_path):
    path = tmp_path / "users.csv"
    path.write_text("user_id,x\n1,1\n,2\n")
    with pytest.raises(InputError, match=r"users\.csv has 1 rows without 'user_id' \(user_column\)"):
        files.recommend(run, users=str(path))
    with pytest.raises(InputError, match=r"users\.csv has no column 'who'; .* set user_column to one of them"):
        files.recommend(run, users=str(path), user_column="who")
    path.write_text("user_id;x\n1;2\n")  # this command has no setting for the delimiter
    with pytest.raises(InputError, match=r"users\.csv has no column 'user_id'; its separator is ';': save it as .csv"):
        files.recommend(run, users=str(path))


def test_one_user_needs_no_list(run):
    pd.testing.assert_frame_equal(files.recommend(run, users=7, k=3)[1], files.recommend(run, users=(7,), k=3)[1])


@pytest.mark.slow
def test_errors_of_the_script_are_one_line(run, tmp_path):
    def script(*arguments: str) -> subprocess.CompletedProcess:
        command = [sys.executable, str(ROOT / "scripts" / "recommend.py"), f"run={run}", *arguments]
        return subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False)

    user = recommend.load(run).user_ids[0]
    done = script(f"users=[{user}]", "k=2", "out=lists.csv")
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "lists.csv: 2 rows"
    failed = script("users=[1.5]")
    assert failed.returncode == 2
    assert failed.stderr.startswith("error: users: the list has the id 1.5")
    assert "Traceback" not in failed.stderr


def tiny(directory, users: list, items: list, known: list[list[int]]) -> str:
    """A run of EASE that recommends the successor of each item of the history."""
    none = dict.fromkeys(f"known_{name}" for name in ("event", "gap", "value", "target"))
    extra = {
        "model": "ease",
        "arguments": {"n_items": len(items), "history_length": 4},
        "user_ids": np.array(users, object if isinstance(users[0], str) else None),
        "item_ids": np.array(items, object if isinstance(items[0], str) else None),
        "known_offsets": np.concatenate([[0], np.cumsum([len(each) for each in known])]),
        "known_items": np.concatenate(known).astype(np.int32),
        **none,
    }
    weights = np.eye(len(items), k=1, dtype=np.float32)
    save_params(directory / "model", {"params": {"weights": weights}}, extra=extra)
    return str(directory)


@pytest.mark.parametrize("suffix", some_slow(["csv", "parquet"], "parquet"))
def test_text_and_numbers_among_the_ids(tmp_path, suffix):
    """7 is known, "zz" is not: both are written as text; numbers only are written as numbers."""
    run = tiny(tmp_path / "run", [7, 8], list(range(4)), [[0], [1, 2]])
    read = {"csv": pd.read_csv, "parquet": pd.read_parquet}[suffix]
    out = tmp_path / f"lists.{suffix}"
    assert files.recommend(run, users=(7, "zz"), unknown="popularity", k=2, out=str(out))[0] == 4
    written = read(out)
    assert written.user_id.tolist() == ["7", "7", "zz", "zz"]
    assert written.item_id.tolist() == [1, 2, 0, 1]
    assert written.source.tolist() == ["model"] * 2 + ["popularity"] * 2
    files.recommend(run, users=(7, 99), unknown="popularity", k=2, out=str(out))
    assert read(out).user_id.tolist() == [7, 7, 99, 99]


@pytest.mark.slow
def test_the_schema_does_not_depend_on_blocks(tmp_path, monkeypatch):
    """Blocks of one user; the first has all items, so that its list is empty."""
    monkeypatch.setattr(files, "USERS_AT_A_TIME", 1)
    run = tiny(tmp_path / "run", ["full", "a"], list("wxyz"), [[0, 1, 2, 3], [1]])
    out = tmp_path / "lists.parquet"
    expected = {"user_id": "string", "item_id": "string", "score": "float", "rank": "int64"}
    for users, rows in ((("full", "a"), 2), (("full",), 0)):
        assert files.recommend(run, users=users, k=2, out=str(out))[0] == rows
        schema = pq.read_schema(out)
        assert dict(zip(schema.names, map(str, schema.types), strict=True)) == expected
    assert files.recommend(run, users=("full", "a"), k=2, out=str(tmp_path / "lists.csv"))[0] == 2
    assert pd.read_csv(tmp_path / "lists.csv").user_id.tolist() == ["a", "a"]


def test_histories_of_a_file_are_sorted_by_its_times(tmp_path):
    """Rows of equal times keep their order, as in training; without a time for each row, all do."""
    path = tmp_path / "histories.csv"
    path.write_text("user_id,item_id,t,e\nb,1,9,x\na,2,7,y\nb,3,5,z\nb,4,9,w\na,5,7,v\n")
    names, items, known = files._lists(str(path), "user_id", "item_id", {"times": "t", "event_types": "e"})
    assert names.tolist() == ["b", "a"]
    assert [part.tolist() for part in items] == [[3, 1, 4], [2, 5]]
    assert known == {"times": [["5", "9", "9"], ["7", "7"]], "event_types": [["z", "x", "w"], ["y", "v"]]}
    path.write_text("user_id,item_id,t\na,1,9\na,2,\na,3,10\n")
    assert files._lists(str(path), "user_id", "item_id", {"times": "t"})[1][0].tolist() == [1, 2, 3]
