"""Metrics of two lists by hand, and steps whose numbers are overridden."""

import jax.numpy as jnp
import numpy as np
import pytest

from jaxrec.data.interactions import Interactions
from jaxrec.data.splits.split import HeldOut
from jaxrec.evaluation.ground_truth import ground_truth
from jaxrec.pipeline.item_facts import Facts
from jaxrec.pipeline.list_evaluator import ListEvaluator
from jaxrec.rerank.shortlist import Items, Mixes
from jaxrec.rerank.steps import Mmr

SECOND = 1 / np.log2(3)  # exposure of the second rank
FACTS = Facts(
    Items(
        vectors=jnp.array([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 0.0]]),
        mixes=Mixes(jnp.zeros((4, 0), jnp.int32), 0),
        groups=jnp.array([0, 0, 1, 1], jnp.int32),
        target=jnp.array([0.5, 0.5]),
        counts=jnp.array([4.0, 2.0, 1.0, 0.0]),
        ages=jnp.array([jnp.nan, 0.0, 10.0, 20.0]),
        half_life=jnp.float32(10),
        available=jnp.ones(4, bool),
    ),
    (),
    ("head", "tail"),
    n_users=4,
)


def interactions(user: list[int], item: list[int]) -> Interactions:
    columns = np.array(user, np.int32), np.array(item, np.int32)
    return Interactions(*columns, None, None, None, np.arange(2), np.arange(4))


@pytest.fixture(scope="module")
def evaluator() -> ListEvaluator:
    """User 0 has item 0 and looks for 2 and 3; user 1 has item 1 and looks for 0."""
    truth = ground_truth(HeldOut(interactions([0, 1], [0, 1]), interactions([0, 0, 1], [2, 3, 0])))
    return ListEvaluator(truth, FACTS, np.array([[1, 3], [0, 2]]), 2)


def test_metrics_of_lists_by_hand(evaluator):
    items, scores = np.array([[2, 1], [0, -1]], np.int32), np.array([[2.0, 1.0], [1.0, -np.inf]], np.float32)
    found = evaluator(items, scores, {})
    expected = {
        "ndcg": [1 / (1 + SECOND), 1],
        "hit_rate": [1, 1],
        "diversity": [1, np.nan],
        "novelty": [(np.log2(4 / 1) + np.log2(4 / 2)) / 2, 0],
        "serendipity": [1 / 2, 0],  # item 2 is not among the most popular of user 0, item 0 is among those of user 1
        "popularity": [1.5, 4],
        "popularity_bias": [1.5 / 4 - 1, 4 / 2 - 1],
        "list_exposure_disparity": [1 / (1 + SECOND) - 0.5, 0.5],
        "freshness": [(0.5 + 1) / 2, np.nan],
    }
    for name, values in expected.items():
        np.testing.assert_allclose(found.per_user[f"{name}@2"], values, rtol=1e-6, err_msg=name)
    assert found.overall["coverage@2"] == 3 / 4
    assert found.overall["gini@2"] == pytest.approx((-1 + 1 + 3) / (4 * 3))  # counts 0, 1, 1, 1
    assert found.overall["exposure_disparity@2"] == pytest.approx((1 + SECOND) / (2 + SECOND) - 0.5)
    assert evaluator.hits(found.lists).tolist() == [[True, False], [True, False]]


def test_a_number_of_a_step_can_be_overridden(evaluator):
    items, scores = np.array([[2, 3, 1]] * 2, np.int32), np.array([[3.0, 2.0, 1.0]] * 2, np.float32)
    steps = {"mmr": Mmr(0.0)}
    assert evaluator(items, scores, steps).lists.tolist() == [[2, 3]] * 2
    assert evaluator(items, scores, steps, {"mmr.strength": 1.0}).lists.tolist() == [[2, 1]] * 2
