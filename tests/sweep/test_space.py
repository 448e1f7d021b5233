import math

import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from jaxrec.errors import InputError
from jaxrec.sweep.space import (
    Choice,
    Interval,
    check_in_space,
    check_space,
    distributions,
    grid,
    is_searched,
    n_points,
    reaching,
    space_from_yaml,
    space_to_plain,
)

SPACE = {
    "optimizer.learning_rate": {"low": 1e-4, "high": 1e-1, "log": True},
    "negatives.ratio": {"low": 1, "high": 8, "integer": True},
    "model.embedding_dim": {"choices": [16, 32, 64]},
}


def test_a_space_becomes_optuna_distributions():
    assert distributions(space_from_yaml(SPACE)) == {
        "optimizer.learning_rate": FloatDistribution(1e-4, 1e-1, log=True),
        "negatives.ratio": IntDistribution(1, 8),
        "model.embedding_dim": CategoricalDistribution((16, 32, 64)),
    }


def test_yaml_and_python_spaces_are_equal():
    space = space_from_yaml(SPACE)
    assert space == {
        "optimizer.learning_rate": Interval(1e-4, 1e-1, log=True),
        "negatives.ratio": Interval(1, 8, integer=True),
        "model.embedding_dim": Choice((16, 32, 64)),
    }
    assert space_from_yaml(space_to_plain(space)) == space


def test_a_space_of_one_point_is_allowed():
    for low, integer, kind in [(2, False, float), (2.0, True, int)]:
        point = grid(space_from_yaml({"x": {"low": low, "high": low, "integer": integer}}))
        assert point == [{"x": 2}]
        assert type(point[0]["x"]) is kind


@pytest.mark.parametrize(
    ("fields", "printed"),
    [
        ({"low": 2, "high": 1}, "low 2.0 is above high 1.0"),
        ({"low": 0, "high": 1, "log": True}, "log needs low above 0"),
        ({"low": -1, "high": 1, "log": True}, "log needs low above 0"),
        ({"choices": []}, "choices is empty"),
        ({"choices": "abc"}, "choices must be a list"),
        ({"choices": [16, 32, 16]}, "16 twice"),
        ({"choices": [1, True]}, "True twice"),
        ({"choices": [[64, 32]]}, "choices may hold numbers, strings"),
        ({"low": 1, "high": 2, "choices": [1, 2]}, "has both choices and high, low"),
        (
            {"low": 1, "high": 2, "logarithmic": True},
            "unknown logarithmic; allowed: low, high, log, integer, step",
        ),
        ({"choices": [1], "labels": ["a"]}, "unknown labels; allowed: choices, when"),
        ({"low": 1}, "high missing"),
        ({}, "low and high missing"),
        ({"low": "small", "high": 1}, "low must be a finite number, got 'small'"),
        ({"low": 0, "high": float("inf")}, "high must be a finite number"),
        ({"low": 0, "high": True}, "high must be a finite number, got True"),
        ({"low": None, "high": 1}, "low must be a finite number, got None"),
        ({"low": 0, "high": 1, "log": "yes"}, "log must be true or false"),
        ({"low": 0.5, "high": 4, "integer": True}, "low must be a whole number"),
        ({"low": 1, "high": 4, "integer": True, "step": 0.5}, "step must be a whole number"),
        ({"low": 0, "high": 1, "step": 0}, "step must be above 0"),
        ({"low": 1, "high": 2, "step": 0.5, "log": True}, "log and step cannot be combined"),
        ([1, 2], "write {choices: [...]}"),
        (3, "write {choices: [...]}"),
    ],
)
def test_errors_of_invalid_dimensions_name_the_key(fields, printed):
    with pytest.raises(InputError) as error:
        space_from_yaml({"good": {"choices": [1]}, "model.width": fields})
    assert str(error.value).startswith("model.width: ")
    assert printed in str(error.value)


def test_python_spaces_have_the_same_checks():
    with pytest.raises(InputError, match=r"low 2\.0 is above high 1\.0"):
        Interval(2, 1)
    with pytest.raises(InputError, match="choices is empty"):
        Choice(())


def test_an_empty_space_is_an_error():
    for build in (space_from_yaml, distributions, grid):
        with pytest.raises(InputError, match="empty"):
            build({})


def test_grid_counts_in_order_the_last_key_fastest():
    space = {"a": Choice(("x", "y")), "b": Interval(1, 5, integer=True, step=2), "c": Interval(0, 0.35, step=0.1)}
    points = grid(space)
    assert len(points) == 2 * 3 * 4
    assert points[:5] == [{"a": "x", "b": 1, "c": c} for c in (0.0, 0.1, 0.2, 0.3)] + [{"a": "x", "b": 3, "c": 0.0}]
    # 0.35 is on no step: the highest point is 0.3, for Optuna too, which would warn (an error in these tests).
    assert distributions(space)["c"] == FloatDistribution(0.0, 0.3, step=0.1)
    assert distributions(space)["b"] == IntDistribution(1, 5, step=2)


def test_grid_needs_points():
    with pytest.raises(InputError, match=r"optimizer\.learning_rate: a grid needs discrete values"):
        grid(space_from_yaml(SPACE))
    with pytest.raises(InputError, match="1,000,000 combinations"):
        grid({"a": Interval(1, 1000, integer=True), "b": Interval(1, 1000, integer=True)})


# Conditions ---------------------------------------------------------------------------------------

LOSSES = {
    "negatives.ratio": {"low": 1, "high": 2, "integer": True, "when": {"loss": ["bpr", "bce"]}},
    "loss": {"choices": ["bpr", "bce", "softmax"]},
    "loss.temperature": {"choices": [0.5, 1.0], "when": {"loss": "softmax"}},
}


def test_a_dimension_is_proposed_after_those_of_its_condition():
    space = check_space(space_from_yaml(LOSSES))
    assert list(space) == ["loss", "negatives.ratio", "loss.temperature"]
    assert is_searched(space["loss"], {})
    assert not is_searched(space["negatives.ratio"], {})
    assert is_searched(space["negatives.ratio"], {"loss": "bce"})
    assert not is_searched(space["negatives.ratio"], {"loss": "softmax"})
    assert reaching(space, "negatives.ratio") == {"loss": "bpr"}
    assert space_from_yaml(space_to_plain(space)) == space
    assert "when" not in space_to_plain(space)["loss"]


def test_a_grid_has_only_conditional_dimensions_whose_condition_holds():
    ratio, temperature = "negatives.ratio", "loss.temperature"
    assert grid(space_from_yaml(LOSSES)) == [
        *({"loss": loss, ratio: n} for loss in ("bpr", "bce") for n in (1, 2)),
        *({"loss": "softmax", temperature: t} for t in (0.5, 1.0)),
    ]
    assert n_points(space_from_yaml(LOSSES)) == 6


@pytest.mark.parametrize(
    ("when", "printed"),
    [
        ({"model": "mf"}, "a: when names model, which is not in the search space"),
        ({"b": "s"}, "a: when.b has 's', which is not in the dimension b"),
        ({"c": 1}, "a: its condition depends on itself: remove one when of a, c"),
        ("mf", "a: when must name other dimensions, e.g. {loss: bpr}, got 'mf'"),
        ({"b": []}, "a: when.b is empty"),
    ],
)
def test_a_condition_that_cannot_hold_is_refused(when, printed):
    choices = {"choices": [1, 2]}
    with pytest.raises(InputError) as error:
        space_from_yaml({"a": choices | {"when": when}, "b": {"choices": ["p"]}, "c": choices | {"when": {"a": 1}}})
    assert printed in str(error.value)


def test_spaces_of_any_size_take_little_memory():
    """A list of all values would take 8 GB."""
    wide = Interval(1, 10**9, integer=True)
    assert wide.distribution().high == 10**9
    assert n_points({"x": wide}) == math.inf
    with pytest.raises(InputError, match="x: the grid has 1,000,000,000 values, more than 100,000: use a larger step"):
        grid({"x": wide})
    with pytest.raises(InputError, match=r"step 1e-12 is too small for the range from 0\.0 to 1\.0"):
        Interval(0, 1, step=1e-12)
    assert Interval(0, 1, step=0.3).distribution().high == 0.9
    assert Interval(0.1, 0.4, step=0.1).points() == [0.1, 0.2, 0.3, 0.4]


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        (
            "model.k",
            7,
            r"model.k=7 is set, but the search tries values from 20 to 400: .*, write 'model.k=choice\(7\)'$",
        ),
        (
            "loss",
            "a b",
            r"loss=a b is set, but the search tries values of \['bpr', 'bce'\]: .*write 'loss=choice\(\"a b\"\)'",
        ),
    ],
)
def test_a_value_that_no_trial_would_have_is_refused(key, value, message):
    space = {"model.k": Interval(20, 400, integer=True), "loss": Choice(("bpr", "bce"))}
    check_in_space(space, {"model.k": 20, "loss": "bce", "seed": 7})
    with pytest.raises(InputError, match=message):
        check_in_space(space, {key: value})
