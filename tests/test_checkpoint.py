"""Files are whole or absent whatever happens while they are written, and what loads is what was saved or an error."""

import errno
import io
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest

from jaxrec import checkpoint
from jaxrec.checkpoint import (
    load_extra,
    load_params,
    read_json,
    save_params,
    write_atomic,
    write_json,
    write_text,
)
from jaxrec.errors import InputError

PARAMS = {"users": {"table": np.arange(6, dtype=np.float32).reshape(2, 3)}, "bias": np.float32(0.5)}


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def assert_same(left, right):
    """Equal to the last bit, in dtype, shape and structure."""
    assert isinstance(left, dict) == isinstance(right, dict)
    if isinstance(left, dict):
        assert left.keys() == right.keys()
        for key in left:
            assert_same(left[key], right[key])
    else:
        left, right = np.asarray(left), np.asarray(right)
        assert (left.dtype, left.shape) == (right.dtype, right.shape)
        assert left.tobytes() == right.tobytes()


def refuse(monkeypatch, name: str, code: int):
    """Makes a call of the operating system fail as a full or read-only disk does (the tests may run as root)."""

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


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGKILL")
def test_killed_process_leaves_the_old_checkpoint(tmp_path):
    save_params(tmp_path, PARAMS)
    program = """
import os, signal, sys
from pathlib import Path
import numpy as np
from jaxrec.checkpoint import save_params
replace = os.replace
os.replace = lambda *paths: os.kill(os.getpid(), signal.SIGKILL)
save_params(Path(sys.argv[1]), {"other": np.zeros(9)})
"""
    killed = subprocess.run([sys.executable, "-c", program, str(tmp_path)], check=False, timeout=120)
    assert killed.returncode == -signal.SIGKILL
    assert_same(load_params(tmp_path), PARAMS)


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
def test_disk_that_refuses(tmp_path, monkeypatch, call, code, advice):
    write_text(tmp_path / "file.txt", "old")
    with monkeypatch.context() as patch:
        refuse(patch, call, code)
        with pytest.raises(InputError, match=advice) as caught:
            write_text(tmp_path / "file.txt", "new")
    assert str(tmp_path) in str(caught.value)
    assert "file.txt" in str(caught.value)
    assert (tmp_path / "file.txt").read_text() == "old"
    assert names(tmp_path) == ["file.txt"]


def test_disk_that_refuses_a_folder_or_a_checkpoint(tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        refuse(patch, "mkdir", errno.EROFS)
        with pytest.raises(InputError, match="read-only"):
            save_params(tmp_path / "run", PARAMS)
    with monkeypatch.context() as patch:
        patch.setattr(
            np.lib.format, "write_array", lambda *_, **__: (_ for _ in ()).throw(OSError(errno.ENOSPC, "full"))
        )
        with pytest.raises(InputError, match="disk is full"):
            save_params(tmp_path, PARAMS)
    assert names(tmp_path) == []


def test_file_in_the_way_of_a_folder_and_folder_in_the_way_of_a_file(tmp_path):
    (tmp_path / "file").touch()
    for folder in (tmp_path / "file", tmp_path / "file" / "deeper"):
        with pytest.raises(InputError, match="part of that path is a file"):
            write_text(folder / "x.txt", "")
    (tmp_path / "folder").mkdir()
    with pytest.raises(InputError, match="folder of that name is in the way"):
        write_text(tmp_path / "folder", "")
    assert names(tmp_path) == ["file", "folder"]


def test_folder_that_cannot_be_synced_does_no_harm(tmp_path, monkeypatch):
    refuse(monkeypatch, "open", errno.EINVAL)
    write_text(tmp_path / "file.txt", "new")
    assert (tmp_path / "file.txt").read_text() == "new"


@pytest.mark.parametrize(
    "dtype",
    ["bool", "int8", "int32", "int64", "uint16", "float16", "float32", "float64", "complex64", "bfloat16",
     "float8_e4m3fn", "int4"],
)  # fmt: skip
@pytest.mark.parametrize("shape", [(), (0,), (4, 3)])
def test_parameters_come_back_in_every_dtype(tmp_path, dtype, shape):
    leaf = np.arange(np.prod(shape), dtype=np.int8).reshape(shape).astype(jnp.dtype(dtype))
    params = {"layer_0": {"kernel": leaf, "transposed": leaf.T}}
    save_params(tmp_path, params)
    loaded = load_params(tmp_path)
    assert_same(loaded, params)
    assert type(loaded["layer_0"]["kernel"]) is np.ndarray


def test_parameters_come_back_from_jax_and_in_structure(tmp_path):
    params = {
        "deep": {"er": {"est": jnp.full(2, 1.5, jnp.bfloat16)}, "nothing": {}},
        "file": jnp.arange(3),
        "scalar": np.float64(np.nan),
    }
    save_params(tmp_path, params)
    assert_same(load_params(tmp_path), params)
    save_params(tmp_path, {})
    assert load_params(tmp_path) == {}
    assert names(tmp_path) == ["params.npz"]


def test_extras_come_back_and_stay_apart_from_parameters(tmp_path):
    strings = np.array(["u1", "ż\x00", "", "\ud800", "a" * 50], object)
    extra = {
        "ids": np.array([2**62, -1]),
        "user ids": strings,
        "grid": np.array([["a"], ["b"]], object),
        "no ids": np.array([], object),
        "fixed": np.array(["a", "bc"]),
        "table": jnp.ones(2, jnp.bfloat16),
        "users": {"name": "x", "sizes": [1, 2], "none": None},
    }
    save_params(tmp_path, PARAMS, extra=extra)
    assert_same(load_params(tmp_path), PARAMS)
    loaded = load_extra(tmp_path)
    assert loaded.keys() == extra.keys()
    assert loaded["users"] == extra["users"]
    for name in ("ids", "fixed", "table"):
        assert_same(loaded[name], extra[name])
    for name in ("user ids", "grid", "no ids"):
        assert (loaded[name].dtype, loaded[name].tolist()) == (np.dtype(object), extra[name].tolist())
    save_params(tmp_path, PARAMS)
    assert load_extra(tmp_path) == {}


def test_nothing_is_pickled(tmp_path):
    for params in ({"a": np.array([None])}, {"a": np.array(["x", 1], object)}, {"a": [np.zeros(2)]}, {"a": None}):
        with pytest.raises(TypeError, match=r"^a:"):
            save_params(tmp_path, params)
    pickled = io.BytesIO()
    np.savez(pickled, a=np.array([None]), **{"@meta": np.frombuffer(json.dumps(
        {"format": 1, "dtypes": {}, "strings": {}, "empty": [], "json": {}}).encode(), np.uint8)})  # fmt: skip
    (tmp_path / "params.npz").write_bytes(pickled.getvalue())
    with pytest.raises(InputError, match="Object arrays cannot be loaded"):
        load_params(tmp_path)


@pytest.mark.parametrize("params", [{"a/b": 0}, {"": 0}, {"@meta": 0}, {"a": {3: 0}}, {"a": {"": {}}}])
def test_keys_that_would_not_come_back_are_refused(tmp_path, params):
    with pytest.raises(ValueError, match="a key must be"):
        save_params(tmp_path, params)
    assert names(tmp_path) == []


def test_numpy_reads_it_and_the_bytes_are_the_same_each_time(tmp_path):
    save_params(tmp_path, PARAMS)
    first = (tmp_path / "params.npz").read_bytes()
    with np.load(tmp_path / "params.npz", allow_pickle=False) as archive:
        assert_same(archive["users/table"], PARAMS["users"]["table"])
    save_params(tmp_path, PARAMS)
    assert (tmp_path / "params.npz").read_bytes() == first


@pytest.mark.parametrize("load", [load_params, load_extra])
def test_missing_checkpoint_is_named(tmp_path, load):
    for folder in (tmp_path, tmp_path / "absent"):
        with pytest.raises(InputError, match="There is no file") as caught:
            load(folder)
        assert str(folder / "params.npz") in str(caught.value)


def test_other_formats_are_named(tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoint, "FORMAT", 2)
    save_params(tmp_path, PARAMS)
    monkeypatch.undo()
    with pytest.raises(InputError, match=r"params\.npz .*format 2"):
        load_params(tmp_path)


def test_truncated_anywhere_is_an_error(tmp_path):
    save_params(tmp_path, PARAMS, extra={"ids": np.array(["a", "b"], object)})
    path = tmp_path / "params.npz"
    whole = path.read_bytes()
    for length in range(0, len(whole), 7):
        path.write_bytes(whole[:length])
        with pytest.raises(InputError, match=r"params\.npz is damaged"):
            load_params(tmp_path)


def test_damage_anywhere_is_an_error_or_harmless(tmp_path):
    """Bytes flipped in turn: never another exception, never other numbers (dates may change without harm)."""
    save_params(tmp_path, PARAMS, extra={"ids": np.arange(3)})
    path = tmp_path / "params.npz"
    whole = path.read_bytes()
    caught = 0
    for position in range(0, len(whole), 3):
        path.write_bytes(whole[:position] + bytes([whole[position] ^ 0xFF]) + whole[position + 1 :])
        try:
            params, extra = load_params(tmp_path), load_extra(tmp_path)
        except InputError as error:
            assert str(path) in str(error)  # noqa: PT017
            caught += 1
        else:
            assert_same(params, PARAMS)
            assert_same(extra, {"ids": np.arange(3)})
    assert caught > len(whole) / 6
