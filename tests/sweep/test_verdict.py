"""Reasons to doubt the winner of a search: each is noted if and only if it applies."""

import optuna
import pytest
from optuna.trial import create_trial

from jaxrec.sweep.space import Choice, Interval, distributions
from jaxrec.sweep.verdict import edge, verdict

SPACE = {"x": Interval(0.0, 10.0)}


def study(values, places, *, direction="maximize", best_epoch=3):
    made = optuna.create_study(direction=direction)
    made.set_user_attr("metric", "validation ndcg@10")
    for value, place in zip(values, places, strict=True):
        trial = create_trial(
            value=value, params={"x": place}, distributions=distributions(SPACE), user_attrs={"best_epoch": best_epoch}
        )
        made.add_trial(trial)
    return made


def test_a_good_search_has_nothing_to_note():
    assert verdict(study([0.1, 0.3, 0.2], [1.0, 5.0, 9.0]), SPACE, {"ndcg@10": 0.05}, 10) == []


@pytest.mark.parametrize(
    ("made", "popularity", "epochs", "message"),
    [
        (study([0.2, 0.2], [0.0, 5.0]), 0.1, None, "all 2 trials have the same validation ndcg@10, 0.2"),
        (study([0.1, 0.2], [4.0, 5.0]), 0.25, None, "below the popularity baseline: validation ndcg@10 0.2 vs 0.25"),
        (study([0.1, 0.2], [4.0, 9.9]), 0.1, None, "the best x, 9.9, is at the upper bound"),
        (study([0.1, 0.2], [4.0, 0.1], direction="minimize"), 0.05, None, "below the popularity baseline"),
        (study([0.1, 0.2], [4.0, 5.0]), 0.1, 3, "peaked in its last epoch (3): increase trainer.epochs"),
    ],
)
def test_each_reason_is_noted_alone(made, popularity, epochs, message):
    (note,) = verdict(made, SPACE, {"ndcg@10": popularity}, epochs)
    assert message in note


def test_a_trial_that_was_stopped_may_gain_by_more_epochs():
    made = study([0.1], [5.0])
    attributes = {"best_epoch": 3, "epochs": 3, "stopped": "timeout"}
    made.add_trial(
        create_trial(value=0.2, params={"x": 5.0}, distributions=distributions(SPACE), user_attrs=attributes)
    )
    (note,) = verdict(made, SPACE, {"ndcg@10": 0.05}, epochs=3)  # and not that it peaked in its last epoch
    assert note == "the best trial was stopped by the timeout after epoch 3: it may gain by more of them"


@pytest.mark.parametrize(
    ("dimension", "value", "end"),
    [
        (Interval(1, 10_000, log=True), 1.1, "lower"),
        (Interval(1, 10_000, log=True), 500.0, ""),
        (Interval(1, 10_000, log=True), 100.0, ""),
        (Interval(1, 10_000, log=True), 9_000.0, "upper"),
        (Interval(1, 8, integer=True), 8, "upper"),
        (Interval(1, 8, integer=True), 7, ""),
        (Interval(0, 0.35, step=0.1), 0.3, "upper"),
        (Interval(2, 2), 2.0, ""),
        (Choice((16, 64, 32)), 64, "upper"),
        (Choice((16, 64)), 64, ""),
        (Choice((None, 1, 2)), 2, ""),
        (Choice(("a", "b", "c")), "c", ""),
    ],
)
def test_edges_are_those_of_numbers(dimension, value, end):
    assert edge(dimension, value) == end
