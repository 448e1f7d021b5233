"""Popularity counts."""

import jax.numpy as jnp
import numpy as np

from jaxrec.data.interactions import Interactions
from jaxrec.fitting.closed_form import ClosedForm
from jaxrec.fitting.population import Population
from jaxrec.hyper import Hyper
from jaxrec.models.popularity import Popularity
from jaxrec.query import Query

USER, ITEM = np.array([0, 0, 1, 2, 2, 2], np.int32), np.array([3, 1, 3, 3, 0, 0], np.int32)
TRAIN = Interactions(USER, ITEM, None, None, None, np.arange(4), np.arange(5))
COUNTS = [2, 1, 0, 3, 0]  # items 2 and 4 were never chosen; user 2 chose item 0 twice


def test_scores_are_counts_for_everybody():
    numbers = Hyper(*(np.zeros(3, np.float32),) * 3, *(np.ones(3, np.int32),) * 2)
    fit = ClosedForm()(Popularity(5), TRAIN, Population(np.arange(3), numbers))
    np.testing.assert_array_equal(fit.params["params"]["count"], [COUNTS] * 3)
    params = {"params": {"count": fit.params["params"]["count"][1]}}
    query = Query(jnp.array([3, 0]))
    np.testing.assert_array_equal(Popularity(5).apply(params, query, method="score_catalogue"), [COUNTS] * 2)
    np.testing.assert_array_equal(Popularity(5).apply(params, query, jnp.array([[4, 3], [0, 1]])), [[0, 3], [2, 1]])
