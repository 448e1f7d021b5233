"""Console output: the progress bar always ends, tables fit their width, and a fit ends with one line."""

import io
from pathlib import Path

import pandas as pd
import pytest
from rich.console import Console

from jaxrec import console
from jaxrec.fitting.epochs import Fit

TREE = {"trainer": {"epochs": 5}, "eval": {"monitor": "ndcg@10"}}


@pytest.mark.parametrize("ending", [None, KeyboardInterrupt, ValueError])
def test_the_bar_is_stopped_and_the_cursor_shown_again(monkeypatch, ending):
    file = io.StringIO()
    monkeypatch.setattr(console, "console", Console(file=file, force_terminal=True, width=80))
    try:
        with console.EpochProgress(TREE) as shown:
            shown(1, [{"loss": 0.5}])
            if ending:
                raise ending
    except (KeyboardInterrupt, ValueError):
        pass
    assert not shown.live.is_started
    text = file.getvalue()
    assert "compiling" in text
    assert text.rindex("[?25h") > text.rindex("[?25l")


def test_tables_in_a_file_are_not_wrapped(monkeypatch):
    file = io.StringIO()
    monkeypatch.setattr(console, "console", Console(file=file, width=80))
    console.table("test", pd.DataFrame({"": ["x" * 70], "interval": ["y" * 70]}))
    assert f"{'x' * 70}   {'y' * 70}" in file.getvalue()


def test_the_start_of_compilation_is_printed_to_a_pipe(monkeypatch):
    for tree, line in ((TREE, "compiling"), ({"eval": {"monitor": "ndcg@10"}}, "fitting")):
        file = io.StringIO()
        monkeypatch.setattr(console, "console", Console(file=file, width=80))
        with console.EpochProgress(tree):
            assert file.getvalue() == f"  {line} ...\n"


WIDE = pd.DataFrame({"run": [0], "overrides": ["optimizer.learning_rate=0.001 seed=1"], "m" * 30: 0.5, "n" * 30: 1})
NARROW = WIDE[["run", "overrides"]]


def printed(width: int, terminal: bool) -> str:
    file = io.StringIO()
    to = Console(file=file, width=width, force_terminal=terminal, color_system=None)
    console.table("runs", WIDE, NARROW, "outputs/runs.csv", to)
    return file.getvalue()


def test_a_narrow_terminal_shows_the_main_columns_and_names_the_file_of_the_rest():
    text = printed(80, terminal=True)
    assert "optimizer.learning_rate=0.001 seed=1" in text
    assert "mmm" not in text
    assert text.endswith("  all columns: outputs/runs.csv\n")


@pytest.mark.parametrize(("width", "terminal"), [(80, False), (200, True)])
def test_a_wide_terminal_and_a_pipe_show_every_column(width, terminal):
    text = printed(width, terminal)
    assert all(name in text for name in ("m" * 30, "n" * 30, "optimizer.learning_rate=0.001 seed=1"))
    assert "all columns" not in text


def test_text_breaks_at_spaces_and_numbers_stay_in_one_piece():
    text = printed(48, terminal=True)
    assert "optimizer.learning_rate=0.001" in text
    assert "seed=1" in text


def fitted(histories, best_epoch, compile_s=0.0, interrupted=False):
    rows = [[{"epoch": n, "ndcg@10": value} for n, value in enumerate(values, 1)] for values in histories]
    diverged = [best == 0 and not interrupted for best in best_epoch]
    return Fit({}, rows, best_epoch, "", diverged, compile_s, 1.0, 0.5, interrupted)


def test_the_last_line_summarizes_training():
    assert console.fit_line(fitted([[0.123456, 0.1, 0.1]], [1], compile_s=4.0), 5, "ndcg@10") == (
        "trained 3 of 5 epochs; stopped early (no validation improvement); best epoch 1, "
        "validation ndcg@10 0.1235; 5.5 s (4.0 s compiling)"
    )
    assert console.fit_line(fitted([[0.2, 0.1, 0.1]], [1]), 3, "ndcg@10") == (
        "trained 3 of 3 epochs; best epoch 1, validation ndcg@10 0.2; 1.5 s"
    )
    assert console.fit_line(fitted([[0.2]], [1], interrupted=True), 3, "ndcg@10").startswith(
        "trained 1 of 3 epochs; interrupted; best epoch 1"
    )
    assert (
        console.fit_line(fitted([[]], [0], interrupted=True), 3, "ndcg@10") == "interrupted in the first epoch; 1.5 s"
    )
    closed_form = Fit({}, [[]], [0], "", [False], train_s=2.0)
    assert console.fit_line(closed_form, 0, "ndcg@10") == "fitted; 2.0 s"


def test_a_population_ends_with_one_line_too():
    members = fitted([[0.1, 0.3, 0.2], [0.1, 0.1, 0.1, 0.1, 0.2], [0.0]], [2, 5, 0])
    assert console.fit_line(members, 5, "ndcg@10") == (
        "trained 3 members, 3 to 5 of 5 epochs; 1 stopped early (no validation improvement); 1 diverged; "
        "best epochs 2 to 5, best validation ndcg@10 0.3; 1.5 s"
    )
    errors = fitted([[0.1, 0.3], [0.2, 0.4]], [1, 1])
    for rows in errors.history:
        for row in rows:
            row["rmse"] = row.pop("ndcg@10")
    assert "best epoch 1, best validation rmse 0.1;" in console.fit_line(errors, 2, "rmse")


def test_results_inside_the_working_directory_are_shown_by_a_relative_path(tmp_path, monkeypatch):
    lines = []
    monkeypatch.setattr(console, "say", lines.append)
    monkeypatch.chdir(tmp_path)
    for path in (tmp_path / "runs" / "1", Path("runs/1"), tmp_path.parent):
        console.say_results(path)
    assert lines == ["results: runs/1", "results: runs/1", f"results: {tmp_path.parent}"]
