"""Progress display of a search: lines in a file or a pipe, a table of the running trials on a terminal."""

import io

import optuna
import pytest
from optuna.distributions import FloatDistribution
from optuna.trial import TrialState
from rich.console import Console

from jaxrec import console
from jaxrec.launch import search_progress
from jaxrec.launch.search_progress import SearchProgress, trial_line
from jaxrec.sweep.outcome import Progress
from jaxrec.sweep.pruning import Pruning


def test_the_number_of_remaining_trials_and_their_time_are_shown(monkeypatch, capsys):
    now = [1000.0]
    monkeypatch.setattr(search_progress.time, "monotonic", lambda: now[0])
    with SearchProgress() as progress:
        for seconds, finished in ((11, 8), (60, 16), (5, 17), (15, 24)):
            now[0] += seconds
            progress.show(finished, 8, 64)
    assert capsys.readouterr().out.splitlines() == [
        "  compiling ...",
        "  8 of 64 trials finished, 8 running",  # trials of an earlier process, whose speed is unknown
        "  16 of 64 trials finished, 8 running, about 6 min left",  # 8 per minute, 48 left
        "  24 of 64 trials finished, 8 running, about 3 min left",  # 16 in 80 s, 40 left: 200 s
    ]


def test_a_terminal_shows_the_running_trials_best_first_and_the_best_so_far(monkeypatch):
    terminal = Console(file=io.StringIO(), force_terminal=True, width=80, height=10)
    monkeypatch.setattr(console, "console", terminal)
    running = [Progress(4, 9, 0.2), Progress(5, 17, 0.3), Progress(6)]
    with SearchProgress(lambda: running, Pruning("halving", epochs=40)) as progress:
        for number, value in enumerate((0.25, 0.5, 0.375)):
            trial = optuna.trial.create_trial(value=value)
            trial.number = number
            progress.tell(trial)
        progress.show(3, 3, 8)
        plain = Console(file=io.StringIO(), width=80)
        plain.print(progress.shown())
    lines = [" ".join(line.split()) for line in plain.file.getvalue().splitlines()]
    assert "best so far: trial 1, 0.5" in lines
    assert "trial epoch best value rung" in lines
    rows = lines[lines.index("trial epoch best value rung") + 2 :]
    assert [row for row in rows if row] == ["5 17 of 40 0.3 16", "4 9 of 40 0.2 8", "and 1 more"]  # 10 lines are few


def test_trials_without_epochs_do_not_show_how_many_they_have():
    with SearchProgress(lambda: [Progress(4, 1, 0.2)]) as progress:
        progress.show(0, 1, 8)
        assert progress.table["epoch"].tolist() == ["1"]


def test_a_line_of_text_names_the_best_running_trial(monkeypatch, capsys):
    now = [1000.0]
    monkeypatch.setattr(search_progress.time, "monotonic", lambda: now[0])
    running = [Progress(4), Progress(5)]
    with SearchProgress(lambda: running, minimize=True) as progress:
        for finished in (0, 1):
            now[0] += 11
            progress.show(finished, 2, 8)
            running = [Progress(4, 9, 0.2), Progress(5, 17, 0.3)]
    lines = capsys.readouterr().out.splitlines()
    assert lines[1] == "  0 of 8 trials finished, 2 running"
    assert lines[2].startswith("  1 of 8 trials finished, 2 running, about ")
    assert lines[2].endswith("; best of them: trial 4, 0.2 at epoch 9")


@pytest.mark.parametrize(("epoch", "rung"), [(7, None), (8, 8), (15, 8), (16, 16), (31, 16), (40, 32)])
def test_rungs_double(epoch, rung):
    assert Pruning("halving", epochs=40).rung(epoch) == rung


@pytest.mark.parametrize(
    ("state", "value", "attributes", "line"),
    [
        (TrialState.COMPLETE, 0.25, {}, "  trial 0: 0.25  x=0.5"),
        (
            TrialState.COMPLETE,
            0.25,
            {"epochs": 9, "stopped": "timeout"},
            "  trial 0: 0.25, stopped at epoch 9  x=0.5",
        ),
        (TrialState.PRUNED, 0.125, {}, "  trial 0: pruned at 0.125, epoch 8  x=0.5"),
    ],
)
def test_a_finished_trial_is_one_line(state, value, attributes, line):
    reported = {4: 0.0625, 8: 0.125}
    study = optuna.create_study()
    space = {"x": FloatDistribution(0, 1)}
    study.add_trial(
        optuna.trial.create_trial(
            state=state,
            value=value,
            params={"x": 0.5},
            distributions=space,
            user_attrs=attributes,
            intermediate_values=reported,
        )
    )
    assert trial_line(study.trials[0]) == line


def test_durations_have_their_two_largest_units():
    assert [console.duration(s) for s in (5.4, 59.6, 4000)] == ["5 s", "1 min", "1 h 7 min"]
