"""Clipped gradients, schedules of the learning rate, and averages of the parameters."""

import jax.numpy as jnp
import numpy as np
import pytest

from jaxrec.errors import InputError
from jaxrec.fitting.optimizers import adagrad, adam, check_epochs, lion, nadam, rate, sgd


def step(optimizer, gradient):
    """Return the changes of a zero parameter with a constant gradient."""
    params = {"a": jnp.zeros(1), "b": jnp.zeros(1)}
    cost = lambda p: (p["a"][0] * gradient[0] + p["b"][0] * gradient[1], None)  # noqa: E731
    params, _, _ = optimizer.step(cost, params, optimizer.init(params))
    return np.concatenate([params["a"], params["b"]])


@pytest.mark.parametrize(
    ("gradient", "clip_norm", "expected"),
    [
        ((3.0, 4.0), None, (-3.0, -4.0)),
        ((3.0, 4.0), 1.0, (-0.6, -0.8)),  # the norm over both parameters is 5
        ((0.3, 0.4), 1.0, (-0.3, -0.4)),
    ],
)
def test_gradients_are_clipped_to_the_norm(gradient, clip_norm, expected):
    np.testing.assert_allclose(step(sgd(1.0, clip_norm=clip_norm), gradient), expected, rtol=1e-6)


def test_other_optimizers_use_the_clipped_gradient():
    """Adagrad with accumulator 1 - .36 or 1 - .64 and a gradient of (.6, .8) steps by the gradient itself."""
    for gradient, start in ((0.6, 0.64), (0.8, 0.36)):
        both = (3.0, 4.0)
        found = step(adagrad(1.0, initial_accumulator=start, clip_norm=1.0), both)
        assert found[(0.6, 0.8).index(gradient)] == pytest.approx(-gradient, rel=1e-5)
    limited = adam(0.1, eps=1.0, clip_norm=1.0)  # the first step of Adam is lr * g / (|g| + eps)
    np.testing.assert_allclose(step(limited, (3.0, 4.0)), (-0.1 * 0.6 / 1.6, -0.1 * 0.8 / 1.8), rtol=1e-5)


def test_the_learning_rate_warms_up_and_decays_by_a_cosine():
    """Warm-up of 2 of 10 epochs: halfway up, at the top, halfway down, at the end."""
    factor = rate(2.0, 10.0)
    found = [float(factor(jnp.float32(passed))) for passed in (1, 2, 4, 6, 10, 12)]
    np.testing.assert_allclose(found, [0.5, 1, (1 + np.cos(np.pi / 4)) / 2, 0.5, 0, 0], atol=1e-6)
    constant = [float(rate(2.0, None)(jnp.float32(passed))) for passed in (0.5, 3)]
    np.testing.assert_allclose(constant, [0.25, 1])


def test_steps_follow_the_schedule():
    warming, falling = sgd(1.0, warmup_epochs=4.0), sgd(1.0, cosine_epochs=4.0)
    for optimizer, passed, expected in ((warming, 1.0, -0.5), (sgd(1.0), 1.0, -2.0), (falling, 2.0, -1.0)):
        params = {"a": jnp.zeros(1)}
        cost = lambda p: (2.0 * p["a"][0], None)  # noqa: E731
        state = optimizer.init(params)
        params, _, _ = optimizer.step(cost, params, state, passed=lambda passed=passed: jnp.float32(passed))
        assert float(params["a"][0]) == pytest.approx(expected)


def test_a_warm_up_as_long_as_training_is_refused():
    with pytest.raises(InputError, match=r"warmup_epochs=5.0 must be below optimizer.cosine_epochs=5.0"):
        check_epochs(5.0, 5.0)


def test_the_average_of_three_steps():
    """Parameters are 0, -1, -2, -3; the averages' decays are .1, 2/11 and, instead of 3/12, the decay .2."""
    optimizer = sgd(1.0, ema=0.2)
    params = {"a": jnp.zeros(1)}
    state, found = optimizer.init({"a": jnp.full(1, 7.0)}), []  # random, replaced by stored parameters
    for _ in range(3):
        params, state, _ = optimizer.step(lambda p: (p["a"][0], None), params, state)
        found.append(float(params["a"][0]))
    one = -0.9
    two = 2 / 11 * one - 9 / 11 * 2
    np.testing.assert_allclose(found, [one, two, 0.2 * two - 0.8 * 3], rtol=1e-6)
    assert float(state.trained["a"][0]) == -3


def test_first_steps_of_lion_and_nadam():
    """Lion steps by the sign, whatever the gradient; nadam by (.9 m + .1 g) with m / (1 - b1^2) and v = g^2."""
    np.testing.assert_allclose(step(lion(0.1), (3.0, -0.5)), (-0.1, 0.1), rtol=1e-6)
    m = 0.9 * 0.1 * 3.0 / (1 - 0.9**2) + 0.1 * 3.0 / (1 - 0.9)
    np.testing.assert_allclose(step(nadam(0.1), (3.0, 0.0))[0], -0.1 * m / 3.0, rtol=1e-4)


def test_the_momentum_of_lion_decays_by_b2():
    """With gradients 1 and -.5, the momentum is (1 - b2) = .75, and the second step goes by .5 * .75 - .5 * .5 > 0."""
    optimizer, params = lion(0.1, b1=0.5, b2=0.25), {"a": jnp.zeros(1)}
    state = optimizer.init(params)
    for gradient in (1.0, -0.5):
        params, state, _ = optimizer.step(lambda p, g=gradient: (g * p["a"][0], None), params, state)
    assert float(params["a"][0]) == pytest.approx(-0.2)
