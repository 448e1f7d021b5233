"""Losses by hand, at their limits, and against scipy and scikit-learn; gradients against finite differences."""

from functools import partial
from math import atan, exp, log, log1p, tanh

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import log_softmax
from sklearn.metrics import log_loss

from jaxrec import losses

# Compiled once per shape, which is faster than single operations.
bpr, bce, softmax = map(jax.jit, (losses.bpr, losses.bce, losses.softmax))
multinomial = jax.jit(losses.multinomial)
COSINES = {
    "bsl": jax.jit(partial(losses.bsl, temperature=0.5, positive_temperature=0.25)),
    "psl": jax.jit(partial(losses.psl, temperature=0.5)),
    "slatk": jax.jit(partial(losses.slatk, k=2, temperature=0.5, weight_temperature=0.1)),
    "ccl": jax.jit(partial(losses.ccl, margin=0.2, weight=3.0)),
}
SAMPLED = {"bpr": bpr, "bce": bce, "softmax": softmax}
sampled = pytest.mark.parametrize("loss", SAMPLED.values(), ids=SAMPLED)


def case(n: int = 4, batch: int = 5, seed: int = 0) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Return random scores; the first example uses no negative, the last one all."""
    rng = np.random.default_rng(seed)
    used = np.arange(n)[None, :] < np.linspace(0, n, batch).astype(int)[:, None]
    return tuple(jnp.asarray(x, jnp.float32) for x in (rng.normal(size=batch), rng.normal(size=(batch, n)), used))


@pytest.mark.parametrize(
    ("loss", "expected"),
    [
        (bpr, (log1p(exp(0 - 2)) + log1p(exp(3 - 2))) / 2),  # -log sigmoid(2 - 0), -log sigmoid(2 - 3)
        (bce, (log1p(exp(-2)) + log1p(exp(0)) + log1p(exp(3))) / 3),
        (softmax, -log(exp(2) / (exp(2) + exp(0) + exp(3)))),
    ],
)
def test_by_hand(loss, expected):
    """A positive score of 2, negatives 0 and 3, and a third one that is not used."""
    value = loss(jnp.array([2.0]), jnp.array([[0.0, 3.0, 9.0]]), jnp.array([[1.0, 1.0, 0.0]]))
    assert value.shape == (1,)
    assert float(value[0]) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize(
    ("loss", "settings", "expected"),
    [
        ("bsl", {"temperature": 0.5, "positive_temperature": 0.25}, 2 * log((exp(0.2) + exp(1.6)) / 2) - 2),
        ("psl", {"temperature": 0.5}, log(((1 + tanh(-0.2)) ** 2 + (1 + tanh(0.15)) ** 2) / 2)),
        ("psl", {"temperature": 0.5, "activation": "atan"}, log(((1 + atan(-0.2)) ** 2 + (1 + atan(0.15)) ** 2) / 2)),
        ("psl", {"temperature": 0.5, "activation": "relu"}, log((0.8**2 + 1.15**2) / 2)),
        # The second of .8, .5 and .1 is the positive itself; the first is .3 above it.
        ("slatk", {"k": 2, "temperature": 0.5, "weight_temperature": 0.1}, log(exp(-0.8) + exp(0.6)) / 2),
        ("slatk", {"k": 1, "temperature": 0.5, "weight_temperature": 0.1}, log(exp(-0.8) + exp(0.6)) / (1 + exp(3))),
        ("ccl", {"margin": 0.2, "weight": 3.0}, 0.5 + 3 * 0.6 / 2),
    ],
)
def test_losses_of_cosines_by_hand(loss, settings, expected):
    """A positive score of .5, negatives .1 and .8, and a third one that is not used."""
    scores = jnp.array([0.5]), jnp.array([[0.1, 0.8, 0.3]]), jnp.array([[1.0, 1.0, 0.0]])
    assert float(jax.jit(partial(getattr(losses, loss), **settings))(*scores)[0]) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("name", COSINES)
def test_losses_of_cosines_depend_on_used_negatives_only(name):
    """Others have no effect; without used negatives there is no gradient except that of the positive in CCL."""
    loss, (positive, negatives, used) = COSINES[name], (np.tanh(x) for x in case())
    used = (used > 0).astype(np.float32)
    expected = loss(positive, negatives, used)
    np.testing.assert_array_equal(loss(positive, np.where(used > 0, negatives, np.float32(1e4)), used), expected)
    fewer = loss(positive[2:3], negatives[2:3, :2], used[2:3, :2])
    np.testing.assert_allclose(fewer[0], expected[2], rtol=1e-5)
    gradients = jax.jit(jax.grad(lambda p, n: loss(p, n, used).sum(), argnums=(0, 1)))(positive, negatives)
    assert float(gradients[0][0]) == (-1 if name == "ccl" else 0)
    np.testing.assert_array_equal(np.asarray(gradients[1])[np.asarray(used) == 0], 0)
    assert np.isfinite(gradients[0]).all()


def test_slatk_has_no_gradient_through_the_last_score_of_the_top():
    """The last of the top 1 is the negative of .8; its gradient is that of the softmax, times the weight."""
    used, positive = jnp.ones((1, 2)), jnp.array([0.5])
    loss = partial(losses.slatk, k=1, temperature=0.5, weight_temperature=0.1)
    found = jax.grad(lambda negatives: loss(positive, negatives, used)[0])(jnp.array([[0.1, 0.8]]))
    shares = np.exp([-0.8, 0.6]) / np.exp([-0.8, 0.6]).sum()
    np.testing.assert_allclose(found[0], shares / 0.5 / (1 + exp(3)), rtol=1e-5)


def test_bsl_with_equal_temperatures_is_a_softmax_over_negatives():
    positive, negatives, _ = case()
    value = jax.jit(losses.bsl)(positive, negatives, np.ones_like(negatives), 0.3, 0.3)
    scores = np.asarray(negatives, np.float64) / 0.3
    expected = np.log(np.exp(scores).mean(axis=1)) - np.asarray(positive, np.float64) / 0.3
    np.testing.assert_allclose(value, expected, rtol=1e-5)


@pytest.mark.parametrize("t", [0.0, 0.75, 1.0])
def test_gbce_by_hand(t):
    """Of five items, two of the other four are negatives: the weight of the positive is 1 - t (1 - 2/4)."""
    scores = jnp.array([2.0]), jnp.array([[0.0, 3.0, 9.0]]), jnp.array([[1.0, 1.0, 0.0]])
    expected = ((1 - t / 2) * log1p(exp(-2)) + log1p(exp(0)) + log1p(exp(3))) / 3
    assert float(jax.jit(partial(losses.gbce, n_items=5, t=t))(*scores)[0]) == pytest.approx(expected, rel=1e-6)


OF_ONE = SAMPLED | COSINES | {"gbce": jax.jit(partial(losses.gbce, n_items=5, t=0.5))}


@pytest.mark.parametrize("name", OF_ONE)
def test_an_example_is_divided_by_its_own_negatives(name):
    """Two examples with one and three negatives give the costs of each alone."""
    positive, negatives = np.float32([0.5, 0.1]), np.float32([[0.9, 0.0, 0.0], [0.8, 0.4, 0.3]])
    used = np.float32([[1, 0, 0], [1, 1, 1]])
    first = OF_ONE[name](positive[:1], negatives[:1, :1], used[:1, :1])
    second = OF_ONE[name](positive[1:], negatives[1:], used[1:])
    np.testing.assert_allclose(OF_ONE[name](positive, negatives, used), [*first, *second], rtol=1e-5)


def test_a_single_hard_negative_of_ccl_by_hand():
    value = COSINES["ccl"](np.float32([0.5]), np.float32([[0.9, 0.8]]), np.float32([[1, 0]]))
    assert float(value[0]) == pytest.approx(0.5 + 3 * 0.7, rel=1e-5)


def test_logistic_by_hand():
    value = jax.jit(losses.logistic)(np.float32([2, -1, 3]), np.float32([1, 0, 0]))
    np.testing.assert_allclose(value, [log1p(exp(-2)), log1p(exp(-1)), log1p(exp(3))], rtol=1e-6)


@pytest.mark.slow
def test_gbce_without_correction_is_bce():
    np.testing.assert_allclose(losses.gbce(*case(), n_items=9, t=0.0), bce(*case()), rtol=1e-6)


@pytest.mark.parametrize("n", [1, 50])
def test_costs_at_zero_scores(n):
    zeros = np.zeros(2, np.float32), np.zeros((2, n), np.float32), np.ones((2, n), np.float32)
    np.testing.assert_allclose(bpr(*zeros), log(2), rtol=1e-6)
    np.testing.assert_allclose(bce(*zeros), log(2), rtol=1e-6)
    np.testing.assert_allclose(softmax(*zeros), log(1 + n), rtol=1e-6)


@sampled
def test_a_positive_far_above_costs_zero_and_far_below_the_difference(loss):
    one, negatives = jnp.ones((1, 1)), jnp.zeros((1, 1))
    assert float(loss(jnp.array([100.0]), negatives, one)[0]) == pytest.approx(
        log(2) / 2 if loss is bce else 0, abs=1e-6
    )
    below = (100 + log(2)) / 2 if loss is bce else 100
    assert float(loss(jnp.array([-100.0]), negatives, one)[0]) == pytest.approx(below, rel=1e-6)


@sampled
def test_scores_in_the_thousands_stay_finite(loss):
    scores = jnp.array([5000.0, -5000.0]), jnp.array([[-5000.0, 5000.0], [5000.0, -5000.0]]), jnp.ones((2, 2))
    value, gradient = jax.jit(jax.value_and_grad(lambda p, n: loss(p, n, scores[2]).sum(), argnums=(0, 1)))(*scores[:2])
    assert np.isfinite(value)
    jax.tree.map(lambda x: np.testing.assert_array_equal(np.isfinite(x), True), gradient)


@sampled
def test_unused_negatives_have_no_effect(loss):
    positive, negatives, used = case()
    expected = loss(positive, negatives, used)
    wild = jnp.where(used > 0, negatives, jnp.float32(1e4))
    np.testing.assert_array_equal(loss(positive, wild, used), expected)
    fewer = loss(*(np.asarray(x)[2:3, ..., :2] if x.ndim == 2 else x[2:3] for x in (positive, negatives, used)))
    np.testing.assert_allclose(fewer[0], expected[2], rtol=1e-6)  # as if only two of four were drawn
    of_negatives = jax.jit(jax.grad(lambda negatives: loss(positive, negatives, used).sum()))(negatives)
    np.testing.assert_array_equal(np.asarray(of_negatives)[np.asarray(used) == 0], 0)


def test_an_example_without_negatives():
    positive, nothing = jnp.array([1.5]), (jnp.array([[7.0, 8.0]]), jnp.zeros((1, 2)))
    assert float(bpr(positive, *nothing)[0]) == 0
    assert float(softmax(positive, *nothing)[0]) == 0
    assert float(bce(positive, *nothing)[0]) == pytest.approx(log1p(exp(-1.5)), rel=1e-6)
    for loss in (bpr, softmax):
        gradient = jax.jit(jax.grad(lambda p, loss=loss: loss(p, *nothing).sum()))(positive)
        assert float(gradient[0]) == 0


@sampled
def test_gradients_against_finite_differences(loss):
    """Scores [B, 1 + N] of examples, changed up and down one at a time."""
    positive, negatives, used = case()
    scores, step = jnp.concatenate([positive[:, None], negatives], axis=1), 2.0**-7
    value = jax.jit(lambda scores: loss(scores[:, 0], scores[:, 1:], used))
    gradient = jax.jit(jax.grad(lambda scores: value(scores).sum()))(scores)
    for column, move in enumerate(step * np.eye(scores.shape[1], dtype=np.float32)):
        difference = (value(scores + move[None, :]) - value(scores - move[None, :])) / (2 * step)
        np.testing.assert_allclose(gradient[:, column], difference, atol=2e-4)


def test_bce_against_log_loss_of_scikit_learn():
    positive, negatives, _ = case()
    value = bce(positive, negatives, jnp.ones_like(negatives))
    scores = np.concatenate([positive[:, None], negatives], axis=1)
    for row in range(len(scores)):
        probabilities = 1 / (1 + np.exp(-scores[row].astype(np.float64)))
        assert float(value[row]) == pytest.approx(log_loss([1, 0, 0, 0, 0], probabilities), rel=1e-5)


def test_softmax_over_the_catalog_against_scipy():
    scores = np.random.default_rng(1).normal(size=(3, 8)).astype(np.float32)
    chosen = [5, 0, 7]
    negatives = jnp.asarray([np.delete(row, item) for row, item in zip(scores, chosen, strict=True)])
    value = softmax(jnp.asarray(scores[np.arange(3), chosen]), negatives, jnp.ones_like(negatives))
    np.testing.assert_allclose(value, -log_softmax(scores.astype(np.float64), axis=1)[np.arange(3), chosen], rtol=1e-5)


def test_multinomial_is_the_sum_over_a_users_items():
    rng = np.random.default_rng(2)
    scores, chosen = rng.normal(size=(4, 8)).astype(np.float32), rng.random((4, 8)) < 0.4
    chosen[2] = False
    value = multinomial(jnp.asarray(scores), jnp.asarray(chosen, jnp.float32))
    expected = [-log_softmax(row.astype(np.float64))[mask].sum() for row, mask in zip(scores, chosen, strict=True)]
    np.testing.assert_allclose(value, expected, rtol=1e-5, atol=1e-6)
    assert float(value[2]) == 0
    gradient = jax.jit(jax.grad(lambda s: multinomial(s, jnp.asarray(chosen, jnp.float32)).sum()))(jnp.asarray(scores))
    softmaxed = np.exp(log_softmax(scores.astype(np.float64), axis=1))
    np.testing.assert_allclose(gradient, chosen.sum(1)[:, None] * softmaxed - chosen, atol=1e-5)


def test_multinomial_is_invariant_to_a_shift_of_all_scores():
    scores, chosen = jnp.array([[1.0, 2.0, 3.0]]), jnp.array([[1.0, 0.0, 1.0]])
    np.testing.assert_allclose(multinomial(scores + 50, chosen), multinomial(scores, chosen), rtol=1e-5)
