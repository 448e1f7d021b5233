"""Options of Hydra anywhere on a command line."""

import argparse

import pytest
from hydra._internal.utils import get_args_parser

from jaxrec.cli import options
from jaxrec.cli.options import split_options


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("sweep=mf -m seed=1", (["-m"], ["sweep=mf", "seed=1"])),
        ("a=1 --config-dir conf b=2", (["--config-dir", "conf"], ["a=1", "b=2"])),
        ("a=1 --config-d conf b=2", (["--config-d", "conf"], ["a=1", "b=2"])),
        ("a=1 --config-dir=conf b=2", (["--config-dir=conf"], ["a=1", "b=2"])),
        ("runs/1 -cd -odd runs/2", (["-cd", "-odd"], ["runs/1", "runs/2"])),
        ("--cfg job --resolve ~a", (["--cfg", "job", "--resolve"], ["~a"])),
        ("--info model=mf", (["--info=all"], ["model=mf"])),
        ("-i defaults model=mf", (["--info=defaults"], ["model=mf"])),
        ("a=1 --config-dir", (["--config-dir"], ["a=1"])),
    ],
)
def test_options_go_first_with_their_values(line, expected):
    assert split_options(line.split()) == expected


def test_the_options_with_a_value_are_those_of_hydra():
    takes = [a for a in get_args_parser()._actions if a.option_strings and a.nargs is None]
    named = {name for a in takes if not isinstance(a, argparse._VersionAction) for name in a.option_strings}
    assert named == {*options.SHORT, *options.LONG}


def test_overrides_may_precede_and_follow_an_option(command):
    ended = command("train", "model=mf", "--cfg", "job", "seed=7")
    assert ended.returncode == 0, ended.stderr
    assert "\nseed: 7\n" in ended.stdout


def test_a_folder_of_settings_is_not_a_run(command, tmp_path):
    ended = command("compare", "--config-dir", str(tmp_path), "a", "b")
    assert ended.returncode == 2
    assert str(tmp_path) not in ended.stderr
