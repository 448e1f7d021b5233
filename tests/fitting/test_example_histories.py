"""Histories of training examples, by hand, with rows ordered neither by user nor by time."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrec.data.interactions import Interactions
from jaxrec.fitting.example_histories import example_histories
from jaxrec.fitting.objective import CatalogObjective, SampledObjective
from jaxrec.history import History
from jaxrec.losses import bce
from jaxrec.models import Model
from jaxrec.negatives.candidates import Negatives
from jaxrec.negatives.sampler import Sampler
from jaxrec.negatives.uniform import Uniform

# By time, user 1 has items 4, 2, 0, 3 (rows 5, 0, 3, 1) and user 0 has 1, 2 (rows 4, 2).
USER = np.array([1, 1, 0, 1, 0, 1], np.int32)
ITEM = np.array([2, 3, 2, 0, 1, 4], np.int32)
TIME = np.array([20, 40, 60, 30, 50, 10]) * 1000
TARGET = np.array([True, True, True, False, True, True])


def data(target: np.ndarray | None = None) -> Interactions:
    return Interactions(USER, ITEM, None, TIME, None, np.arange(2), np.arange(5), target=target)


EXPECTED = {
    "before": {0: [-1, -1, 4], 1: [4, 2, 0], 2: [-1, -1, 1], 3: [-1, 4, 2], 4: [-1, -1, -1], 5: [-1, -1, -1]},
    "others": {0: [4, 0, 3], 1: [4, 2, 0], 2: [-1, -1, 1], 3: [4, 2, 3], 4: [-1, -1, 2], 5: [2, 0, 3]},
}


def read(rows: np.ndarray, length: int, which: str) -> History:
    histories = example_histories(data(), np.arange(6))
    return jax.jit(lambda rows: histories.history(rows, length, which))(rows)


@pytest.mark.parametrize("which", ["before", "others"])
def test_histories_by_hand(which):
    found = read(np.arange(6, dtype=np.int32), 3, which)
    np.testing.assert_array_equal(found.items, list(EXPECTED[which].values()))


def test_a_window_contains_the_latest_entries():
    """Length two: the last two entries of user 1 other than the example itself."""
    found = read(np.array([0, 1, 3, 5], np.int32), 2, "others")
    np.testing.assert_array_equal(found.items, [[0, 3], [2, 0], [2, 3], [0, 3]])


@pytest.mark.parametrize("which", ["before", "others"])
def test_history_only_rows_are_history_but_not_examples(which):
    examples, n = SampledObjective(bce, Uniform(1), which).examples(data(TARGET), 3)
    assert n == 5
    np.testing.assert_array_equal(examples.item, [2, 3, 2, 1, 4])
    query = jax.jit(lambda rows: examples.query(rows, 3, which))(np.arange(5, dtype=np.int32))
    np.testing.assert_array_equal(query.user, [1, 1, 0, 0, 1])
    np.testing.assert_array_equal(query.history.items, [EXPECTED[which][row] for row in (0, 1, 2, 4, 5)])


class Nearest(Model):
    """Score a candidate by its count in the history."""

    n_items: int = 5
    history_length: int = 3

    def __call__(self, query, items):
        return (query.history.items[:, None, :] == items[:, :, None]).sum(axis=2).astype(jnp.float32)


class Item2(Sampler):
    """Sampler of item 2 for every example."""

    def __call__(self, source, examples, n_items, n_negatives, given=None):
        return Negatives(jnp.full((6, 1), 2), jnp.ones((6, 1)))


@pytest.mark.parametrize("which", ["before", "others"])
def test_a_model_with_a_history_length_is_trained_with_histories(which):
    """The positive is never in the history; item 2, the only negative, is in that of some examples."""
    objective = SampledObjective(bce, Item2(), which)
    examples, _ = objective.examples(data(), 3)
    source = jnp.zeros(2, jnp.uint32)
    costs = jax.jit(lambda rows: objective.costs(Nearest(), {}, examples, rows, source, False))
    cost, weight = costs(np.arange(6, dtype=np.int32))
    negative = np.array([2 in history for history in EXPECTED[which].values()], float)
    np.testing.assert_allclose(cost, (np.log(2) + np.log1p(np.exp(negative))) / 2, rtol=1e-6)
    np.testing.assert_array_equal(weight, 1)


def test_a_model_without_a_history_length_gets_no_history():
    examples, _ = SampledObjective(bce, Uniform(1)).examples(data())
    assert examples.seen is None
    assert examples.query(jnp.arange(2), 0, "others").history is None


class Echo(Model):
    """Score an item by its count in the history."""

    n_items: int = 400
    history_length: int = 400

    def score_catalog(self, query):
        return query.history.counts(self.n_items)


def test_the_catalog_softmax_divides_the_items_of_a_user_into_history_and_targets():
    """User 0 has items 0 to 299, 5 of them twice; with scores of 1 and 0 the sizes of both determine the cost."""
    item = np.concatenate([np.arange(300), np.arange(5)]).astype(np.int32)
    train = Interactions(np.zeros(305, np.int32), item, None, None, None, np.arange(1), np.arange(400))
    objective = CatalogObjective(history_share=0.7)
    examples, _ = objective.examples(train, 400)
    row = jnp.array([0])
    read = jax.jit(lambda source: examples.query(row, 400, 0.7, source))
    costs = jax.jit(lambda source: objective.costs(Echo(), {}, examples, row, source, False))
    shown = []
    for seed in (1, 2):
        source = jnp.array([seed, 7], jnp.uint32)
        query = read(source)
        entries = np.asarray(query.history.items[0])
        counts = np.bincount(entries[entries >= 0], minlength=400)
        np.testing.assert_array_equal(counts[:5] % 2, 0)  # both entries of an item are history, or neither
        known = counts > 0
        assert abs(known.sum() - 210) < 5 * np.sqrt(300 * 0.7 * 0.3)
        cost, weight = costs(source)
        assert int(weight[0]) == 300 - known.sum()  # no item of the history is a target, all others are
        # Targets and all other items outside the history score 0; items of the history are not in the softmax.
        np.testing.assert_allclose(cost, np.asarray(weight) * np.log(400 - known.sum()), rtol=1e-5)
        shown.append(known)
    assert (shown[0] != shown[1]).any()


@pytest.mark.slow
def test_the_catalog_softmax_uses_history_only_rows_as_history_only():
    examples, n = CatalogObjective().examples(data(TARGET), 3)
    assert n == 2
    np.testing.assert_array_equal(examples.items.rows(jnp.arange(2), 5), [[0, 1, 1, 0, 0], [0, 0, 1, 1, 1]])
    query = examples.query(jnp.arange(2), 3, 1.0, jnp.zeros(2, jnp.uint32))  # all are history
    np.testing.assert_array_equal(query.history.items, [[-1, 1, 2], [2, 0, 3]])
