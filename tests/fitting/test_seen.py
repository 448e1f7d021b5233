"""Which entries an example is shown: by hand, in an order that is neither that of users nor of time."""

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrec.data.interactions import Interactions
from jaxrec.errors import InputError
from jaxrec.fitting.objective import CatalogueObjective, SampledObjective
from jaxrec.fitting.seen import seen
from jaxrec.hyper import Hyper
from jaxrec.losses import bce
from jaxrec.negatives import Candidates, Uniform

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


@pytest.mark.parametrize("which", ["before", "others"])
def test_histories_by_hand(which):
    found = seen(data(), np.arange(6)).history(jnp.arange(6), 3, which)
    np.testing.assert_array_equal(found.items, list(EXPECTED[which].values()))


def test_a_window_keeps_the_latest():
    """Of two entries: user 1's last two but the example's own."""
    found = seen(data(), np.arange(6)).history(jnp.array([0, 1, 3, 5]), 2, "others")
    np.testing.assert_array_equal(found.items, [[0, 3], [2, 0], [2, 3], [0, 3]])


@pytest.mark.parametrize("which", ["before", "others"])
def test_rows_that_are_no_target_are_history_but_no_examples(which):
    examples, n = SampledObjective(bce, Uniform(1), which).examples(data(TARGET), 3)
    assert n == 5
    np.testing.assert_array_equal(examples.item, [2, 3, 2, 1, 4])
    query = examples.query(jnp.arange(5), 3, which)
    np.testing.assert_array_equal(query.user, [1, 1, 0, 0, 1])
    np.testing.assert_array_equal(query.history.items, [EXPECTED[which][row] for row in (0, 1, 2, 4, 5)])


class Nearest(nn.Module):
    """Scores a candidate by how often it is in the history."""

    n_items: int = 5
    history_length: int = 3

    def __call__(self, query, items):
        return (query.history.items[:, None, :] == items[:, :, None]).sum(axis=2).astype(jnp.float32)


@pytest.mark.parametrize("which", ["before", "others"])
def test_a_model_is_trained_with_the_history_it_asks_for(which):
    """The positive is never in it; item 2, the only negative, is where it is in the history."""
    item_2 = lambda source, rows, n_items, n: Candidates(jnp.full((6, 1), 2), jnp.ones((6, 1)))  # noqa: E731
    objective = SampledObjective(bce, item_2, which)
    examples, _ = objective.examples(data(), 3)
    hyper = Hyper(*jnp.zeros(3), jnp.int32(0), jnp.int32(1))
    cost, weight = objective.costs(Nearest(), {}, examples, jnp.arange(6), jnp.zeros(2, jnp.uint32), hyper, False)
    negative = np.array([2 in history for history in EXPECTED[which].values()], float)
    np.testing.assert_allclose(cost, (np.log(2) + np.log1p(np.exp(negative))) / 2, rtol=1e-6)
    np.testing.assert_array_equal(weight, 1)


def test_a_model_that_asks_for_no_history_gets_none():
    examples, _ = SampledObjective(bce, Uniform(1)).examples(data())
    assert examples.seen is None
    assert examples.query(jnp.arange(2), 0, "others").history is None


def test_the_catalogue_softmax_refuses_models_that_ask_for_a_history():
    with pytest.raises(InputError, match="use loss=bce, bpr or sampled_softmax"):
        CatalogueObjective().examples(data(), 3)
