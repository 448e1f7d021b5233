"""Overrides that Hydra cannot parse: an error of one line that says what to type instead."""

import shlex

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

from jaxrec.cli.start import arguments_of


@pytest.mark.parametrize("value", ["été.csv", "a=b.csv", "file (1).csv", "my,file.csv"])
def test_text_with_special_characters_is_shown_in_quotes(command, value):
    ended = command("train", "model=popularity", "data=files", f"data.path={value}")
    assert ended.returncode == 2
    assert ended.stderr.count("\n") == 1
    (advised,) = (word for word in shlex.split(ended.stderr.replace(",", " ")) if word.startswith('data.path="'))
    assert advised.replace(" ", "") == f'data.path="{value}"'.replace(",", " ").replace(" ", "")
    (parsed,) = OverridesParser.create().parse_overrides([f'data.path="{value}"'])
    assert parsed.value() == value


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train", "model"], "error: model: write KEY=VALUE, e.g. model=ease\n"),
        (
            ["study", "data=files"],
            "error: data is unknown here: no choice of this command has that name, see its settings",
        ),
        (
            ["train", "seed=1,2"],
            "error: seed=1,2 has several values: for a run of each, add --multirun to jaxrec train; a list is 'seed=",
        ),
        (["train", "eval.k=[5,10"], "quotes, 'eval.k=\"[5,10\"', or close its brackets\n"),
        (["train", "data.path=${x}"], "error: Interpolation key 'x' not found; set another value, or write \\${ for"),
        (["train", "model = ease"], "error: model = ease: write KEY=VALUE without blanks around the =, model=ease\n"),
        (
            ["train", "--multirun", "model=item_knn", "model.k=interval(1,9)"],
            "model.k=1.0: must be a valid integer, model.k=1; integers are 'KEY=int(interval(LOW,HIGH))', or in a file",
        ),
        (["train", "--multirun", "model.k=glob(*)"], "error: model.k=glob(*) matches nothing: glob() selects choices"),
        (
            ["train", "--multirun", "sweep.space={'model.k':{low:1,high:9}}"],
            "cannot be read: write 'KEY=interval(LOW,HIGH)', or the space as a file",
        ),
        (
            ["train", "--multirun", "+sweep.space={'model.k':{low:1,high:9}}"],
            "cannot be read: write 'KEY=interval(LOW,HIGH)', or the space as a file",
        ),
        (
            ["train", "--multirun", "sweep=item_knn", "sweep.space={model.k:{low:1,high:9}}"],
            "would be mixed with the space of sweep=item_knn: write each dimension as 'KEY=interval(LOW,HIGH)', and "
            "model=NAME instead of sweep=item_knn to search these alone",
        ),
        (
            ["train", "--multirun", "sweep.space={model.k:{low:1,high:9}}"],
            "error: sweep.space.model.k is unknown here: write 'KEY=interval(LOW,HIGH)', or the space as a file",
        ),
        (["train", "--multirun", "sweep.space={}"], "error: sweep.space={} has no effect without a search space"),
        (
            ["train", "--multirun", "sweep.space.model.k.low=1"],
            "error: sweep.space.model is unknown here: write 'KEY=interval(LOW,HIGH)', or the space as a file",
        ),
        (
            ["train", "eval=clicks"],
            "error: eval.threshold takes the value of loss.threshold, which this loss lacks: choose another eval",
        ),
        (
            ["train", "--multirun", "model.k=choice(1,null)"],
            "choice(...) cannot contain null: write the space as a file",
        ),
        (
            ["train", "--multirun", "sweep=ease", "sweep.models=[ease,mf]"],
            "sweep=ease searches one model: use sweep=comp",
        ),
        (["train", "--multirun", "sweep=ease", "sweep.space=null"], "sweep=ease has no effect without a search space"),
    ],
)
def test_other_overrides_that_cannot_be_parsed(command, arguments, message):
    ended = command(*arguments)
    assert ended.returncode == 2
    assert message in ended.stderr
    assert ended.stderr.count("\n") == 1


@pytest.mark.parametrize("value", ["~/my log.csv", '"~/my log.csv"', "'~/my log.csv'"])
def test_a_path_may_begin_at_home(value, monkeypatch):
    """Shells expand ~ at the start of words only, and Hydra reads ~ as a deletion."""
    monkeypatch.setenv("HOME", "/home/me")
    (word,) = arguments_of("explore", [f"data.path={value}"])
    (parsed,) = OverridesParser.create().parse_overrides([word])
    assert parsed.value() == "/home/me/my log.csv"
    assert arguments_of("explore", ["data.path=a~/b", "~data.k_core"]) == ["data.path=a~/b", "~data.k_core"]
