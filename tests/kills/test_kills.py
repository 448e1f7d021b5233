"""The campaign finds what it looks for, in small programs."""

import random
from pathlib import Path

import pytest

from tests.kills.campaign import Campaign, DifferenceError
from tests.kills.kinds import Kind
from tests.kills.left import TEMPORARY, broken, output

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
    (Path(words[0]) / "y").touch()  # after x, which is to be the last


def campaign(write, folder):
    """Kills of a program that writes to its folder, if that has not been done."""

    def program(words):
        Path(words[0]).mkdir(exist_ok=True)
        write(words)

    return Campaign(Kind(("{out}",), output, last="x"), folder, program=program)


def test_files_that_are_renamed_are_never_seen_in_part(tmp_path):
    killed = campaign(careful, tmp_path)
    killed.reference()
    assert killed.n_events == 3  # the folder, the file, its new name
    killed.kill(2, random.Random(0))
    assert killed.kills == 2
    assert killed.ends >= 1


@pytest.mark.parametrize(("write", "said"), [(careless, r"after a kill: \['x'\]"), (early, "x beside an incomplete")])
def test_a_file_that_is_seen_in_part_is_found(write, said, tmp_path):
    killed = campaign(write, tmp_path)
    killed.reference()
    with pytest.raises(DifferenceError, match=said):
        killed.kill(30, random.Random(0))


def test_files_of_two_outputs_are_told_from_one_output():
    new, old = {"a": 1, "b": 1, "end": 1}, {"a": 2, "b": 2, "end": 1}
    for right in ({}, {"a": 1}, {"a": 1, "b": 2}, new, old, {**new, ".tmp-x": TEMPORARY}):
        assert broken(right, [new, old], "end") == []
    assert broken({"a": 3}, [new, old], "end") == ["a"]
    for mixed in ({"a": 1, "b": 2, "end": 1}, {"a": 1, "end": 1}):
        assert broken(mixed, [new, old], "end") == ["end beside an incomplete output"]
