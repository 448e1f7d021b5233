import json
import os
import shutil
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from jaxrec.data.interactions import Interactions, encode
from jaxrec.data.properties import Changes, properties
from jaxrec.data.sources.prepared import prepared


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("JAXREC_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "prepared"


@pytest.fixture
def source(tmp_path):
    file = tmp_path / "source.txt"
    file.write_text("abc")
    return file


def full() -> Interactions:
    """Interactions with every field and every type of column that loaders produce."""
    frame = pd.DataFrame({"user_id": ["u", "v", "u"], "item_id": [3, 1, 1], "time": [5, 6, 7]})
    frame = frame.assign(value=np.float32(0.5), event=[0, 1, 1], target=[True, False, True], weight=1.0, part=[0, 1, 2])
    items = pd.DataFrame({"item_id": [1], "year": pd.array([1990], "Int64"), "genres": [["a", "b"]], "title": ["x"]})
    data = encode(frame, item_features=items, event_names=("buy", "view"), notes={"odd": np.int64(2)}, name="full")
    changes = {
        "category": Changes(np.array([1, 0]), np.array([5, 9]), pd.Categorical([7, 8])),
        "available": Changes(np.array([1]), np.array([2]), pd.array([True], "boolean")),
    }
    table = pd.DataFrame({"path": [[1, 7], [8]]}, index=pd.Index([7, 8], name="category"))
    return replace(data, properties=properties(2, changes, {"category": table}))


def bare() -> Interactions:
    return encode(pd.DataFrame({"user_id": [1, 2], "item_id": ["a", "b"]}), name="bare")


def assert_same_table(one: pd.DataFrame, other: pd.DataFrame) -> None:
    """Compare tables; missing text may be None in one and NaN in the other."""
    pd.testing.assert_frame_equal(*(table.where(table.notna(), None) for table in (one, other)))


def assert_same(one: Interactions, other: Interactions) -> None:
    for field in fields(Interactions):
        a, b = getattr(one, field.name), getattr(other, field.name)
        if isinstance(a, pd.DataFrame):
            assert_same_table(a, b)
        elif isinstance(a, np.ndarray):
            assert (a.dtype, a.tolist()) == (b.dtype, b.tolist())
        elif field.name == "properties" and a is not None:
            assert (a.n_items, a.item.tolist(), a.time.tolist()) == (b.n_items, b.item.tolist(), b.time.tolist())
            assert_same_table(a.values, b.values)
            assert_same_table(a.as_of(6), b.as_of(6))
            assert a.of["category"].equals(b.of["category"])
            assert b.of["category"].index.name == "category"
        else:
            assert a == b


@pytest.mark.parametrize("make", [full, bare])
def test_prepared_data_is_read_back(cache, source, make):
    calls = []

    def prepare(files, *, setting):
        calls.append((files["source"].read_text(), setting))
        return make()

    first = prepared(prepare, {"source": source}, {"setting": (1, 2)})
    assert_same(first, prepared(prepare, {"source": source}, {"setting": (1, 2)}))
    assert calls == [("abc", (1, 2))]
    assert len(list(cache.iterdir())) == 1  # no temporary files are left


def test_other_contents_settings_or_preparations_are_prepared_again(cache, source):
    def prepare(files, *, setting):
        return replace(bare(), name=f"{files['source'].read_text()} {setting}")

    def other(files, *, setting):
        return replace(bare(), name="other")

    assert prepared(prepare, {"source": source}, {"setting": 1}).name == "abc 1"
    assert prepared(prepare, {"source": source}, {"setting": 2}).name == "abc 2"
    assert prepared(other, {"source": source}, {"setting": 1}).name == "other"
    stat = source.stat()
    source.write_text("abd")
    os.utime(source, ns=(stat.st_atime_ns, stat.st_mtime_ns))  # same size and time
    assert prepared(prepare, {"source": source}, {"setting": 1}).name == "abd 1"
    moved = source.rename(source.with_name("moved.txt"))
    assert prepared(prepare, {"source": moved}, {"setting": 1}).name == "abd 1"
    assert len(list(cache.iterdir())) == 4


def test_changed_code_prepares_again(cache, source, tmp_path, monkeypatch):
    from jaxrec.data.sources import prepared as module

    calls = []

    def prepare(files):
        calls.append(1)
        return bare()

    monkeypatch.setattr(module, "DATA", tmp_path / "code")
    (tmp_path / "code").mkdir()
    for code in ("x = 1", "x = 2", "x = 1"):
        (tmp_path / "code" / "times.py").write_text(code)
        prepared(prepare, {"source": source}, {})
    assert len(calls) == 2


DAMAGE = {
    "a bit": lambda folder: (folder / "rows").write_bytes((folder / "rows").read_bytes()[:-9] + b"wrong one"),
    "another": lambda folder: (folder / "user_ids").write_bytes((folder / "item_ids").read_bytes()),
    "gone": lambda folder: (folder / "user_ids").unlink(),
    "about": lambda folder: (folder / "about.json").write_text('{"digests"'),
    "nothing": lambda folder: [file.unlink() for file in folder.iterdir()],
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_folder_is_replaced(cache, source, damage, capsys):
    calls = []

    def prepare(files):
        calls.append(1)
        return full()

    prepared(prepare, {"source": source}, {})
    (folder,) = cache.iterdir()
    DAMAGE[damage](folder)
    capsys.readouterr()
    assert_same(prepared(prepare, {"source": source}, {}), full())
    assert "is damaged" in capsys.readouterr().err
    assert_same(prepared(prepare, {"source": source}, {}), full())
    assert len(calls) == 2
    assert list(cache.iterdir()) == [folder]


def test_an_interrupted_write_leaves_no_partial_folder(cache, source, monkeypatch):
    from jaxrec.data.sources import prepared as module

    def prepare(files):
        return bare()

    def broken(*args, **kwargs):
        raise OSError("no space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(module.feather, "write_feather", broken)
        assert_same(prepared(prepare, {"source": source}, {}), bare())  # the data is returned but not stored
    assert list(cache.iterdir()) == []


def test_temporary_folders_of_killed_processes_are_removed_after_a_day(cache, source):
    for name in ("killed", "young"):
        (cache / f".preparing-{name}" / "new").mkdir(parents=True)
    os.utime(cache / ".preparing-killed", (0, 0))

    def prepare(files):
        return bare()

    prepared(prepare, {"source": source}, {})
    assert [path.name for path in cache.iterdir() if path.name.startswith(".")] == [".preparing-young"]


def test_data_that_a_table_cannot_hold_is_not_stored(cache, source, capsys):
    def prepare(files):
        return replace(bare(), item_features=pd.DataFrame({"odd": [1, "text"]}, dtype=object))

    assert prepared(prepare, {"source": source}, {}).item_features["odd"].tolist() == [1, "text"]
    assert "cannot be cached" in capsys.readouterr().err
    assert list(cache.iterdir()) == []


def test_a_process_that_finishes_second_raises_no_error(cache, source, monkeypatch, capsys):
    def rename(self, target, real=Path.rename):
        if self.name == "made":
            shutil.copytree(self, target)  # another process has just finished
        return real(self, target)

    monkeypatch.setattr(Path, "rename", rename)
    prepared(lambda files: bare(), {"source": source}, {})
    assert capsys.readouterr().err == ""
    assert len(list(cache.iterdir())) == 1


def test_two_processes_leave_one_folder(cache, source):
    together = threading.Barrier(2)

    def prepare(files):
        together.wait(timeout=30)
        return full()

    with ThreadPoolExecutor(2) as pool:
        for data in pool.map(lambda _: prepared(prepare, {"source": source}, {}), range(2)):
            assert_same(data, full())
    assert len(list(cache.iterdir())) == 1
    assert_same(prepared(prepare, {"source": source}, {}), full())


def test_a_cache_reads_only_its_own_folder(cache, source, capsys):
    """A table name with .. is not read, even if its digest is correct."""
    made = prepared(lambda files: bare(), {"a": source}, {})
    (folder,) = cache.iterdir()
    (folder / "rows").rename(cache / "rows")
    about = json.loads((folder / "about.json").read_text())
    about["digests"]["../rows"] = about["digests"].pop("rows")
    (folder / "about.json").write_text(json.dumps(about))
    assert_same(prepared(lambda files: bare(), {"a": source}, {}), made)
    assert "'../rows' is not the name of a table" in capsys.readouterr().err
