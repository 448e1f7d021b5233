"""What is shown: the bar ends however training ends, tables in a file are not folded, a run ends in one line."""

import io

import pandas as pd
import pytest
from rich.console import Console

from jaxrec import console

TREE = {"trainer": {"epochs": 5}, "eval": {"monitor": "ndcg@10"}}


@pytest.mark.parametrize("ending", [None, KeyboardInterrupt, ValueError])
def test_the_bar_is_stopped_and_the_cursor_shown_again(monkeypatch, ending):
    file = io.StringIO()
    monkeypatch.setattr(console, "console", Console(file=file, force_terminal=True, width=80))
    try:
        with console.Epochs(TREE) as shown:
            shown(1, [{"loss": 0.5}])
            if ending:
                raise ending
    except (KeyboardInterrupt, ValueError):
        pass
    assert not shown.bar.live.is_started
    text = file.getvalue()
    assert "compiling" in text
    assert text.rindex("[?25h") > text.rindex("[?25l")


def test_tables_in_a_file_are_not_folded(monkeypatch):
    file = io.StringIO()
    monkeypatch.setattr(console, "console", Console(file=file, width=80))
    console.table("test", pd.DataFrame({"": ["x" * 70], "interval": ["y" * 70]}))
    assert f"{'x' * 70}   {'y' * 70}" in file.getvalue()


def test_the_line_at_the_end_says_how_training_went():
    history = [{"epoch": n, "seconds": 0.5, "ndcg@10": value} for n, value in ((1, 0.123456), (2, 0.1), (3, 0.1))]
    assert console.fit_line(history, 1, 5, "ndcg@10", False) == (
        "trained 3 of 5 epochs; stopped early, validation no longer improved; best epoch 1, "
        "validation ndcg@10 0.1235; 1.5 s"
    )
    assert console.fit_line(history, 1, 3, "ndcg@10", False).startswith("trained 3 of 3 epochs; best epoch 1")
    assert console.fit_line([], 0, 3, "ndcg@10", False) == ""
