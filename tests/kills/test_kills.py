"""The kill campaign finds partial files and mixed outputs, in small programs."""

import random
import sys
import tempfile
from pathlib import Path

import pytest

from tests.kills import __main__ as command
from tests.kills.campaign import Campaign, DifferenceError
from tests.kills.kinds import Kind
from tests.kills.outputs import TEMPORARY, broken, digests

pytestmark = pytest.mark.filterwarnings("ignore")  # processes that use JAX should not fork; these do not use it there


def careful(words):
    (Path(words[0]) / ".new").write_text("12")
    (Path(words[0]) / ".new").rename(Path(words[0]) / "x")


def careless(words):
    for text in "12":
        with (Path(words[0]) / "x").open("a") as file:
            file.write(text)


def early(words):
    careful(words)
    (Path(words[0]) / "y").touch()  # after x, which should be last


def campaign(write, folder):
    """Campaign of a program that writes to its folder, unless that is done."""

    def program(words):
        Path(words[0]).mkdir(exist_ok=True)
        write(words)

    return Campaign(Kind(("{out}",), digests, last="x"), folder, program=program)


def test_renamed_files_are_never_partial(tmp_path):
    killed = campaign(careful, tmp_path)
    killed.reference()
    assert killed.n_events == 3  # the folder, the file, its new name
    killed.kill(2, random.Random(0))
    assert killed.kills == 2
    assert killed.ends >= 1


@pytest.mark.parametrize(("write", "error"), [(careless, r"after a kill: \['x'\]"), (early, "x beside an incomplete")])
def test_a_partial_file_is_found(write, error, tmp_path):
    killed = campaign(write, tmp_path)
    killed.reference()
    with pytest.raises(DifferenceError, match=error):
        killed.kill(30, random.Random(0))


@pytest.mark.parametrize(("kind", "module"), [("postgres", "psycopg"), ("grpc", "grpc")])
def test_a_kind_whose_client_is_not_installed_is_skipped(kind, module, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, module, None)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    assert command.run(kind, 1, seed=0)
    assert capsys.readouterr().out.startswith(f"{kind}: skipped: {module} is not installed: pip install ")
    assert not list(tmp_path.iterdir())


def test_a_mixture_of_two_outputs_is_found():
    new, old = {"a": 1, "b": 1, "end": 1}, {"a": 2, "b": 2, "end": 1}
    for right in ({}, {"a": 1}, {"a": 1, "b": 2}, new, old, {**new, ".tmp-x": TEMPORARY}):
        assert broken(right, [new, old], "end") == []
    assert broken({"a": 3}, [new, old], "end") == ["a"]
    for mixed in ({"a": 1, "b": 2, "end": 1}, {"a": 1, "end": 1}):
        assert broken(mixed, [new, old], "end") == ["end beside an incomplete output"]
