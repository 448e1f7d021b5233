"""Printed commands: pasted into a shell and parsed by Hydra and OmegaConf they keep their meaning."""

import os
import shlex

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf

from jaxrec.command_line import ROOT, advice, command, escaped, override, unescaped, value_text

PLAIN = [None, True, False, 3, -2, 0.1, 1e-7, 1e22, "adam", "-x", "a/b.c", "/tmp/runs", "ünï", "人"]
READ_OTHERWISE = ["1", "1e-3", "true", "Null", "nan", "", "[1,2]", "{a: 1}", "x=y", "a,b", "(a)", "#", "~x", "$HOME"]
QUOTED = ["a b", "it's", "a\\", "\\'", "a\\\\'b", "tab\t", '"q"', '\\"', ";", "|", " padded ", "C:\\data\\log.csv"]
INTERPOLATED = ["${HOME}", "a ${oc.env:HOME}", "\\${x}", "a\\\\${x}b\\", "$${x}", '"${x}"', "a\\b ${x}"]
NESTED = [[], ["a", 1, None], ["a b", "x,y]", ["1"]], {"a": 1, "b": ["d e"]}]


@pytest.mark.parametrize("value", [*PLAIN, *READ_OTHERWISE, *QUOTED, *INTERPOLATED, *NESTED])
def test_a_shell_and_hydra_restore_value_and_type(value):
    (word,) = shlex.split(advice("key", value))
    assert word == override("key", value)
    read = OverridesParser.create().parse_override(word).value()
    tree = OmegaConf.create({})
    OmegaConf.update(tree, "key", read)
    resolved = OmegaConf.to_container(tree, resolve=True)["key"]
    assert resolved == value
    assert type(resolved) is type(value)


@pytest.mark.parametrize("value", [*INTERPOLATED, *QUOTED, ["${x}", {"a": "b\\\\${y}"}]])
def test_escaped_text_is_restored(value):
    tree = OmegaConf.create({"key": escaped(value)})
    assert OmegaConf.to_container(tree, resolve=True)["key"] == value
    assert unescaped(escaped(value)) == value


def test_values_are_quoted_only_if_necessary():
    assert advice("data.delimiter", ";") == """'data.delimiter=";"'"""
    assert advice("data.path", "logs/views.csv") == "data.path=logs/views.csv"
    assert advice("users", [196, 22]) == "'users=[196,22]'"
    assert value_text("/tmp/runs") == "/tmp/runs"


def test_a_command_begins_as_this_process_was_started(monkeypatch, tmp_path):
    assert command("study", "study=a b") == "jaxrec study 'study=a b'"
    monkeypatch.setattr("sys.argv", [str(tmp_path / "bin" / "jaxrec")])  # of an environment that is not activated
    assert command("study") == f"{tmp_path}/bin/jaxrec study"
    monkeypatch.setattr("sys.argv", [str(ROOT / "scripts" / "train.py")])
    monkeypatch.chdir(ROOT)
    assert command("study", "study=a b") == "python scripts/study.py 'study=a b'"
    monkeypatch.chdir(tmp_path)
    (_, script, _) = shlex.split(command("study", "study=a"))
    assert os.path.samefile(script, ROOT / "scripts" / "study.py")
