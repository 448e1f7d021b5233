"""Checkpoints: complete or absent, whatever happens while they are written; loading restores them or is an error."""

import errno
import hashlib
import mmap
import os
import signal
import subprocess
import sys
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
from safetensors import SafetensorError
from safetensors.numpy import load_file

from jaxrec import checkpoint
from jaxrec.atomic_files import read_json, write_json
from jaxrec.checkpoint import load, load_extra, load_params, save_params
from jaxrec.errors import InputError

PARAMS = {"users": {"table": np.arange(6, dtype=np.float32).reshape(2, 3)}, "bias": np.float32(0.5)}


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def assert_same(left, right):
    """Check equality to the bit, in dtype, shape and structure."""
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
    """Make a system call fail as on a full or read-only disk (the tests may run as root)."""

    def fail(*args, **kwargs):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, name, fail)


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGKILL")
def test_a_killed_process_leaves_the_old_checkpoint(tmp_path):
    save_params(tmp_path, PARAMS)
    killed = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path), "1"], check=False, timeout=120)
    assert killed.returncode == -signal.SIGKILL
    assert_same(load_params(tmp_path), PARAMS)


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGKILL")
def test_parameters_of_another_run_are_an_error(tmp_path):
    """Killed between the two files: an error of one line, not ids of one run with parameters of another."""
    save_params(tmp_path, PARAMS, extra={"ids": np.arange(3)})
    killed = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path), "2"], check=False, timeout=120)
    assert killed.returncode == -signal.SIGKILL
    with pytest.raises(
        InputError, match=r"params\.safetensors is damaged or belongs to another run than .*model\.json"
    ):
        load(tmp_path)


KILLED = """
import os, signal, sys
from pathlib import Path
import numpy as np
from jaxrec.checkpoint import save_params
replace, calls = os.replace, []
def killed(*paths):
    calls.append(paths)
    return os.kill(os.getpid(), signal.SIGKILL) if len(calls) == int(sys.argv[2]) else replace(*paths)
os.replace = killed
save_params(Path(sys.argv[1]), {"other": np.zeros(9)})
"""


def test_a_disk_that_refuses_a_folder_or_a_checkpoint(tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        refuse(patch, "mkdir", errno.EROFS)
        with pytest.raises(InputError, match="read-only"):
            save_params(tmp_path / "run", PARAMS)
    with monkeypatch.context() as patch:
        full = SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")
        patch.setattr(checkpoint, "save_file", lambda *_: (_ for _ in ()).throw(full))
        with pytest.raises(InputError, match="disk is full"):
            save_params(tmp_path, PARAMS)
    assert names(tmp_path) == []


@pytest.mark.parametrize(
    "dtype",
    ["bool", "int8", "int32", "int64", "uint16", "float16", "float32", "float64", "complex64", "bfloat16",
     "float8_e4m3fn", "int4"],
)  # fmt: skip
@pytest.mark.parametrize("shape", [(), (0,), (4, 3)])
def test_parameters_of_every_dtype_are_restored(tmp_path, dtype, shape):
    leaf = np.arange(np.prod(shape), dtype=np.int8).reshape(shape).astype(jnp.dtype(dtype))
    params = {"layer_0": {"kernel": leaf, "transposed": leaf.T}}
    save_params(tmp_path, params)
    loaded = load_params(tmp_path)
    assert_same(loaded, params)
    assert type(loaded["layer_0"]["kernel"]) is np.ndarray


def test_jax_parameters_are_restored_with_their_structure(tmp_path):
    params = {
        "deep": {"er": {"est": jnp.full(2, 1.5, jnp.bfloat16)}, "nothing": {}},
        "file": jnp.arange(3),
        "scalar": np.float64(np.nan),
    }
    save_params(tmp_path, params)
    assert_same(load_params(tmp_path), params)
    save_params(tmp_path, {})
    assert load_params(tmp_path) == {}
    assert names(tmp_path) == ["model.json", "params.safetensors"]


def test_extras_are_restored_separately_from_parameters(tmp_path):
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


@pytest.mark.parametrize("params", [{"a/b": 0}, {"": 0}, {"@meta": 0}, {"a": {3: 0}}, {"a": {"": {}}}])
def test_keys_that_would_not_be_restored_are_refused(tmp_path, params):
    with pytest.raises(ValueError, match="a key must be"):
        save_params(tmp_path, params)
    assert names(tmp_path) == []


def test_safetensors_reads_it_and_the_bytes_are_the_same_each_time(tmp_path):
    save_params(tmp_path, PARAMS)
    first = (tmp_path / "params.safetensors").read_bytes()
    arrays = load_file(tmp_path / "params.safetensors")
    assert_same(arrays, {"users/table": PARAMS["users"]["table"], "bias": np.asarray(PARAMS["bias"])})
    save_params(tmp_path, PARAMS)
    assert (tmp_path / "params.safetensors").read_bytes() == first


def test_both_files_have_the_permissions_of_new_files(tmp_path):
    (tmp_path / "new").touch()
    save_params(tmp_path, PARAMS)
    assert {path.stat().st_mode for path in tmp_path.iterdir()} == {(tmp_path / "new").stat().st_mode}


def test_parameters_are_views_of_the_file(tmp_path):
    """Parameters are not copied in memory; extras are."""
    save_params(tmp_path, PARAMS, extra={"ids": np.arange(3)})
    params, extra = load(tmp_path)
    assert not params["users"]["table"].flags.writeable
    assert isinstance(memory_of(params["users"]["table"]), mmap.mmap)
    assert extra["ids"].flags.owndata


def memory_of(array):
    while isinstance(array, np.ndarray):
        array = array.base
    return array


def test_temporary_files_of_safetensors_are_removed(tmp_path):
    """`save_file` writes its own temporary files, as large as the model; a recent one may be in use."""
    for name in (".tmpDiUjHG", ".tmpAbCdEf"):
        (tmp_path / name).touch()
    os.utime(tmp_path / ".tmpDiUjHG", (0, 0))
    save_params(tmp_path, {"w": np.ones(2)})
    assert {path.name for path in tmp_path.iterdir()} == {".tmpAbCdEf", "model.json", "params.safetensors"}


@pytest.mark.parametrize("load", [load_params, load_extra])
def test_missing_checkpoint_is_named(tmp_path, load):
    for folder in (tmp_path, tmp_path / "absent"):
        with pytest.raises(InputError, match="There is no file") as caught:
            load(folder)
        assert str(folder / "model.json") in str(caught.value)
    save_params(tmp_path, PARAMS)
    (tmp_path / "params.safetensors").unlink()
    with pytest.raises(InputError, match=r"There is no file .*params\.safetensors"):
        load(tmp_path)


def test_the_error_for_a_later_format_says_to_update_jaxrec(tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoint, "FORMAT", 3)
    save_params(tmp_path, PARAMS)
    monkeypatch.undo()
    with pytest.raises(InputError, match=r"model\.json has format 3, .* supports up to 2: update jaxrec$"):
        load_params(tmp_path)


@pytest.mark.parametrize("name", ["model.json", "params.safetensors"])
def test_truncated_anywhere_is_an_error(tmp_path, name):
    save_params(tmp_path, PARAMS, extra={"ids": np.array(["a", "b"], object)})
    path = tmp_path / name
    whole = path.read_bytes().rstrip()
    for length in range(0, len(whole), 7):
        path.write_bytes(whole[:length])
        with pytest.raises(InputError, match=rf"{name} is damaged") as caught:
            load_params(tmp_path)
        assert "\n" not in str(caught.value)


def test_damaged_arrays_are_an_error_wherever_it_is(tmp_path):
    """Bytes flipped one by one: never another exception, never different numbers."""
    save_params(tmp_path, PARAMS, extra={"ids": np.arange(3)})
    path = tmp_path / "params.safetensors"
    whole = path.read_bytes()
    for position in range(0, len(whole), 3):
        path.write_bytes(whole[:position] + bytes([whole[position] ^ 0xFF]) + whole[position + 1 :])
        with pytest.raises(InputError, match=r"params\.safetensors is damaged"):
            load(tmp_path)


def test_a_damaged_description_is_an_error_wherever_it_is(tmp_path):
    save_params(tmp_path, PARAMS, extra={"arguments": {"length": 50}, "ids": np.array(["a"], object)})
    path = tmp_path / "model.json"
    whole = path.read_bytes()
    for position in range(len(whole) - 1):  # the last byte is a line break
        if not bytes([whole[position]]).isspace():
            path.write_bytes(whole[:position] + bytes([whole[position] ^ 1]) + whole[position + 1 :])
            try:
                loaded = load(tmp_path)
            except InputError:
                continue
            assert b'"json"' not in path.read_bytes()  # only if the digest is not found
            assert (loaded[1]["arguments"], loaded[1]["ids"].tolist()) == ({"length": 50}, ["a"])


def test_stored_strings_take_the_memory_of_their_text(tmp_path):
    """A dtype of 10**9 characters would take 4 GB for each string."""
    save_params(tmp_path, PARAMS, extra={"ids": np.array(["a", "bc"])})
    about = read_json(tmp_path / "model.json")
    del about["arrays"]["json"]
    about["arrays"]["strings"]["@ids"]["dtype"] = "<U500000000"
    write_json(tmp_path / "model.json", about)
    with pytest.raises(InputError, match=r"params\.safetensors is damaged.*strings have the dtype <U500000000"):
        load(tmp_path)


def test_a_stored_header_that_lies_is_an_error(tmp_path):
    """The digest matches, the arrays do not: offsets beyond the file, an unknown type, fewer bytes than the shape."""
    save_params(tmp_path, {"a": np.arange(4, dtype=np.float32)})
    path, about = tmp_path / "params.safetensors", read_json(tmp_path / "model.json")
    whole = path.read_bytes()
    for old, new in ((b"[0,16]", b"[0,64]"), (b'"F32"', b'"F99"'), (b"[4]", b"[9]"), (b"[0,16]", b"[9,16]")):
        assert old in whole
        path.write_bytes(whole.replace(old, new))
        about["arrays"]["sha256"] = hashlib.sha256(path.read_bytes()).hexdigest()
        about["arrays"].pop("json", None)
        write_json(tmp_path / "model.json", about)
        with pytest.raises(InputError, match=r"params\.safetensors is damaged") as caught:
            load(tmp_path)
        assert "\n" not in str(caught.value)


def test_a_run_of_0_1_0_is_replaced_by_one_in_the_current_format(tmp_path):
    (tmp_path / "params.npz").touch()
    save_params(tmp_path, PARAMS)
    assert names(tmp_path) == ["model.json", "params.safetensors"]
    assert_same(load_params(tmp_path), PARAMS)


def test_a_model_described_as_in_0_1_0_is_stored_by_its_public_name(tmp_path):
    module = {"_target_": "jaxrec.models.mf.MatrixFactorisation", "embedding_dim": 4}
    save_params(tmp_path, {"params": {"x": np.zeros(1, np.float32)}}, extra={"module": module, "ages": None})
    extra = load_extra(tmp_path)
    assert (extra["model"], extra["arguments"], extra["ages"]) == ("mf", {"embedding_dim": 4}, None)
    foreign = {"module": {"_target_": "os.system", "command": "true"}}
    save_params(tmp_path, {"params": {"x": np.zeros(1, np.float32)}}, extra=foreign)
    assert load_extra(tmp_path)["model"] == "os.system"  # which `load` refuses


def test_the_reader_of_own_files_is_where_programs_of_0_1_0_import_it():
    from jaxrec.data import files
    from jaxrec.data.sources.files import files as reader

    assert files.files is reader


def test_saving_removes_the_temporary_files_of_a_killed_process(tmp_path):
    stale = tmp_path / ".tmp-0123abcd-params.safetensors"
    stale.touch()
    os.utime(stale, (0, 0))
    checkpoint.save_params(tmp_path, {"w": np.zeros(2)})
    assert {path.name for path in tmp_path.iterdir()} == {"model.json", "params.safetensors"}
