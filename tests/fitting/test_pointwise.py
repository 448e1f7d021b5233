"""Pointwise losses on values and labels: costs by hand, the initial constant, invalid input."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrec.data.interactions import Interactions
from jaxrec.errors import InputError
from jaxrec.fitting.gradient import GradientFit
from jaxrec.fitting.optimizers import sgd
from jaxrec.fitting.pointwise import PointwiseObjective
from jaxrec.fitting.population import Population
from jaxrec.hyper import Hyper
from jaxrec.losses import logistic, squared_error
from jaxrec.models.mf import MatrixFactorization
from jaxrec.query import Query
from jaxrec.random import stream

USER, ITEM = np.array([0, 1, 1, 2], np.int32), np.array([0, 2, 1, 2], np.int32)
VALUE = np.array([1.0, 4.0, 3.0, 5.0], np.float32)
WEIGHT = np.array([1.0, 2.0, 1.0, 4.0], np.float32)
DATA = Interactions(USER, ITEM, VALUE, None, None, np.arange(3), np.arange(3), weight=WEIGHT)
MODEL = MatrixFactorization(3, 3, 2, regularization=0.1)


def params() -> dict:
    return jax.jit(MODEL.init)(jax.random.key(0), Query(jnp.zeros(1, jnp.int32)), jnp.zeros((1, 1), jnp.int32))


@pytest.mark.parametrize(("loss", "threshold"), [(squared_error, None), (logistic, 4.0)])
def test_costs_by_hand(loss, threshold):
    objective = PointwiseObjective(loss, threshold)
    examples, n = objective.examples(DATA)
    assert n == 4
    rows, tables = np.array([3, 0]), params()
    source = stream(jax.random.key(0))
    cost, weight = jax.jit(lambda rows: objective.costs(MODEL, tables, examples, rows, source, True))(rows)
    scores = np.asarray(jax.jit(MODEL.apply)(tables, Query(USER[rows]), ITEM[rows][:, None]))[:, 0]
    if threshold is None:
        expected = (VALUE[rows] - scores) ** 2
    else:
        chance = 1 / (1 + np.exp(-scores))
        expected = -np.log(np.where(VALUE[rows] >= 4, chance, 1 - chance))
    p, q = (np.asarray(tables["params"][name]["table"]) for name in ("user_embedding", "item_embedding"))
    expected = expected + 0.1 * ((p[USER[rows]] ** 2).sum(1) + (q[ITEM[rows]] ** 2).sum(1))
    np.testing.assert_allclose(cost, WEIGHT[rows] * expected, rtol=1e-5)
    np.testing.assert_array_equal(weight, WEIGHT[rows])


@pytest.mark.parametrize(
    ("loss", "threshold", "constant"),
    [
        (squared_error, None, (1 + 8 + 3 + 20) / 8),
        pytest.param(logistic, 4.0, np.log(6 / 2), marks=pytest.mark.slow),
    ],  # 6 of 8 are ones
)
def test_training_starts_at_the_best_constant(loss, threshold, constant):
    """With a learning rate of 0 the initial parameters are returned."""
    fit = GradientFit(PointwiseObjective(loss, threshold), sgd, epochs=1)(
        MODEL, DATA, Population(np.zeros(1, int), Hyper({"optimizer.learning_rate": np.zeros(1, np.float32)}))
    )
    np.testing.assert_allclose(fit.params["params"]["bias"], [[constant]], rtol=1e-5)


def test_history_is_all_other_interactions_of_the_user():
    examples, _ = PointwiseObjective(squared_error).examples(DATA, 2)
    found = examples.pairs.seen.history(jnp.array([1, 2, 0]), 2, "others").items
    np.testing.assert_array_equal(found, [[-1, 1], [-1, 2], [-1, -1]])


def test_the_error_for_data_without_values_says_what_to_add():
    data = Interactions(USER, ITEM, None, None, None, np.arange(3), np.arange(3))
    with pytest.raises(InputError, match=r"data has no values, .* data\.value_column"):
        PointwiseObjective(squared_error).examples(data)
    broken = Interactions(USER, ITEM, np.array([1, np.nan, 3, 4], np.float32), None, None, np.arange(3), np.arange(3))
    with pytest.raises(InputError, match="the value of row 2 is nan"):
        PointwiseObjective(squared_error).examples(broken)


@pytest.mark.parametrize(
    ("values", "threshold", "message"),
    [
        (None, 0.5, "makes every label of train 1: choose a threshold above 1 and at most 5"),
        (None, 1.0, "makes every label of train 1: choose a threshold above 1 and at most 5"),
        ([3.0] * 4, 3.0, "makes every label of train 1: as all values are 3, no threshold separates them"),
    ],
)
def test_a_threshold_that_separates_no_rows_is_refused(values, threshold, message):
    data = DATA if values is None else replace(DATA, value=np.array(values, np.float32))
    with pytest.raises(InputError, match=message):
        PointwiseObjective(logistic, threshold).examples(data)
