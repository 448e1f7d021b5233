"""Chart of slots over time; the expected positions are derived by hand."""

import pytest
from optuna.trial import TrialState, create_trial

from jaxrec.report import occupancy as module
from jaxrec.report.occupancy import occupancy, spans
from tests.page import Page, numbers

COMPLETE, PRUNED, FAIL = TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL


def trials(*rounds):
    """Trials by state, and the rounds at which they started and ended."""
    found = []
    for number, (state, start, end) in enumerate(rounds):
        attributes = {"started_round": start, "ended_round": end}
        value = None if state == FAIL else 0.1
        found.append(create_trial(state=state, value=value, user_attrs=attributes))
        found[-1].number = number
    return found


SIX = ((COMPLETE, 0, 10), (PRUNED, 0, 4), (PRUNED, 4, 8), (FAIL, 8, 9), (COMPLETE, 10, 20), (PRUNED, 9, 13))


def placed(found):
    return {span.number: (span.start, span.end, span.slot) for span in spans(found, found[0])}


def test_a_trial_takes_the_first_free_slot():
    found = trials(*SIX)
    assert placed(found) == {0: (0, 10, 0), 1: (0, 4, 1), 2: (4, 8, 1), 3: (8, 9, 1), 4: (10, 20, 0), 5: (9, 13, 1)}
    assert [span.outcome for span in spans(found, found[4])] == [
        "complete",
        "pruned",
        "pruned",
        "failed",
        "pruned",
        "best",
    ]


def test_the_share_of_slots_in_use_is_stated():
    page = Page(str(occupancy(trials(*SIX), trials(*SIX)[0])))
    # 33 of 2 x 20: 20 complete, 12 pruned, 1 failed.
    assert (
        "82.5% of 2 slots \u00d7 20 rounds were used: 50.0% by complete trials, 30.0% by pruned trials, 2.5%"
        in page.content
    )
    (chart,) = page.charts
    by_name = {trace["name"]: trace for trace in chart["data"]}
    assert list(by_name) == ["best", "complete", "pruned", "failed"]
    assert by_name["pruned"]["base"] == [0, 4, 9]
    assert by_name["pruned"]["y"] == [2, 2, 2]
    assert by_name["pruned"]["customdata"] == [[1, 1, 4], [2, 5, 8], [5, 10, 13]]


def test_trials_that_occupied_no_slot_are_left_out():
    found = trials((COMPLETE, 0, 10), (COMPLETE, 0, 10), (COMPLETE, 3, 3))
    found[1].user_attrs["same_as"] = 0
    running = create_trial(state=TrialState.RUNNING, user_attrs={"started_round": 0})
    assert placed([*found, running]) == {0: (0, 10, 0)}
    assert occupancy([running], running) == ""


def test_of_many_trials_the_busy_slots_are_drawn(monkeypatch):
    monkeypatch.setattr(module, "MAX_BARS", 5)
    monkeypatch.setattr(module, "N_INTERVALS", 4)
    page = Page(str(occupancy(trials(*SIX), trials(*SIX)[0])))
    (chart,) = page.charts
    busy = {trace["name"]: numbers(chart, i, "y") for i, trace in enumerate(chart["data"])}
    assert busy["best"] == [1, 1, 0, 0]  # rounds 1 to 5, 6 to 10, ...
    assert busy["complete"] == [0, 0, 1, 1]
    assert busy["pruned"] == pytest.approx([1, 4 / 5, 3 / 5, 0])
    assert busy["failed"] == pytest.approx([0, 1 / 5, 0, 0])
    assert numbers(chart, 0, "x") == [2.5, 7.5, 12.5, 17.5]
    assert "as 6 trials are too many to draw" in page.content
