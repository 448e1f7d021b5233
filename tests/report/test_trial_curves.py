"""Learning curves of trials; the expected lines are the reported values."""

import pytest
from optuna.trial import TrialState, create_trial

from jaxrec.report import trial_sample
from jaxrec.report.trial_curves import WORST_TO_BEST, learning_curves
from tests.page import Page, numbers

COMPLETE, PRUNED = TrialState.COMPLETE, TrialState.PRUNED


def trial(number, state, value, curve, **attributes):
    made = create_trial(state=state, value=value, intermediate_values=curve, user_attrs=attributes)
    made.number = number
    return made


def drawn(trials, winner, minimize=False):
    page = Page(str(learning_curves(trials, trials[winner], "NDCG@10", minimize=minimize)))
    (chart,) = page.charts
    return chart, page.content


def rgb(code):
    return f"rgb({', '.join(str(int(code[i : i + 2], 16)) for i in (1, 3, 5))})"


TRIALS = [
    trial(0, COMPLETE, 0.3, {2: 0.1, 4: 0.2}, epochs=5),
    trial(1, PRUNED, 0.05, {2: 0.05}, epochs=2),
    trial(2, COMPLETE, 0.25, {2: 0.12, 4: 0.25}, epochs=4),
    trial(3, PRUNED, 0.15, {2: 0.1, 4: 0.15}, epochs=4),
    trial(4, PRUNED, 0.04, {2: 0.04}, epochs=2),
]


def test_lines_end_where_trials_ended():
    chart, text = drawn(TRIALS, 0)
    gray, ends, low, high, best = chart["data"]
    assert gray["x"] == [2, None, 2, 4, None, 2, None]
    assert gray["y"] == [0.05, None, 0.1, 0.15, None, 0.04, None]
    assert (numbers(chart, 1, "x"), numbers(chart, 1, "y")) == ([2, 4, 2], [0.05, 0.15, 0.04])
    assert ends["mode"] == "markers"
    assert (low["x"], low["y"], low["customdata"]) == ([2, 4, None], [0.12, 0.25, None], [2, 2, None])
    assert (high["x"], high["y"]) == ([2, 4, 5, None], [0.1, 0.2, 0.3, None])
    assert (best["x"], best["name"]) == (high["x"], "best: trial 0")
    assert [(line["x0"], line["x1"]) for line in chart["layout"]["shapes"]] == [(2, 2), (4, 4)]
    assert "rungs, at which trials were pruned: 2 at epoch 2, 1 at epoch 4." in text
    assert "from purple (0.25) to green (0.3)" in text
    assert "Shown are" not in text


@pytest.mark.parametrize("minimize", [False, True])
def test_the_best_final_value_is_green(minimize):
    chart, text = drawn([TRIALS[0], TRIALS[2]], 1 if minimize else 0, minimize)
    colors = {line["customdata"][0]: line["line"]["color"] for line in chart["data"][:2]}
    best, worst = (2, 0) if minimize else (0, 2)
    assert colors[best] == rgb(WORST_TO_BEST[-1])
    assert colors[worst] == rgb(WORST_TO_BEST[0])
    assert ("purple (0.3) to green (0.25)" if minimize else "purple (0.25) to green (0.3)") in text


def test_of_many_trials_a_sample_is_drawn_within_the_band_of_all(monkeypatch):
    monkeypatch.setattr(trial_sample, "N_BEST", 2)
    monkeypatch.setattr(trial_sample, "N_OTHERS", 1)
    many = [trial(n, COMPLETE, n / 100, {1: n / 200, 2: n / 100}) for n in range(101)]
    chart, text = drawn(many, 100)
    assert numbers(chart, 0, "y") == pytest.approx([0.025, 0.05])  # 5 of 100 are below
    assert numbers(chart, 1, "y") == pytest.approx([0.475, 0.95])
    lines = {number for line in chart["data"][2:] for number in line["customdata"]}
    assert {99, 100} < lines
    assert len(lines - {None}) == 3
    assert "Shown are the 2 best of 101 trials and a random sample of 1 others. The band holds" in text


def test_many_rungs_are_counted():
    trials = [TRIALS[0], *(trial(n, PRUNED, 0.1, {n: 0.1}) for n in range(1, 9))]
    assert "pruned: 8 at 8 epochs from 1 to 8." in drawn(trials, 0)[1]


@pytest.mark.parametrize("silent", [trial(5, COMPLETE, 0.3, {}, same_as=0), trial(5, PRUNED, 0.1, {0: 0.1})])
def test_trials_that_reported_nothing_are_counted(silent):
    assert "1 trial without reported epochs" in drawn([*TRIALS, silent], 0)[1]


def test_trials_without_epochs_have_no_curves():
    solved = [trial(0, COMPLETE, 0.3, {}), trial(1, PRUNED, 0.1, {0: 0.1})]
    assert learning_curves(solved, solved[0], "NDCG@10", minimize=False) == ""
