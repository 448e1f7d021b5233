"""Charts of a population; the expected lines are derived by hand."""

import pytest
from optuna.distributions import FloatDistribution, IntDistribution
from optuna.trial import TrialState, create_trial

from jaxrec.report.lineage import lineage
from tests.page import Page

DISTRIBUTIONS = {"a.rate": FloatDistribution(0.001, 1.0, log=True), "a.size": IntDistribution(1, 8)}


def trial(number, value, best_epoch, params, *copies):
    changes = [{"epoch": epoch, "parent": parent, "params": changed} for epoch, parent, changed in copies]
    attributes = {"epochs": 6, "best_epoch": best_epoch, "lineage": changes}
    made = create_trial(
        state=TrialState.COMPLETE, value=value, params=params, distributions=DISTRIBUTIONS, user_attrs=attributes
    )
    made.number = number
    return made


TRIALS = [
    trial(0, 0.3, 6, {"a.rate": 0.1, "a.size": 4}, (4, 2, {"a.rate": 0.012, "a.size": 4})),
    trial(1, 0.1, 2, {"a.rate": 0.5, "a.size": 4}),
    trial(2, 0.2, 4, {"a.rate": 0.9, "a.size": 4}, (2, 1, {"a.rate": 0.01, "a.size": 4})),
]


@pytest.fixture(scope="module")
def page():
    return Page("".join(map(str, lineage(TRIALS, TRIALS[0]))))


def test_copies_go_from_the_copied_trial_to_the_replaced_one(page):
    lives, copies, heads, own, star = page.charts[0]["data"]
    assert lives["y"] == [0, 0, None, 1, 1, None, 2, 2, None]
    assert lives["x"] == [0, 6, None] * 3
    assert (copies["x"], copies["y"]) == ([4, 4, None, 2, 2, None], [2, 0, None, 1, 2, None])
    assert (heads["x"], heads["y"]) == ([4, 2], [0, 2])
    assert (own["x"], own["y"]) == ([0, 2, 2, 4, 4, 6], [1, 1, 2, 2, 0, 0])  # from trial 1 over 2 to 0
    assert (star["x"], star["y"]) == ([6], [0])
    assert "2 times a trial was replaced" in page.content


def test_only_settings_that_changed_are_drawn(page):
    assert len(page.charts) == 2
    everyone, own, star = page.charts[1]["data"]
    assert everyone["x"] == [0, 4, 4, 6, None, 0, 6, None, 0, 2, 2, 6, None]
    assert everyone["y"] == [0.1, 0.1, 0.012, 0.012, None, 0.5, 0.5, None, 0.9, 0.9, 0.01, 0.01, None]
    assert (own["x"], own["y"]) == ([0, 2, 2, 4, 4, 6], [0.5, 0.5, 0.01, 0.01, 0.012, 0.012])
    assert star["y"] == [0.012]
    assert page.charts[1]["layout"]["yaxis"]["type"] == "log"
    assert "a.rate by epoch" in page.content
    assert "a.size" not in page.content
