"""Decisions of population-based training."""

import math

import numpy as np
import pytest

from jaxrec.sweep.pbt import Segment, ancestry, exploit, explore, params_at, schedule
from jaxrec.sweep.space import Choice, Interval

SPACE = {
    "optimizer.learning_rate": Interval(1e-3, 1e-1, log=True),
    "model.dropout": Interval(0.0, 0.5, step=0.1),
    "negatives.ratio": Interval(1, 8, integer=True),
    "model.embedding_dim": Choice((16, 64, 32)),
    "loss": Choice(("bpr", "bce")),
}
PARAMS = {
    "optimizer.learning_rate": 0.01,
    "model.dropout": 0.2,
    "negatives.ratio": 5,
    "model.embedding_dim": 32,
    "loss": "bpr",
}


def test_the_worst_quarter_copies_the_best_quarter():
    scores = {member: member / 10 for member in range(8)}
    found = [exploit(scores, seed=0, epoch=epoch) for epoch in range(20)]
    assert all(parents.keys() == {0, 1} for parents in found)
    assert {parent for parents in found for parent in parents.values()} == {6, 7}
    assert exploit(scores, 0, 3) == found[3]  # independent of earlier draws
    assert exploit({0: 0.2, 1: 0.1}, 0, 1) == {1: 0}  # at least one
    assert exploit({0: 0.1, 1: 0.1, 2: 0.1}, 0, 1) == {2: 0}  # of equal ones, the first


def test_members_without_a_finite_score_are_replaced_and_never_copied():
    scores = {0: math.nan, 1: 0.1, 2: -math.inf, 3: 0.3, 4: math.nan, 5: 0.2, 6: 0.15, 7: math.nan}
    assert exploit(scores, 0, 10).keys() == {0, 2, 4, 7}
    assert set(exploit(scores, 0, 10).values()) <= {3, 5}
    assert exploit({0: math.nan, 1: math.nan}, 0, 10) == {}


def test_explored_values_are_near_or_anywhere_and_always_in_the_space():
    found = [explore(PARAMS, SPACE, (0, 10, member)) for member in range(400)]
    assert all(SPACE[key].contains(value) for params in found for key, value in params.items())
    rates = np.array([params["optimizer.learning_rate"] for params in found])
    moved = np.isclose(rates, 0.008) | np.isclose(rates, 0.012)
    assert 0.65 < moved.mean() < 0.85  # a quarter is drawn from the whole interval
    assert 0.3 < (rates[~moved] < 0.01).mean() < 0.7  # the middle of the interval is 0.01 on its log scale
    near = {"model.dropout": (0.1, 0.3), "negatives.ratio": (4, 6), "model.embedding_dim": (16, 64), "loss": ("bce",)}
    for key, values in near.items():
        share = np.mean([params[key] in values for params in found])
        assert share > (0.4 if key == "loss" else 0.74), key
    assert {type(params["negatives.ratio"]) for params in found} == {int}
    assert explore(PARAMS, SPACE, (0, 10, 3)) == found[3]


def test_values_at_a_bound_stay_within_it():
    edge = {**PARAMS, "optimizer.learning_rate": 0.1, "negatives.ratio": 8, "model.dropout": 0.5}
    found = [explore(edge, SPACE, (1, 1, member)) for member in range(100)]
    assert all(SPACE[key].contains(value) for params in found for key, value in params.items())
    assert sum(params["optimizer.learning_rate"] == 0.1 for params in found) > 20


def test_static_settings_do_not_change():
    found = [explore(PARAMS, SPACE, (0, 1, member), lambda params: params["loss"] == "bpr") for member in range(50)]
    assert {params["loss"] for params in found} == {"bpr"}
    conditional = {**SPACE, "negatives.ratio": Interval(1, 8, integer=True, when={"loss": "bpr"})}
    assert {explore(PARAMS, conditional, (0, 1, member))["loss"] for member in range(50)} == {"bpr"}


LINEAGES = {
    0: [{"epoch": 20, "parent": 2, "params": {"x.y": 5}}],
    1: [],
    2: [{"epoch": 10, "parent": 1, "params": {"x.y": 4}}, {"epoch": 30, "parent": 0, "params": {"x.y": 6}}],
}
INITIAL = {0: {"x.y": 0, "loss": "bpr"}, 1: {"x.y": 1, "loss": "bpr"}, 2: {"x.y": 2, "loss": "bpr"}}


def test_an_ancestry_follows_copies_back():
    assert ancestry(INITIAL, LINEAGES, 2, 35) == [
        Segment(1, 1, INITIAL[1]),
        Segment(11, 2, {"x.y": 4}),
        Segment(21, 0, {"x.y": 5}),
        Segment(31, 2, {"x.y": 6}),
    ]
    assert ancestry(INITIAL, LINEAGES, 2, 10) == [Segment(1, 2, INITIAL[2])]  # before it was replaced
    assert ancestry(INITIAL, LINEAGES, 2, 11) == [Segment(1, 1, INITIAL[1]), Segment(11, 2, {"x.y": 4})]
    assert params_at(INITIAL[2], LINEAGES[2], 30) == {"x.y": 4}
    assert params_at(INITIAL[2], LINEAGES[2], 31) == {"x.y": 6}


def test_a_schedule_holds_numbers_only():
    extremes = {"x.y": [0, 9], "loss": ["bpr", "bce"], "not.searched": [1, 2]}
    assert schedule(ancestry(INITIAL, LINEAGES, 2, 11), 11, extremes, 3) == {
        "epochs": 11,
        "space": {"x.y": [0, 9]},
        "slots": 3,
        "steps": [{"from_epoch": 1, "overrides": {"x.y": 1}}, {"from_epoch": 11, "overrides": {"x.y": 4}}],
    }


@pytest.mark.parametrize("member", range(5))
def test_integers_change_by_at_least_one(member):
    found = explore({"a.b": 2}, {"a.b": Interval(1, 1000, integer=True, log=True)}, (0, 0, member))
    assert found["a.b"] != 2
