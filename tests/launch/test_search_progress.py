"""Progress lines of a search where the output is not a terminal."""

import optuna
import pytest
from optuna.distributions import FloatDistribution
from optuna.trial import TrialState

from jaxrec import console
from jaxrec.launch import search_progress
from jaxrec.launch.search_progress import SearchProgress, trial_line


def test_a_search_says_how_many_trials_are_left_and_for_how_long(monkeypatch, capsys):
    now = [1000.0]
    monkeypatch.setattr(search_progress.time, "monotonic", lambda: now[0])
    with SearchProgress() as progress:
        for seconds, finished in ((11, 8), (60, 16), (5, 17), (15, 24)):
            now[0] += seconds
            progress.show(finished, 8, 64)
    assert capsys.readouterr().out.splitlines() == [
        "  compiling ...",
        "  8 of 64 trials finished, 8 running",  # by an earlier process: nothing is known of its speed
        "  16 of 64 trials finished, 8 running, about 6 min left",  # 8 a minute, 48 left
        "  24 of 64 trials finished, 8 running, about 3 min left",  # 16 in 80 s, 40 left: 200 s
    ]


@pytest.mark.parametrize(
    ("state", "value", "line"),
    [
        (TrialState.COMPLETE, 0.25, "  trial 0: 0.25  x=0.5"),
        (TrialState.PRUNED, 0.125, "  trial 0: pruned at 0.125, epoch 8  x=0.5"),
    ],
)
def test_a_finished_trial_is_one_line(state, value, line):
    reported = {4: 0.0625, 8: 0.125}
    study = optuna.create_study()
    space = {"x": FloatDistribution(0, 1)}
    study.add_trial(
        optuna.trial.create_trial(
            state=state, value=value, params={"x": 0.5}, distributions=space, intermediate_values=reported
        )
    )
    assert trial_line(study.trials[0]) == line


def test_durations_have_their_two_largest_units():
    assert [console.duration(s) for s in (5.4, 59.6, 4000)] == ["5 s", "1 min", "1 h 7 min"]
