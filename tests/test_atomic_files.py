"""Atomic writes: files are complete or absent, whatever happens while they are written."""

import errno
import os
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest

from jaxrec.atomic_files import read_json, remove_mark, write_atomic, write_json, write_text
from jaxrec.errors import InputError


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def refuse(monkeypatch, name: str, code: int):
    """Make a system call fail as on a full or read-only disk (the tests may run as root)."""

    def fail(*args, **kwargs):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, name, fail)


def test_text_and_folders(tmp_path):
    path = tmp_path / "new" / "folder" / "report.html"
    write_text(path, "żółw\r\n")
    write_text(path, "ok\n")
    assert path.read_bytes() == b"ok\n"
    write_text(path, "żółw\r\n")
    assert path.read_bytes() == "żółw\r\n".encode()
    assert names(path.parent) == ["report.html"]


def test_json_keeps_order_and_turns_nan_into_null(tmp_path):
    value = {
        "test": {"ndcg@10": np.float32(0.5), "map@10": float("nan"), "n": np.int64(3)},
        "a": (1, -np.inf),
        "table": jnp.array([1.0, jnp.nan]),
        "on": True,
        "none": None,
    }
    write_json(tmp_path / "metrics.json", value)
    loaded = read_json(tmp_path / "metrics.json")
    assert loaded == {
        "test": {"ndcg@10": 0.5, "map@10": None, "n": 3},
        "a": [1, None],
        "table": [1.0, None],
        "on": True,
        "none": None,
    }
    assert list(loaded) == list(value)
    assert list(loaded["test"]) == list(value["test"])


def test_json_that_cannot_be_read_is_named(tmp_path):
    with pytest.raises(InputError, match=r"There is no file .*absent\.json"):
        read_json(tmp_path / "absent.json")
    (tmp_path / "cut.json").write_text('{"a": ')
    with pytest.raises(InputError, match=r"cut\.json is damaged"):
        read_json(tmp_path / "cut.json")


def test_temporary_keeps_the_suffixes(tmp_path):
    seen = []

    def write(path: Path) -> None:
        seen.append(path)
        path.touch()

    write_atomic(tmp_path / "split.csv.gz", write)
    assert seen[0].suffixes == [".csv", ".gz"]
    assert seen[0].parent == tmp_path
    assert names(tmp_path) == ["split.csv.gz"]


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_interrupted_writing_leaves_the_old_file(tmp_path, error):
    path = tmp_path / "file.txt"
    write_text(path, "old")

    def write(temporary: Path) -> None:
        temporary.write_text("half of the n")
        raise error

    with pytest.raises(error):
        write_atomic(path, write)
    assert path.read_text() == "old"
    assert names(tmp_path) == ["file.txt"]


@pytest.mark.parametrize("call", ["replace", "fsync"])
@pytest.mark.parametrize(
    ("code", "advice"),
    [
        (errno.ENOSPC, "disk is full; free some space"),
        (errno.EROFS, "file system is read-only; choose another folder"),
        (errno.EACCES, "no permission to write there"),
        (errno.EIO, "Input/output error; choose another folder"),
    ],
)
def test_a_disk_that_refuses_to_write(tmp_path, monkeypatch, call, code, advice):
    write_text(tmp_path / "file.txt", "old")
    with monkeypatch.context() as patch:
        refuse(patch, call, code)
        with pytest.raises(InputError, match=advice) as caught:
            write_text(tmp_path / "file.txt", "new")
    assert str(tmp_path) in str(caught.value)
    assert "file.txt" in str(caught.value)
    assert (tmp_path / "file.txt").read_text() == "old"
    assert names(tmp_path) == ["file.txt"]


def test_file_in_the_way_of_a_folder_and_folder_in_the_way_of_a_file(tmp_path):
    (tmp_path / "file").touch()
    for folder in (tmp_path / "file", tmp_path / "file" / "deeper"):
        with pytest.raises(InputError, match="part of that path is a file"):
            write_text(folder / "x.txt", "")
    (tmp_path / "folder").mkdir()
    with pytest.raises(InputError, match="folder of that name exists"):
        write_text(tmp_path / "folder", "")
    assert names(tmp_path) == ["file", "folder"]


def test_folder_that_cannot_be_synced_does_no_harm(tmp_path, monkeypatch):
    refuse(monkeypatch, "open", errno.EINVAL)
    write_text(tmp_path / "file.txt", "new")
    assert (tmp_path / "file.txt").read_text() == "new"


@pytest.mark.parametrize("name", ["history.csv", "[1]*.csv"])
def test_writing_removes_temporary_files_of_killed_processes(name, tmp_path):
    """Files with other names are not ours, and recent ones may still be written."""
    killed, young, others = f".tmp-0123abcd-{name}", f".tmp-89abcdef-{name}", [".tmp-0123abcd-1x.csv", ".tmp-x"]
    for each in (killed, young, *others):
        (tmp_path / each).touch()
    for each in (killed, *others):
        os.utime(tmp_path / each, (0, 0))
    write_text(tmp_path / name, "")
    assert names(tmp_path) == sorted([young, *others, name])


def test_a_mark_that_cannot_be_removed_is_named(tmp_path, monkeypatch):
    remove_mark(tmp_path / "absent.json")
    (tmp_path / "about.json").touch()
    with monkeypatch.context() as patch:
        refuse(patch, "unlink", errno.EACCES)
        with pytest.raises(InputError, match=r"Cannot write about\.json in .*: no permission to write there"):
            remove_mark(tmp_path / "about.json")
    remove_mark(tmp_path / "about.json")
    assert names(tmp_path) == []
