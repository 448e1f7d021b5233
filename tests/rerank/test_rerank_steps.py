"""Re-ranking steps of conf/rerank: items they move to the top, drop, or leave in order."""

import jax.numpy as jnp
import numpy as np
import pytest

from jaxrec.rerank.shortlist import Items, RerankContext, Shortlist
from jaxrec.rerank.steps import Available, Calibration, Cap, Dpp, Exposure, Freshness, Mmr

CANDIDATES = Shortlist(jnp.array([[4, 0, 3, 1, 2], [2, 1, 0, -1, -1]]), jnp.array([[5, 4, 3, 2, 1], [3, 2, 1, 0, 0.0]]))
CANDIDATES = CANDIDATES._replace(scores=jnp.where(CANDIDATES.items < 0, -jnp.inf, CANDIDATES.scores))
MIXES = jnp.array([[1, 0], [0, 1], [1, 0], [0.5, 0.5], [1, 0.0]])
ITEMS = Items(
    vectors=MIXES,
    mixes=MIXES,
    groups=jnp.array([0, 1, 0, 1, 0]),
    target=jnp.array([0.5, 0.5]),
    counts=jnp.ones(5),
    ages=jnp.array([9, 9, 0, 9, 9.0]),
    half_life=jnp.float32(1),
    available=jnp.array([True, False, True, True, True]),
)
ABOUT = RerankContext(ITEMS, jnp.array([[0, 1.0], [0.5, 0.5]]), 2)


def test_chosen_items_come_first_and_others_follow_in_order():
    led = CANDIDATES.with_first(jnp.array([[3, 1], [0, 1]]))
    assert led.items.tolist() == [[1, 0, 4, 3, 2], [2, 1, 0, -1, -1]]
    assert led.scores[0].tolist() == [2, 4, 5, 3, 1]


def test_dropped_items_leave_no_gap():
    left = CANDIDATES.filtered(jnp.array([[True, False, True, False, True]] * 2))
    assert left.items.tolist() == [[4, 3, 2, -1, -1], [2, 0, -1, -1, -1]]
    assert left.scores.tolist() == [[5, 3, 1, -np.inf, -np.inf], [3, 1, -np.inf, -np.inf, -np.inf]]


@pytest.mark.parametrize(
    ("step", "first", "second"),
    [
        (Mmr(0.6), [4, 1, 0, 3, 2], [2, 1, 0]),  # after the first, all items of the other category
        (Dpp(0.5), [4, 1, 0, 3, 2], [2, 1, 0]),
        (Exposure(0.0), [4, 3, 0, 1, 2], [2, 1, 0]),  # rank 2: half of 1.63 is .815, so one group is closed, one due
        (Calibration(1.0), [1, 3, 4, 0, 2], [2, 1, 0]),
        (Freshness(0.9), [2, 4, 0, 3, 1], [2, 1, 0]),
        (Available(), [4, 0, 3, 2, -1], [2, 0, -1]),
        (Cap(2), [4, 0, 1, -1, -1], [2, 1, 0]),  # item 3 would be the third of its category
    ],
)
def test_a_step(step, first, second):
    made = step(CANDIDATES, ABOUT)
    assert made.items[0].tolist() == first
    assert made.items[1, :3].tolist() == second
    assert (made.items[1, 3:] == -1).all()
    scores = dict(zip(CANDIDATES.items[0].tolist(), CANDIDATES.scores[0].tolist(), strict=True))
    if not isinstance(step, Freshness):
        there = made.items[0][made.items[0] >= 0].tolist()
        assert made.scores[0][: len(there)].tolist() == [scores[i] for i in there]
