"""Popularity counts."""

from dataclasses import replace

import jax.numpy as jnp
import numpy as np
import pytest

from jaxrec.data.interactions import Interactions
from jaxrec.errors import InputError
from jaxrec.fitting.closed_form import ClosedForm
from jaxrec.fitting.population import Population
from jaxrec.hyper import Hyper
from jaxrec.models.popularity import Popularity
from jaxrec.query import Query

USER, ITEM = np.array([0, 0, 1, 2, 2, 2], np.int32), np.array([3, 1, 3, 3, 0, 0], np.int32)
TRAIN = Interactions(USER, ITEM, None, None, None, np.arange(4), np.arange(5))
COUNTS = [2, 1, 0, 3, 0]  # items 2 and 4 were never chosen; user 2 chose item 0 twice


def test_scores_are_counts_for_all_users():
    fit = ClosedForm()(Popularity(5), TRAIN, Population(np.arange(3), Hyper()))
    np.testing.assert_array_equal(fit.params["params"]["count"], [COUNTS] * 3)
    params = {"params": {"count": jnp.asarray(fit.params["params"]["count"][1])}}
    query = Query(jnp.array([3, 0]))
    np.testing.assert_array_equal(Popularity(5).apply(params, query, method="score_catalog"), [COUNTS] * 2)
    np.testing.assert_array_equal(Popularity(5).apply(params, query, jnp.array([[4, 3], [0, 1]])), [[0, 3], [2, 1]])


def test_only_the_window_counts():
    """Days 0, 1, 4, 9, 9.5 and 10: the last two are within a day of the latest; exactly one day before is outside."""
    days = np.array([0, 1, 4, 9, 9.5, 10])
    timed = replace(TRAIN, time=(days * 86_400_000).astype(np.int64))
    np.testing.assert_array_equal(Popularity(5, window_days=1.0).prepare(timed), [2, 0, 0, 0, 0])
    np.testing.assert_array_equal(Popularity(5, window_days=1.01).prepare(timed), [2, 0, 0, 1, 0])
    np.testing.assert_array_equal(Popularity(5, window_days=1000.0).prepare(timed), COUNTS)


def test_a_window_needs_times():
    with pytest.raises(InputError, match=r"model\.window_days=30 needs timestamps: set data\.time_column"):
        Popularity(5, window_days=30.0).prepare(TRAIN)
